"""One database for many tests, as making one for each takes longer than they do."""

import asyncpg

from crm.demo_data import CUSTOMERS

_EMPTY = f"""
TRUNCATE appointment, tool_result, call_epoch, call_proof RESTART IDENTITY CASCADE;
DELETE FROM customer WHERE id > {len(CUSTOMERS)};
"""


async def emptied(url: str) -> None:
    """No call was ever made: what is there is the workshop and the demo's customers."""
    connection = await asyncpg.connect(url, timeout=30)
    try:
        await connection.execute(_EMPTY)
    finally:
        await connection.close(timeout=10)
