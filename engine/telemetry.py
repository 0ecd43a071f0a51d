"""Structured logs that hold no telephone number and no VIN, and counters of this process."""

import asyncio
import contextlib
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

# ---------------------------------------------------------------- what may not be read in a log

_DEEPEST = 6  # levels of a logged value that are kept as structure; below, its repr is

# The start of a word: of text, or after a line break or tab that a repr has written as two characters.
_START = r"(?:(?<![A-Z0-9_])(?<!\d\.)|(?<=\\[nrt]))"
# E.164 with its plus, as it is or as a URL has it; then North American numbers, however they are written.
_PHONE = re.compile(
    r"(?:\+|%2B)[0-9]{7,}"
    rf"|{_START}(?:\+?1[-. ]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[-. ]?)[2-9]\d\d[-. ]?\d{{4}}(?!\w)",
    re.ASCII | re.IGNORECASE,
)
# 17 characters without I, O and Q (49 CFR 565.13), of which the last ones are digits in any real VIN.
_VIN = re.compile(
    r"(?:(?<![A-Z0-9])|(?<=\\[nrt]))(?=[A-Z]*\d)[A-HJ-NPR-Z0-9]{17}(?![A-Z0-9])", re.ASCII | re.IGNORECASE
)


def mask(text: str) -> str:
    """The text with telephone numbers cut to two digits (`+***42`) and VINs taken out (`[vin]`)."""
    return _VIN.sub("[vin]", _PHONE.sub(_last_two, text))


def _last_two(number: re.Match[str]) -> str:
    return "+***" + number.group()[-2:]


def _masked(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {mask(str(key)): _masked(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
        return [_masked(item, depth + 1) for item in value]
    return mask(repr(value))


def mask_values(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """structlog processor: masks keys and values at any depth. Exceptions must be text by then."""
    return {mask(str(key)): _masked(value) for key, value in event.items()}


# ---------------------------------------------------------------- logs


class _OurHandler(logging.StreamHandler[TextIO]):
    """Marks the handler that `configure` replaces when it is called again."""


def configure(level: str, json: bool) -> None:
    """Sends structlog's and the standard library's logs to stderr: JSON lines, or key=value.

    `level` is debug, info, warning or error. Lines carry what `bound` binds. Safe to call again. Loggers of
    libraries that keep handlers of their own (and don't propagate) are not reached.
    """
    severity = logging.getLevelNamesMapping()[level.upper()]
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    render: Processor = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.processors.KeyValueRenderer(key_order=["at", "level", "event"], drop_missing=True)
    )
    after: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        mask_values,
        render,
    ]
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(severity),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # modules' loggers may have spoken before
    )
    handler = _OurHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=after))
    root = logging.getLogger()
    root.handlers = [kept for kept in root.handlers if not isinstance(kept, _OurHandler)] + [handler]
    root.setLevel(severity)


@contextlib.contextmanager
def bound(call: str, turn: int | None = None) -> Iterator[None]:
    """Every line logged inside, by this task and those it starts, carries the call, and the turn if given."""
    about: dict[str, Any] = {"call": call} if turn is None else {"call": call, "turn": turn}
    with structlog.contextvars.bound_contextvars(**about):
        yield


SELDOM_S = 1.0


class Seldom:
    """A log for what anybody can cause without end: of each message, a line a second at most. Count them all."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last_s: dict[str, float] = {}

    def warning(self, message: str, *arguments: object) -> None:
        """As `Logger.warning`; whether it is written goes by `message` alone."""
        now_s = time.monotonic()
        if now_s - self._last_s.get(message, -SELDOM_S) >= SELDOM_S:
            self._last_s[message] = now_s
            self._log.warning(message, *arguments)


# ---------------------------------------------------------------- counters

_lock = threading.Lock()
_counts: dict[str, int] = {}


def count(name: str, by: int = 1) -> None:
    """Adds `by` to this process's counter `name`. Safe from any thread."""
    with _lock:
        _counts[name] = _counts.get(name, 0) + by


def snapshot() -> dict[str, int]:
    """A copy of this process's counters, by name, since it started."""
    with _lock:
        return dict(sorted(_counts.items()))


async def log_counters(every_s: float = 60.0) -> NoReturn:
    """Logs this process's counters as a line `counters`, every `every_s` seconds if they have changed."""
    logged: dict[str, int] = {}
    while True:
        await asyncio.sleep(every_s)
        counts = snapshot()
        if counts != logged:
            structlog.get_logger(__name__).info("counters", pid=os.getpid(), counts=counts)
            logged = counts
