"""What a call needs around it: the throwaway app, NHTSA on loopback, and the tap on the speech line."""

import contextlib
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.tap import Tap
from engine.settings import Settings, load_settings
from launcher.app import MODEST, RunningApp, running_app
from launcher.children import ChildProcess
from launcher.ports import free_ports

NHTSA_S = 30.0


@dataclass(frozen=True)
class DemoStage:
    """A running app, and the tap that its speech goes through."""

    app: RunningApp
    tap: Tap


def demo_settings(nhtsa_url: str) -> Settings:
    """Defaults alone, whatever the environment and `.env` hold: a demo must not ring up anybody's bill.

    Twilio's are made up, so that signatures are checked.
    """
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    own: dict[str, Any] = {
        "port": free_ports(1)[0],
        "twilio_account_sid": "AC" + secrets.token_hex(16),
        "twilio_auth_token": secrets.token_hex(16),
        "allow_local": True,
        "nhtsa_base_url": nhtsa_url,
    }
    return load_settings(**(defaults | own))


@contextlib.contextmanager
def demo_stage(directory: Path) -> Iterator[DemoStage]:
    """Starts everything, and leaves nothing running. Logs of NHTSA's stand-in go to `directory`."""
    with contextlib.ExitStack() as stack:
        nhtsa_url = stack.enter_context(_nhtsa(directory))
        tap = Tap()
        stack.callback(tap.close)

        def build(final: Settings) -> Any:
            import serve_app  # late: it imports Ray Serve, which reads the environment once

            return serve_app.build(final.model_copy(update={"deepgram_base_url": tap.url}))

        yield DemoStage(
            stack.enter_context(running_app(demo_settings(nhtsa_url), build=build, niceness=MODEST)), tap
        )


@contextlib.contextmanager
def _nhtsa(directory: Path) -> Iterator[str]:
    child = ChildProcess(
        "NHTSA", [sys.executable, "-m", "simulators.nhtsa", "--port", "0"], directory / "nhtsa.log"
    )
    child.start()
    try:
        port = child.wait_for_line(r"^listening on (\d+)$", NHTSA_S)[1]
        yield f"http://127.0.0.1:{port}/api/vehicles"
    finally:
        child.stop()
