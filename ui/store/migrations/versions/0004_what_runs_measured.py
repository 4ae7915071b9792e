"""What the tuned model of a run was measured to be, so that lists are sorted by it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_COLUMNS = ("measured_loss", "accuracy")


def upgrade() -> None:
    """Goes forward; the reports of runs are read at the next look at their folders."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        for name in _COLUMNS:
            batch_op.add_column(sa.Column(name, sa.Float(), nullable=True))


def downgrade() -> None:
    """Goes back; the reports stay in the folders."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        for name in _COLUMNS:
            batch_op.drop_column(name)
