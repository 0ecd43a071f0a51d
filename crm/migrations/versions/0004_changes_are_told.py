"""Whoever changes what is known of a caller tells it: what others keep of that number is not true any more.

Triggers send the numbers on the channel that `crm/pgchanges.py` hears, after the commit. They run once a statement, so
an import tells as many numbers as it has statements at most, and beyond some hundred numbers in a transaction it says
"all", once. The workshop is part of what is known of everybody.

One case is left to the cache's time: a number is given to a customer while another transaction, which does not see
that yet, changes the customer.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_WORKSHOP = (
    "dealership", "working_hours", "holiday", "closure", "bay", "technician", "skill", "technician_skill",
    "service_type", "service_skill",
)  # fmt: skip

# Numbers of rows that were there before, or are there now.
_NUMBERS = {
    "customer": "SELECT p.phone FROM customer_phone p JOIN {rows} c ON c.id = p.customer_id",
    "customer_phone": (
        "SELECT c.phone FROM {rows} c UNION "
        "SELECT p.phone FROM customer_phone p JOIN {rows} c ON c.customer_id = p.customer_id"
    ),
    "vehicle": "SELECT p.phone FROM customer_phone p JOIN {rows} c ON c.customer_id = p.customer_id",
    "service_visit": (
        "SELECT p.phone FROM customer_phone p JOIN vehicle v ON v.customer_id = p.customer_id "
        "JOIN {rows} c ON c.vehicle_id = v.id"
    ),
    "opt_out": "SELECT c.phone FROM {rows} c",
}
_ROWS = {
    "INSERT": "NEW TABLE AS changed",
    "UPDATE": "OLD TABLE AS was NEW TABLE AS changed",
    "DELETE": "OLD TABLE AS changed",
}

# 400 numbers of 16 characters are a payload of less than 7,000 bytes; Postgres takes 8,000. How many this transaction
# has told is kept in a setting of its own, which a savepoint that is rolled back takes back, as it does what was told.
# Whoever may write to a table need not be allowed to read the others: the triggers run as their owner.
_TELL = """
CREATE FUNCTION crm_tell(numbers text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    told integer := coalesce(nullif(current_setting('trunkline.told', true), ''), '0')::integer
        + coalesce(cardinality(numbers), 0);
    payload text := array_to_string(numbers, ',');
BEGIN
    IF payload = '' THEN
        RETURN;
    END IF;
    PERFORM set_config('trunkline.told', told::text, true);
    IF told > 400 OR octet_length(payload) > 7900 THEN
        payload := 'all';
    END IF;
    PERFORM pg_notify('crm_callers', payload);
END $$
"""
_TELL_NUMBERS = """
CREATE FUNCTION crm_tell_{table}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF coalesce(nullif(current_setting('trunkline.told', true), ''), '0')::integer > 400 THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        PERFORM crm_tell(ARRAY(SELECT DISTINCT phone FROM ({both}) AS told));
    ELSE
        PERFORM crm_tell(ARRAY(SELECT DISTINCT phone FROM ({one}) AS told));
    END IF;
    RETURN NULL;
END $$
"""
_TELL_ALL = """
CREATE FUNCTION crm_tell_all() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('crm_callers', 'all');
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    op.execute(_TELL)
    op.execute(_TELL_ALL)
    for table, numbers in _NUMBERS.items():
        one = numbers.format(rows="changed")
        both = numbers.format(rows="(SELECT * FROM was UNION ALL SELECT * FROM changed)")
        op.execute(_TELL_NUMBERS.format(table=table, one=one, both=both))
        for event, rows in _ROWS.items():
            op.execute(
                f"CREATE TRIGGER crm_tell_{event.lower()} AFTER {event} ON {table} "
                f"REFERENCING {rows} FOR EACH STATEMENT EXECUTE FUNCTION crm_tell_{table}()"
            )
        op.execute(
            f"CREATE TRIGGER crm_tell_truncate AFTER TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION crm_tell_all()"
        )
    for table in _WORKSHOP:
        op.execute(
            f"CREATE TRIGGER crm_tell AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION crm_tell_all()"
        )


def downgrade() -> None:
    for table in _WORKSHOP:
        op.execute(f"DROP TRIGGER crm_tell ON {table}")
    for table in _NUMBERS:
        for event in ("insert", "update", "delete", "truncate"):
            op.execute(f"DROP TRIGGER crm_tell_{event} ON {table}")
        op.execute(f"DROP FUNCTION crm_tell_{table}()")
    op.execute("DROP FUNCTION crm_tell_all()")
    op.execute("DROP FUNCTION crm_tell(text[])")
