"""Key terms win over words that sound like them; a machine without the models says what to do."""

import subprocess
import sys

import pytest

numpy = pytest.importorskip("numpy")

from local.speech.gate import VoiceGate  # noqa: E402
from local.speech.wording import Wording  # noqa: E402


@pytest.mark.parametrize(
    ("heard", "meant"),
    [
        ("I need a break inspection.", "I need a brake inspection."),
        ("Will alignment, please.", "Wheel alignment, please."),
        ("I need an oil change to-morrow.", "I need an oil change tomorrow."),
        ("I will break it.", "I will break it."),
        ("", ""),
    ],
)
def test_a_key_term_replaces_what_sounds_like_it(heard: str, meant: str) -> None:
    assert Wording(("brake inspection", "wheel alignment", "tire"))(heard) == meant


def test_a_short_term_replaces_nothing() -> None:
    assert Wording(("wheel",))("I will go.") == "I will go."


def test_a_voice_stands_out_from_the_background_and_steady_noise_does_not() -> None:
    noise = numpy.random.default_rng(1).normal(0, 0.02, 8000 * 4).astype(numpy.float32)
    tone = numpy.sin(numpy.arange(8000) * 0.3).astype(numpy.float32) * 0.3
    gate = VoiceGate()
    gate.feed(noise)
    assert not gate.is_voice(1.0, 4.0)
    gate.feed(tone)
    assert gate.is_voice(4.0, 5.0)
    assert not gate.is_voice(4.0, 4.06)


def test_without_the_extra_the_start_ends_with_one_sentence() -> None:
    program = (
        "import sys, runpy\n"
        "sys.modules['moonshine_voice'] = None\n"
        "sys.argv = ['local.speech']\n"
        "runpy.run_module('local.speech', run_name='__main__')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "pip install 'trunkline[local-speech]'" in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
