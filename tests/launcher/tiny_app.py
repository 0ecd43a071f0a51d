"""The smallest Serve application that the launcher can run: two replicas, ready at once, no calls."""

from typing import Any

from ray import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from engine.settings import Settings


async def ready(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ready")


async def calls(request: Request) -> JSONResponse:
    return JSONResponse({"calls": []})


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


routes = Starlette(routes=[Route("/readyz", ready), Route("/calls", calls), WebSocketRoute("/echo", echo)])


@serve.deployment(
    num_replicas=2,
    ray_actor_options={"num_cpus": 0},
    graceful_shutdown_timeout_s=1,
    graceful_shutdown_wait_loop_s=0.1,
)
@serve.ingress(routes)
class Tiny:
    pass


def build(settings: Settings) -> Any:
    return Tiny.bind()
