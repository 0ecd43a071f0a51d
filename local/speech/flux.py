"""One listen v2 socket (Flux): audio and control messages in, `Connected` and `TurnInfo` and their kin out.

Source of the protocol: Deepgram's AsyncAPI description and the pages "Flux Quickstart", "Understanding the Flux State
Machine", "End-of-Turn Detection Parameters", "Configure" and "Force End Turn". There is no KeepAlive and no Finalize: a
text message that is none of v2's is answered with an `Error`, which ends the socket.
"""

import asyncio
import json
from typing import Any

from local.speech.listen import ListenSocket
from local.speech.params import FluxParams, Refusal, checked_thresholds
from local.speech.ports import Heard, Recogniser
from local.speech.results import words
from local.speech.turns import Info, Trigger, Turns
from local.speech.watch import Limits, OpenSocket, Watch

FATAL = 1011  # with which code the real one closes after an `Error` is not documented


class FluxSocket(ListenSocket):
    """Serves one accepted socket until either side closes it."""

    def __init__(
        self, socket: OpenSocket, params: FluxParams, recogniser: Recogniser, limits: Limits, watch: Watch
    ) -> None:
        super().__init__(socket, params.hearing, recogniser, limits, watch)
        self._turns = Turns(params.thresholds)
        self._sequence = 0

    async def run(self) -> None:
        """See `ListenSocket.run`."""
        self._send({"type": "Connected"})
        await super().run()

    # ------------------------------------------------------------ in

    async def _hear(self, audio: bytes) -> None:
        self._socket.audio_bytes += len(audio)
        self._recogniser.feed(audio)
        if self._turns.timed_out(self._now):
            await self._end_turn(Trigger.TIMEOUT)
        self._inform(self._turns.passed(self._now))

    async def _control(self, text: str) -> bool:
        try:
            message = json.loads(text)
            kind = message["type"]
        except (ValueError, TypeError, KeyError):
            raise Unparsable("Could not deserialize last text message.") from None
        self._watch.note(self._socket, message)
        match kind:
            case "CloseStream":
                return True
            case "ForceEndTurn":
                if self._turns.under_way:
                    await self._end_turn(Trigger.MANUAL)
            case "Configure":
                self._configure(message)
            case _:
                raise Unparsable(f"Unknown message type {kind!r}.")
        return False

    async def _read(self) -> tuple[int, str]:
        try:
            return await super()._read()
        except Unparsable as error:
            self._send({"type": "Error", "code": "UNPARSABLE_CLIENT_MESSAGE", "description": str(error)})
            return FATAL, "UNPARSABLE_CLIENT_MESSAGE"

    async def _end_turn(self, trigger: Trigger) -> None:
        await self._complete()
        self._inform([self._turns.end(self._now, trigger)])

    async def _complete(self) -> None:
        async with asyncio.timeout(self._limits.flush_s):
            await self._recogniser.flush()

    def _configure(self, message: dict[str, Any]) -> None:
        try:
            wanted = message.get("thresholds") or {}
            self._turns.thresholds = checked_thresholds(wanted, self._turns.thresholds)
        except (Refusal, AttributeError) as error:
            why = error.message if isinstance(error, Refusal) else "thresholds must be an object"
            self._send({"type": "ConfigureFailure", "code": "INVALID_CONFIGURATION", "description": why})
            return
        if (keyterms := message.get("keyterms")) is not None:
            self._keyterms = [str(term) for term in keyterms]
        now = self._turns.thresholds
        thresholds = {"eot_threshold": now.eot, "eot_timeout_ms": now.timeout_ms}
        if now.eager_eot is not None:
            thresholds["eager_eot_threshold"] = now.eager_eot
        self._send({"type": "ConfigureSuccess", "thresholds": thresholds, "keyterms": self._keyterms})

    async def _finish(self) -> tuple[int, str]:
        await self._complete()
        if self._turns.under_way:
            self._inform([self._turns.update(self._now)])
        return 1000, ""

    # ------------------------------------------------------------ out

    def _tell(self, heard: Heard) -> None:
        self._inform(self._turns.heard(heard, self._now))

    def _inform(self, infos: list[Info]) -> None:
        for info in infos:
            self._send(_turn_info(info))

    def _send(self, message: dict[str, Any]) -> None:
        kind = {"type": message.pop("type"), "request_id": self._socket.request_id}
        super()._send(kind | {"sequence_id": self._sequence} | message)
        self._sequence += 1


class Unparsable(Exception):
    """The client sent a text message that v2 does not have."""


def _turn_info(info: Info) -> dict[str, Any]:
    message: dict[str, Any] = {
        "type": "TurnInfo",
        "event": info.event.value,
        "turn_index": info.turn,
        "audio_window_start": round(info.start_s, 3),
        "audio_window_end": round(info.end_s, 3),
        "transcript": info.transcript,
        "words": [
            {
                "word": word["punctuated_word"],
                "confidence": word["confidence"],
                "start": word["start"],
                "end": word["end"],
            }
            for piece in info.spoken
            for word in words(*piece)
        ],
        "end_of_turn_confidence": round(info.confidence, 3),
    }
    if info.trigger is not None:
        message["trigger"] = info.trigger.value
    return message
