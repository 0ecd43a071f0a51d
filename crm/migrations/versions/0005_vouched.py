"""Whether anybody vouches for a customer's number, and whom a call has made a customer.

Who is on file already is vouched for: until now nothing told them apart.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "customer", sa.Column("vouched", sa.Boolean(), server_default=sa.text("true"), nullable=False)
    )
    op.add_column("call_proof", sa.Column("made_id", sa.Integer()))


def downgrade() -> None:
    op.drop_column("call_proof", "made_id")
    op.drop_column("customer", "vouched")
