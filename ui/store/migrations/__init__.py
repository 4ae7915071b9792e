"""How the database came to its shape, step by step; Alembic runs what is missing at each start."""
