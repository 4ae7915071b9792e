"""What people have said of a data set: its task, what its columns are, how it is split."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Goes forward."""
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("settings", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Goes back; what was said is lost."""
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.drop_column("settings")
