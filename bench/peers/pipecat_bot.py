"""The bench's call on Pipecat: `python pipecat_bot.py PORT SPEECH MODEL`, in the environment of `make bench-peers`.

Stock parts, as Pipecat's own telephone template puts them together: its Twilio serializer on FastAPI, Deepgram Flux
(which decides about turns, so that no model of voice activity runs here), its OpenAI service, Deepgram's voice over
a WebSocket; everything at 8 kHz, so that nothing is resampled. Metrics, RTVI and debug logs are off: they cost CPU.
The tool answers with a fixed result; there is no CRM, no session and no signature.
"""

import sys
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket
from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.services.deepgram.flux.stt import DeepgramFluxSTTService
from pipecat.services.deepgram.tts import DeepgramTTSService
from pipecat.services.llm_service import FunctionCallParams
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies
from pipecat.workers.runner import WorkerRunner

GREETING = "Thanks for calling Elm. How can I help you today?"
SLOTS = FunctionSchema(
    name="get_available_slots",
    description="Free times for a service on a day.",
    properties={"date": {"type": "string"}, "service": {"type": "string"}},
    required=["date", "service"],
)


async def answer(websocket: WebSocket, speech: str, model: str) -> None:
    """One call, from its stream's start to its end."""
    _, call = await parse_telephony_websocket(websocket)
    transport = FastAPIWebsocketTransport(
        websocket=websocket,
        params=FastAPIWebsocketParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            add_wav_header=False,
            serializer=TwilioFrameSerializer(
                stream_sid=call["stream_id"],
                call_sid=call["call_id"],
                params=TwilioFrameSerializer.InputParams(auto_hang_up=False),
            ),
        ),
    )
    voice = speech.replace("http", "ws", 1)
    stt = DeepgramFluxSTTService(api_key="key", url=f"{voice}/v2/listen")
    tts = DeepgramTTSService(api_key="key", base_url=voice)
    prompt = f"Caller's number: {call['body']['caller']}."
    llm = OpenAILLMService(
        api_key="key",
        base_url=model,
        settings=OpenAILLMService.Settings(model="gpt-4o", temperature=0.3, system_instruction=prompt),
    )
    llm.register_function("get_available_slots", _slots)
    context = LLMContext(tools=ToolsSchema([SLOTS]))
    user, assistant = LLMContextAggregatorPair(
        context, user_params=LLMUserAggregatorParams(user_turn_strategies=ExternalUserTurnStrategies())
    )
    worker = PipelineWorker(
        Pipeline([transport.input(), stt, user, llm, tts, transport.output(), assistant]),
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
        enable_rtvi=False,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)

    @transport.event_handler("on_client_connected")
    async def greet(_transport: Any, _client: Any) -> None:
        await worker.queue_frames([TTSSpeakFrame(GREETING)])

    @transport.event_handler("on_client_disconnected")
    async def end(_transport: Any, _client: Any) -> None:
        await runner.cancel()

    await runner.run()


async def _slots(params: FunctionCallParams) -> None:
    await params.result_callback({"free": ["09:00", "10:00"]})


def app(speech: str, model: str) -> FastAPI:
    """The webhook and the stream."""
    application = FastAPI()

    @application.post("/api/v1/voice/incoming")
    async def incoming(request: Request) -> Response:
        caller = parse_qs((await request.body()).decode())["From"][0]
        stream = f"ws://{request.headers['host']}/api/v1/voice/media-stream"
        parameter = f'<Parameter name="caller" value="{caller}"/>'
        return Response(
            f'<?xml version="1.0"?><Response><Connect><Stream url="{stream}">{parameter}</Stream></Connect></Response>',
            media_type="text/xml",
        )

    @application.post("/api/v1/voice/status", status_code=204)
    async def status() -> None:
        return None

    @application.websocket("/api/v1/voice/media-stream")
    async def media(websocket: WebSocket) -> None:
        await websocket.accept()
        await answer(websocket, speech, model)

    return application


def main() -> None:
    """Serves until SIGTERM, in one process, as Pipecat's runner does."""
    port, speech, model = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    uvicorn.run(app(speech, model), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
