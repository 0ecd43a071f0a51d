"""Reads a TwiML document into the verbs that this simulator runs.

Twilio, "TwiML Voice". An error carries Twilio's code: 12100 no XML, 12200 not by the schema.
"""

from dataclasses import dataclass, field
from urllib.parse import urljoin
from xml.etree import ElementTree
from xml.etree.ElementTree import Element


class TwimlError(Exception):
    """Twilio would refuse the document; `code` is its error code."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True, slots=True)
class Connect:
    url: str
    action: str | None
    parameters: dict[str, str] = field(default_factory=dict)
    status_callback: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class Play:
    url: str


@dataclass(frozen=True, slots=True)
class Dial:
    number: str
    action: str | None


@dataclass(frozen=True, slots=True)
class Pause:
    length_s: float


@dataclass(frozen=True, slots=True)
class Redirect:
    url: str


@dataclass(frozen=True, slots=True)
class Hangup:
    pass


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str


Verb = Connect | Say | Play | Dial | Pause | Redirect | Hangup | Reject


def read(document: bytes, base_url: str) -> list[Verb]:
    """The verbs of a document that came from `base_url`, against which its URLs are resolved."""
    if len(document) > 64 * 1024:
        raise TwimlError(11750, "the document is over 64 kB")
    try:
        root = ElementTree.fromstring(document)
    except ElementTree.ParseError as error:
        raise TwimlError(12100, f"no XML: {error}") from None
    if root.tag != "Response":
        raise TwimlError(12100, f"the root is <{root.tag}>, not <Response>")
    verbs = [_verb(element, base_url) for element in root]
    if any(isinstance(verb, Reject) for verb in verbs[1:]):
        raise TwimlError(12200, "<Reject> must come first")
    return verbs


def _verb(element: Element, base_url: str) -> Verb:
    text = (element.text or "").strip()
    match element.tag:
        case "Connect":
            return _connect(element, base_url)
        case "Say":
            return Say(_needed(text, "text in <Say>"))
        case "Play":
            return Play(urljoin(base_url, text))
        case "Dial":
            number = text or (element.findtext("Number") or "").strip()
            return Dial(_needed(number, "a number in <Dial>"), _url(element, "action", base_url))
        case "Pause":
            return Pause(_seconds(element.get("length", "1")))
        case "Redirect":
            return Redirect(urljoin(base_url, text))
        case "Hangup":
            return Hangup()
        case "Reject":
            return Reject(element.get("reason", "rejected"))
    raise TwimlError(12200, f"<{element.tag}> is no verb of a voice response that this simulator knows")


def _connect(element: Element, base_url: str) -> Connect:
    stream = element.find("Stream")
    if stream is None or len(element) != 1:
        raise TwimlError(12200, "<Connect> must hold one <Stream>")
    parameters = {one.get("name", ""): one.get("value", "") for one in stream.iter("Parameter")}
    if any(not name or len(name) + len(value) >= 500 for name, value in parameters.items()):
        raise TwimlError(12200, "a <Parameter> needs a name, and under 500 characters with its value")
    return Connect(
        _needed(stream.get("url", ""), "a url on <Stream>"),
        _url(element, "action", base_url),
        parameters,
        _url(stream, "statusCallback", base_url),
        stream.get("name", ""),
    )


def _url(element: Element, attribute: str, base_url: str) -> str | None:
    value = element.get(attribute)
    return None if value is None else urljoin(base_url, value)


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise TwimlError(12200, f"{value!r} is no number of seconds") from None


def _needed(value: str, what: str) -> str:
    if not value:
        raise TwimlError(12200, f"{what} is missing")
    return value
