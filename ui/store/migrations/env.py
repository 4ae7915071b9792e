"""Runs migrations on the connection that `engine.upgrade` hands over."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("metadata"),
    render_as_batch=True,  # SQLite can't alter a table in place
    transaction_per_migration=False,
)
context.run_migrations()
