"""Fills the board while the call goes on, from whoever knows: the session, the tap, the line, the caller's ear."""

import asyncio
import json
from typing import Any

from demo.board import Board, Kind
from engine.clock import wall
from engine.history import Called, Returned, Said, TurnBegan, cut_at_word
from engine.messages import Final, Interim, Playback, TurnEnded
from engine.redis_client import SessionAway
from engine.session import SessionStore
from engine.utterances import Told
from simulators.twilio import CallEvent

AGENT = "Agent"
LOOK_S = 0.1
_LONGEST = 90


class Watch:
    """Writes one call on a board. `name` is the caller's."""

    def __init__(self, board: Board, name: str) -> None:
        self._board = board
        self._name = name
        self._ear_lines = 0
        self._tools: dict[str, str] = {}

    # --- what both sides hear

    def agent_hears(self, told: Told) -> None:
        """The recogniser's word to the agent, as the tap read it."""
        if isinstance(told, Interim | Final | TurnEnded):
            over = isinstance(told, TurnEnded) and not told.eager
            self._board.put(("heard", told.utterance), Kind.HEARS, AGENT, told.text, settled=over)

    def caller_hears(self, text: str, final: bool) -> None:
        """The caller's own recogniser."""
        self._board.put(("ear", self._ear_lines), Kind.HEARS, self._name, text, settled=final)
        self._ear_lines += final

    # --- the line

    def line_event(self, event: CallEvent) -> None:
        """The simulated telephone's journal."""
        match event.kind:
            case "answered":
                self._board.event("the app answers")
            case "says":
                self._board.put(event.at, Kind.SAYS, self._name, event.detail["text"], settled=True)
            case "clear":
                dropped_ms = event.detail["dropped_ms"]
                self._board.event(f"interrupted: {dropped_ms:.0f} ms of speech on the line are dropped")
            case "stop_sent":
                self._board.event(f"{self._name} hangs up")
            case "hangup":
                self._board.event("the agent hangs up")
            case "error":
                self._board.event(f"Twilio would report {event.detail['code']}: {event.detail['why']}")

    def failed(self, why: str) -> None:
        """The call went wrong at the caller's end."""
        self._board.event(f"the call failed: {why}")

    # --- the agent, from the call's session in Redis

    async def follow(self, redis_url: str, call: str) -> None:
        """Reads the session until cancelled."""
        store = SessionStore(redis_url, ttl_s=60, write_ms=100, token_ttl_s=60)  # it only reads
        try:
            while True:
                await self._look(store, call)
                await asyncio.sleep(LOOK_S)
        finally:
            await store.close()

    async def _look(self, store: SessionStore, call: str) -> None:
        try:
            stored = await store.read(call)
        except SessionAway as away:
            self._board.event(str(away))
            return
        for item in stored.items.values() if stored else ():
            match item:
                case Said():
                    self._said(item)
                case Called():
                    for tool in item.calls:
                        self._tools[tool.id] = f"{tool.name}({_arguments(tool.arguments)})"
                        self._board.put(tool.id, Kind.TOOL, "", self._tools[tool.id], settled=False)
                case Returned():
                    text = f"{self._tools.get(item.id, '?')} -> {_result(item.result)}"
                    self._board.put(item.id, Kind.TOOL, "", text, settled=True)
                case TurnBegan() if item.text and item.utterance:
                    self._board.put(("heard", item.utterance), Kind.HEARS, AGENT, item.text, settled=True)

    def _said(self, said: Said) -> None:
        if not said.at:
            return
        heard = said.heard()
        if said.state is Playback.PLAYING and said.audio_ms:
            heard = cut_at_word(said.text, (wall() - said.at) * 1000 / said.audio_ms)
        key = ("said", said.turn, said.index)
        rest = said.text[len(heard) :]
        self._board.put(key, Kind.SAYS, AGENT, heard, rest=rest, settled=said.settled)


def _arguments(text: str) -> str:
    try:
        values = json.loads(text or "{}")
    except ValueError:
        return text[:_LONGEST]
    return ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)


def _result(text: str) -> str:
    """A tool's result in brief."""
    try:
        value = json.loads(text)
    except ValueError:
        return text[:_LONGEST]
    brief = _brief(value)
    return brief if len(brief) <= _LONGEST else f"{brief[: _LONGEST - 3]}..."


def _brief(value: Any) -> str:
    if isinstance(value, dict) and isinstance(value.get("say"), str):
        return str(value["say"])  # what the others come to
    if isinstance(value, dict):
        told = [(name, item) for name, item in value.items() if item is not None]
        told.sort(key=lambda entry: isinstance(entry[1], dict | list))  # the plain ones say most
        return ", ".join(f"{name}: {_brief(item)}" for name, item in told)
    if isinstance(value, list):
        shown = ", ".join(_brief(item) for item in value[:3])
        return f"{shown} and {len(value) - 3} more" if len(value) > 3 else shown
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
