"""A server of ours as a process of its own, for the tests that end it."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LIMIT_S = 60.0


@asynccontextmanager
async def listening(module: str, *arguments: str, stdin: int = DEVNULL) -> AsyncIterator[tuple[Process, int]]:
    """`python -m module arguments`, from when it has said its port (the second value); killed if it still runs."""
    command = (sys.executable, "-m", module, *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=PIPE)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), LIMIT_S)
        assert line.startswith(b"listening on "), line
        yield process, int(line.split()[-1])
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.wait(), LIMIT_S)


async def ended(process: Process) -> int:
    """Its exit code, once it has ended by itself."""
    return await asyncio.wait_for(process.wait(), LIMIT_S)
