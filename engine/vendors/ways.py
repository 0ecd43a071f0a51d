"""The ways to those who hear and speak for a process's calls, from its settings: Deepgram first, then the fallbacks."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from engine.routes import Route, Routes, Way
from engine.settings import Settings
from engine.vendors.deepgram import ListenSocket, SpeakRequests, SpeakSocket, client
from engine.vendors.flux import FluxSocket

Listening = Callable[[], ListenSocket | FluxSocket]  # makes a new, unopened socket
Speaking = Callable[[], SpeakSocket | SpeakRequests]


def listen_routes(settings: Settings) -> Routes[Listening]:
    """Who hears for the calls of a process: Deepgram, then `STT_FALLBACK`."""
    fallback = {
        "deepgram_base_url": settings.stt_fallback,
        "deepgram_api_key": settings.stt_fallback_key or settings.deepgram_api_key,
        "stt_model": settings.stt_fallback_model or settings.stt_model,
    }
    routes: list[Route[Listening]] = []
    for one in _chosen(settings, fallback):
        socket = FluxSocket if one.hears_by_flux else ListenSocket
        way = partial(socket, client(one), one)
        routes.append(_route(urlsplit(one.deepgram_base_url).netloc, way, settings))
    return Routes(routes)


@dataclass(frozen=True)
class SpeakWay:
    """A way to a voice: the same text has the same sound by all ways to the same `voice`."""

    voice: str
    open_socket: Speaking


def speak_routes(settings: Settings) -> Routes[SpeakWay]:
    """Who speaks for the calls of a process: Deepgram's socket, its REST endpoint, and so on with `TTS_FALLBACK`."""
    fallback = {
        "deepgram_base_url": settings.tts_fallback,
        "deepgram_api_key": settings.tts_fallback_key or settings.deepgram_api_key,
        "tts_model": settings.tts_fallback_model or settings.tts_model,
    }
    routes = []
    for one in _chosen(settings, fallback):
        sdk, name = client(one), urlsplit(one.deepgram_base_url).netloc
        voice = f"{name} {one.tts_model}"
        routes.append(_route(name, SpeakWay(voice, partial(SpeakSocket, sdk, one)), settings))
        routes.append(_route(f"{name} by REST", SpeakWay(voice, partial(SpeakRequests, sdk, one)), settings))
    return Routes(routes)


def _chosen(settings: Settings, fallback: dict[str, str]) -> list[Settings]:
    """The settings of the first vendor, and of the second if there is one."""
    return [settings, *([settings.model_copy(update=fallback)] if fallback["deepgram_base_url"] else [])]


def _route(name: str, way: Way, settings: Settings) -> Route[Way]:
    return Route(name, way, settings.breaker_failures, settings.breaker_rest_s, settings.breaker_rest_most_s)


def warm(listen: Routes[Listening], speak: Routes[SpeakWay]) -> None:
    """Loads what the first sockets would: 35 ms of imports, which would hold up the audio of other calls."""
    for hearing in listen.all:
        hearing.way()
    for speaking in speak.all:
        speaking.way.open_socket()
