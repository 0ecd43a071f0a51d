"""Going on with a reply that was broken off: what of it is still unsaid."""

import re
from typing import Any

GO_ON = re.compile(r"\s*(go on|continue|carry on)\b", re.IGNORECASE)


def unsaid(said: str, whole: str) -> str | None:
    """The rest of `whole` after the words of `said`; None if `said` is not how it begins.

    Words are compared without case and punctuation.
    """
    words = _words(said)
    pieces = list(re.finditer(r"\S+", whole))
    at = 0
    for piece in pieces:
        if not words:
            break
        spoken = _words(piece.group())
        if len(words) == 1 and len(spoken) == 1 and spoken[0].startswith(words[0]) and spoken != words:
            return whole[piece.start() :].strip()  # cut within this word: it is said again
        if spoken != words[: len(spoken)]:
            return None
        words, at = words[len(spoken) :], piece.end()
    return None if words else whole[at:].strip()


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower().replace("'", "").replace("’", ""))


def split_go_on(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str | None]:
    """The messages that lead to a reply, and what was said of it already (None: nothing)."""
    if len(messages) < 2 or messages[-1]["role"] not in ("system", "developer", "user"):
        return messages, None
    partial = messages[-2]
    going_on = GO_ON.match(text_of(messages[-1]))
    if going_on and partial["role"] == "assistant" and not partial.get("tool_calls"):
        return messages[:-2], text_of(partial)
    return messages, None


def text_of(message: dict[str, Any]) -> str:
    """A message's content as text; parts are joined."""
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content)
    return content or ""
