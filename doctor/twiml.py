"""What the app answers a call that rings, read as Twilio reads it.

Twilio, "TwiML Voice: <Connect>", "<Stream>"; errors 12100 (no XML), 12200 (not by the schema), 12300 (content type).
"""

from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True)
class Streamed:
    """The call is to be streamed."""

    url: str
    token: str


class NotStreamed(Exception):
    """The answer is another; the message says what, and `code` is Twilio's error, 0 where it is none."""

    def __init__(self, what: str, code: int = 0) -> None:
        super().__init__(what)
        self.code = code


def read_answer(kind: str, document: bytes, *, secure: bool) -> Streamed:
    """Raises `NotStreamed`. `kind` is the content type; `secure`: Twilio asks over https, and streams to wss only."""
    if kind.partition(";")[0].strip().lower() not in ("text/xml", "application/xml"):
        raise NotStreamed(f"its content type is {kind or 'none'}", 12300)
    try:
        root = ElementTree.fromstring(document)
    except ElementTree.ParseError as error:
        raise NotStreamed(f"it is no XML ({error})", 12100) from None
    if root.tag != "Response":
        raise NotStreamed(f"it is a <{root.tag}> and no <Response>", 12100)
    connect, stream = root.find("Connect"), root.find("Connect/Stream")
    if connect is None or stream is None:
        verbs = ", ".join(f"<{verb.tag}>" for verb in root) or "nothing"
        said = " ".join((root.findtext("Say") or "").split())
        raise NotStreamed(f"it has {verbs}" + (f": {said!r}" if said else ""))
    if not connect.get("action"):
        raise NotStreamed("its <Connect> has no action, so a dropped stream would end the call", 12200)
    url = stream.get("url", "")
    if not url.startswith("wss://" if secure else ("ws://", "wss://")):
        raise NotStreamed(f"it streams to {url or 'nowhere'}, and Twilio to wss:// only", 31920)
    if "?" in url:
        raise NotStreamed("the stream's URL has a query string", 31920)
    parameters = {one.get("name"): one.get("value", "") for one in stream.iter("Parameter")}
    return Streamed(url, parameters.get("token") or "")
