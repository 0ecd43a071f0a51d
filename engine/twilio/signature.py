"""Is a request really from Twilio? Checks of `X-Twilio-Signature`.

Twilio, "Security": base64 of HMAC-SHA1 with the account's auth token, over the URL that Twilio requested
and, for a form, over its fields. The text and the hash are the SDK's; which URLs to try is ours, because the
SDK's validator adds port 80 to `wss://` and loses the host of `user:password@` and IPv6 URLs.
"""

import hmac
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from twilio.request_validator import RequestValidator

HEADER = "X-Twilio-Signature"

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_OVER_WEBSOCKET = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


class _Form:
    """Form fields as the SDK reads them: names by iteration, values by `getlist`."""

    def __init__(self, values: dict[str, list[str]]) -> None:
        self._values = values

    def __iter__(self) -> Iterable[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def getlist(self, name: str) -> list[str]:
        return self._values[name]


def webhook_is_signed(
    token: str, url: str, form: Mapping[str, Any], header: str | None, fragment: str = ""
) -> bool:
    """Whether `header` signs this URL and all of its form fields with `token`.

    `url` is the public one, as Twilio requested it (see `public_url`). `form` is a multi-dict with `getlist`
    or `getall` (Starlette's FormData), a dict of str, or a dict of lists; {} for a GET. Never raises for what
    a stranger may send: anything odd is not signed. An empty token signs nothing. `fragment` is what may stand
    after the `#` of the URL that Twilio was given: whether Twilio signs that is nowhere told.
    """
    values = _values_of(form)
    urls = _with_and_without_port(url)
    if fragment:
        urls += [f"{one}#{fragment}" for one in urls]
    return values is not None and _signs(token, urls, values, header)


def stream_is_signed(token: str, wss_url: str, header: str | None) -> bool:
    """Whether `header` signs the WebSocket upgrade to `wss_url`, with or without a slash at its end.

    Twilio signs the URL as it stands in `<Stream>`, its wss scheme included; some report a slash more.
    """
    bare = wss_url.partition("#")[0].rstrip("/")
    urls = [form for url in (bare, bare + "/") for form in _with_and_without_port(url)]
    return _signs(token, urls, {}, header)


def public_url(base_url: str, scheme: str, host: str, path: str | bytes, query: str | bytes = "") -> str:
    """The URL as Twilio sees it, for a request that came through proxies.

    `base_url` (the BASE_URL setting) decides scheme and host when it is set; otherwise the request's own do.
    `scheme` is the request's: ws or wss asks for a WebSocket URL, also on an https base. `path` and `query`
    are as they were sent, still percent-encoded (ASGI: `raw_path` and `query_string`).
    """
    base = urlsplit(base_url)
    ours = base_url.rstrip("/") if base_url else f"{scheme}://{host}"
    if base_url and scheme in ("ws", "wss"):
        ours = _OVER_WEBSOCKET.get(base.scheme, base.scheme) + ours[len(base.scheme) :]
    asked = _text(query)
    return f"{ours}{_text(path)}" + (f"?{asked}" if asked else "")


def _text(raw: str | bytes) -> str:
    return raw if isinstance(raw, str) else raw.decode("latin-1")


def _signs(token: str, urls: Iterable[str], values: dict[str, list[str]], header: str | None) -> bool:
    if not token or not header:
        return False
    validator = RequestValidator(token)
    given = header.encode("utf-8", "replace")
    try:
        expected = [str(validator.compute_signature(url, _Form(values))).encode() for url in urls]
    except UnicodeEncodeError:  # a lone surrogate: no UTF-8 text that Twilio could have signed
        return False
    return any(hmac.compare_digest(one, given) for one in expected)


def _values_of(form: Mapping[str, Any]) -> dict[str, list[str]] | None:
    """Each name's values, or None where one is no text (an uploaded file: Twilio sends none)."""
    read = getattr(form, "getlist", None) or getattr(form, "getall", None)
    values: dict[str, list[str]] = {}
    for name in form:
        found = read(name) if read else form[name]
        values[name] = [found] if isinstance(found, str) else found
        if not isinstance(values[name], list) or not all(isinstance(value, str) for value in values[name]):
            return None
    return values


def _with_and_without_port(url: str) -> list[str]:
    """The URL as it is, and with its scheme's default port added or left out: Twilio does both."""
    exact = url.partition("#")[0]
    try:
        parts = urlsplit(exact)
        port = parts.port
    except ValueError:
        return [exact]
    default = _DEFAULT_PORTS.get(parts.scheme)
    if default is None or not parts.netloc:
        return [exact]
    if port is None:
        return [exact, _with_netloc(exact, parts, f"{parts.netloc.rstrip(':')}:{default}")]
    if port == default:
        return [exact, _with_netloc(exact, parts, parts.netloc.rpartition(":")[0])]
    return [exact]


def _with_netloc(url: str, parts: SplitResult, netloc: str) -> str:
    """`url` with another host part, and not one character else changed (urlunsplit would tidy it up)."""
    start = url.index("//") + 2
    return url[:start] + netloc + url[start + len(parts.netloc) :]
