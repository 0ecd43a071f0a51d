"""One database for many tests, as making one for each takes longer than they do."""

import asyncpg

# What calls leave behind; the workshop stays.
_CALLS = "appointment, tool_result, call_epoch, call_proof, customer"


async def emptied(url: str) -> None:
    """No call was ever made, and nobody is known."""
    connection = await asyncpg.connect(url, timeout=30)
    try:
        await connection.execute(f"TRUNCATE {_CALLS} RESTART IDENTITY CASCADE")
    finally:
        await connection.close(timeout=10)
