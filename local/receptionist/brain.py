"""The receptionist as the brain of a chat server: its sentences come a word at a time."""

import asyncio
import datetime as dt
import json
import re
from collections.abc import AsyncGenerator
from typing import Any

from local.chat import Call, Piece, Text
from local.receptionist.dialogue import answer

MODEL = "trunkline-receptionist"
WORD_GAP_S = 0.015


class Receptionist:
    """A `local.chat.Brain` that works by rules. `word_gap_s` is the pause between two words."""

    model = MODEL

    def __init__(self, word_gap_s: float = WORD_GAP_S) -> None:
        self._word_gap_s = word_gap_s

    async def reply(self, request: dict[str, Any]) -> AsyncGenerator[Piece, None]:
        """Says its reply word by word, then calls a tool if the request allows it."""
        allowed = request.get("tool_choice") != "none"
        tools = (request.get("tools") or []) if allowed else []
        # Only a prompt without a date makes it look at the clock.
        reply = answer(request["messages"], tools, dt.datetime.now(dt.UTC).date())
        for count, word in enumerate(re.findall(r"\s*\S+", reply.text)):
            if count:
                await asyncio.sleep(self._word_gap_s)
            yield Text(word)
        if reply.tool:
            yield Call(reply.tool, json.dumps(reply.arguments))
