import asyncio
import json
import logging
import re
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.typing import EventDict

from engine import telemetry
from engine.clock import run_virtual
from engine.messages import CallInfo
from engine.telemetry import SELDOM_S, Seldom

PHONE = "+13125550142"
VIN = "1HGCM82633A004352"
SID = "CA0123456789abcdef0123456789abcdef"

words = st.text(st.characters(exclude_categories=["Nd"]))
separators = st.sampled_from(["", " ", "\n", ",", '"', "=", "/", ":", "é ", "(", "\\n"])
phones = st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True)
vins = st.from_regex(r"[A-HJ-NPR-Za-hj-npr-z0-9]{12}[0-9]{5}", fullmatch=True)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


# ---------------------------------------------------------------- what may not be read


@given(before=words, phone=phones, after=words.map(lambda text: "" if not text else f" {text}"))
@example(before="From=", phone=PHONE, after="&To=")
def test_of_a_phone_number_two_digits_are_left_and_the_rest_of_the_text(
    before: str, phone: str, after: str
) -> None:
    assert telemetry.mask(before + phone + after) == f"{before}+***{phone[-2:]}{after}"


@given(before=separators, vin=vins, after=separators)
def test_nothing_is_left_of_a_vin(before: str, vin: str, after: str) -> None:
    assert vin not in telemetry.mask(before + vin + after)


@given(before=st.text(), secret=phones, after=st.text())
def test_a_phone_number_is_masked_whatever_stands_around_it(before: str, secret: str, after: str) -> None:
    masked = telemetry.mask(before + secret + after)
    assert secret not in masked
    assert telemetry.mask(masked) == masked


@pytest.mark.parametrize(
    "written",
    [
        "+13125550142",
        "%2B13125550142",
        "%2b13125550142",
        "13125550142",
        "3125550142",
        "312-555-0142",
        "(312) 555-0142",
        "(312)555-0142",
        "+1 312 555 0142",
        "1-312-555-0142",
        "312.555.0142",
        "sip:+13125550142@example.com",
        "tel:3125550142",
        "number.3125550142",
        repr("call\n3125550142"),
    ],
)
def test_a_number_is_masked_however_it_is_written(written: str) -> None:
    masked = telemetry.mask(f"dialled {written}, no answer")
    assert not re.search(r"555\D{0,2}01", masked)
    assert "+***42" in masked
    assert masked.startswith("dialled ")
    assert masked.endswith(", no answer")


@pytest.mark.parametrize(
    "innocent",
    [
        SID,
        "MZ" + "0123456789" * 3 + "01",
        "2026-03-02T12:00:00.123456Z",
        "1772452800.3125550142",
        "1772452800",
        "took 12345678 us",
        "550e8400-e29b-41d4-a716-446655440000",
        "uncharacteristics",
        "call_log_dropping",
        "127.0.0.1:54321",
    ],
)
def test_what_only_looks_alike_is_left_alone(innocent: str) -> None:
    assert telemetry.mask(innocent) == innocent


nested = st.recursive(
    st.sampled_from([PHONE, VIN, f"to {PHONE}", f"{VIN},{VIN}"]),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", PHONE, VIN]), inner, min_size=1)
        | st.tuples(inner)
        | inner.map(lambda value: [value, 1, None, 2.5, True])
    ),
    max_leaves=20,
)


@given(event=st.dictionaries(st.sampled_from(["event", "x", PHONE]), nested, min_size=1))
def test_secrets_are_masked_at_any_depth_and_in_keys(event: dict[str, Any]) -> None:
    masked = telemetry.mask_values(None, "info", event)
    line = json.dumps(masked)
    assert PHONE[:-2] not in line
    assert VIN not in line


# ---------------------------------------------------------------- lines


@pytest.mark.parametrize("as_json", [True, False])
def test_no_way_of_logging_lets_a_secret_through(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    telemetry.configure("debug", as_json)
    log = structlog.get_logger("trunkline")
    log.info("ringing", info=CallInfo(SID, PHONE, PHONE, True, 0.0), caller=PHONE)
    log.info(f"{PHONE} rings about {VIN}", pair=(PHONE, VIN), **{PHONE: VIN})
    logging.getLogger("httpx").info("GET /?From=%s&vin=%s", "%2B" + PHONE[1:], VIN)
    try:
        raise LookupError(f"nobody has {PHONE} or {VIN}")
    except LookupError:
        log.exception("no customer")
        logging.getLogger("other").exception("no customer")

    out = capsys.readouterr().err
    assert out.count("LookupError: nobody has +***42 or [vin]") == 2
    assert PHONE[1:-2] not in out
    assert VIN not in out
    assert SID in out


def test_json_lines_carry_level_time_and_logger(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("info", json=True)
    structlog.get_logger("trunkline.media").warning("frames_dropped", frames=3)
    [line] = logged(capsys)
    assert (line["event"], line["level"], line["logger"]) == ("frames_dropped", "warning", "trunkline.media")
    assert line["frames"] == 3
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line["at"])


def test_key_value_lines_begin_with_time_level_and_event(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("info", json=False)
    structlog.get_logger("x").info("call ended", outcome="completed", odd=object())
    [line] = capsys.readouterr().err.splitlines()
    assert re.match(r"at='\S+' level='info' event='call ended' ", line)
    assert "outcome='completed'" in line


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("warning", json=True)
    structlog.get_logger("x").info("quiet")
    logging.getLogger("y").info("quiet")
    structlog.get_logger("x").error("loud")
    assert [line["event"] for line in logged(capsys)] == ["loud"]


def test_configuring_again_does_not_write_lines_twice(capsys: pytest.CaptureFixture[str]) -> None:
    early = structlog.get_logger("early")
    telemetry.configure("info", json=False)
    early.info("one")
    capsys.readouterr()
    telemetry.configure("debug", json=True)
    early.debug("two")
    logging.getLogger("z").debug("three")
    assert [line["event"] for line in logged(capsys)] == ["two", "three"]


async def test_concurrent_calls_keep_their_lines_apart(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("info", json=True)
    log = structlog.get_logger("x")
    both_inside = asyncio.Barrier(2)

    async def call(sid: str, turn: int | None) -> None:
        with telemetry.bound(sid, turn):
            await both_inside.wait()
            log.info("turn")
            await both_inside.wait()
        log.info("after", of=sid)

    async with asyncio.timeout(30):
        await asyncio.gather(call("CA1", 1), call("CA2", None))
    lines = logged(capsys)
    during = {(line["call"], line.get("turn")) for line in lines if line["event"] == "turn"}
    assert during == {("CA1", 1), ("CA2", None)}
    assert not any("call" in line for line in lines if line["event"] == "after")


# ---------------------------------------------------------------- counters


def test_counters_add_up_from_all_threads() -> None:
    def work() -> None:
        for _ in range(10_000):
            telemetry.count("test_threads")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    telemetry.count("test_threads", by=5)
    assert telemetry.snapshot()["test_threads"] == 40_005


def test_a_snapshot_does_not_move() -> None:
    telemetry.count("test_still")
    taken = telemetry.snapshot()
    telemetry.count("test_still")
    assert taken["test_still"] == 1
    assert telemetry.snapshot()["test_still"] == 2


def test_counters_are_logged_every_minute_in_which_they_changed() -> None:
    name, other = secrets.token_hex(8), secrets.token_hex(8)
    times: list[tuple[float, int]] = []

    def noted(_: Any, __: str, event: EventDict) -> EventDict:
        if event["event"] == "counters":
            times.append((asyncio.get_running_loop().time(), event["counts"][name]))
        raise structlog.DropEvent

    async def story() -> None:
        telemetry.count(name)
        logging_task = asyncio.create_task(telemetry.log_counters())
        await asyncio.sleep(200)
        telemetry.count(name, 2)
        telemetry.count(other)
        await asyncio.sleep(200)
        logging_task.cancel()
        await asyncio.wait([logging_task])

    structlog.configure(processors=[noted], cache_logger_on_first_use=False)
    run_virtual(story())
    assert times == [(pytest.approx(60.0), 1), (pytest.approx(240.0), 3)]


# ---------------------------------------------------------------- lines that strangers can cause


def test_of_what_anybody_can_cause_a_line_a_second_is_written(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_s = 100.0
    monkeypatch.setattr("engine.telemetry.time.monotonic", lambda: at_s)
    seldom = Seldom(logging.getLogger("engine.door"))
    for n in range(100):
        seldom.warning("refused: %s", n)
    seldom.warning("something else")
    at_s += SELDOM_S
    seldom.warning("refused: %s", "later")

    assert caplog.messages == ["refused: 0", "something else", "refused: later"]
