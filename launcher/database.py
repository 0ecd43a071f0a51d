"""Brings a database to the current schema, and gives a new one its demo rows.

The crm is imported when it is needed: it takes a while, and the launcher checks much before that.
"""

import inspect
from collections.abc import Awaitable, Callable

from launcher.errors import LaunchError


async def migrate(database_url: str) -> None:
    """Runs the migrations; safe to run from several places at once. Raises `LaunchError`."""
    from crm.database import DatabaseAway
    from crm.migrate import upgrade

    try:
        await _call(upgrade, database_url)
    except DatabaseAway as error:
        raise LaunchError(str(error)) from error


async def is_current(database_url: str) -> bool:
    """Whether the schema is this version's. Raises `LaunchError`."""
    from crm.database import DatabaseAway
    from crm.migrate import is_current as has_all

    try:
        return await has_all(database_url)
    except DatabaseAway as error:
        raise LaunchError(str(error)) from error


async def seed(database_url: str, time_zone: str) -> None:
    """Adds the demo's workshop and customers where they are missing."""
    from crm.seed import seed as add_rows

    await add_rows(database_url, time_zone)


async def _call(function: Callable[[str], Awaitable[None] | None], database_url: str) -> None:
    result = function(database_url)
    if inspect.isawaitable(result):
        await result
