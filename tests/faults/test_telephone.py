"""Twilio's end of a stream is half open: it does not see that the stream is over, and does not ask what comes next."""

from engine.clock import now
from tests.engine.test_leaving import called, eventually, settings
from tests.faults.figures import Figures

MOST = 10


async def test_a_stream_whose_end_twilio_does_not_see(redis_url: str, figures: Figures) -> None:
    heard = "nothing until then; the call goes on in a new stream"
    for figure in figures.of("telephone: Twilio sees no end of a stream", "`TWILIO_ASKS_S`", heard):
        asks_s = settings().twilio_asks_s
        async with called(redis_url, twilio_asks_s=asks_s) as (twilio, call, app):
            await eventually(lambda: app.left_s)
            await eventually(lambda: twilio.rest.asked)
            figure.found_s.append(now() - app.left_s)
            await eventually(lambda: app.streams == 2)
            figure.mended_s.append(now() - app.left_s)
            assert call.status == "in-progress"
            assert figure.mended_s[-1] < asks_s * MOST
