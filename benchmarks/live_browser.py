"""A spoken question in real Chromium: from the decision that it is over to the first sample that the browser renders.

The demo is started as people start it; a file stands for the microphone and asks the same question again and again.
Needs Chromium and playwright, which requirements-dev.txt has.
"""

import importlib.util
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
QUESTION = ROOT / "assets" / "samples" / "twelve_plus_five.wav"
READY = "Running on local URL"
# Long enough for an answer to be spoken before the question comes again.
PAUSE_S = 9.0
TIMEOUT_MS = 120_000
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)


class NotThere(Exception):
    """What is missing, and how to get it."""


def first_sounds(checkpoint: str, device: str, num_turns: int) -> dict[str, float]:
    """Medians in seconds, but for `underruns`. `first_token_s` and `first_packet_s` by the server's clock, since the
    answer was begun, be it on trial in the pause before the decision. `first_packet_arrived_s` (in the player) and
    `first_sound_s` by the browser's, since it heard of the decision. Raises NotThere."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise NotThere("Chromium is not installed: the first sound in a browser is not measured.")
    if importlib.util.find_spec("playwright") is None:
        raise NotThere("playwright is missing (pip install -r requirements-dev.txt): no browser is measured.")
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, serving(checkpoint, device, Path(folder)) as url:
        flags = [*FLAGS, f"--use-file-for-fake-audio-capture={write_microphone(Path(folder) / 'asked.wav')}"]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=flags)
            page = browser.new_page()
            page.set_default_timeout(TIMEOUT_MS)
            page.goto(url)
            page.wait_for_function("window.omniPlayer && document.querySelector('#voice input')")
            page.locator("#tab-live-button").click()
            page.locator("#live .live-toggle").click()
            figures = [_answered(page, number, Path(folder)) for number in range(1, num_turns + 1)]
            browser.close()
    return {name: statistics.median(figure[name] for figure in figures) for name in figures[0]}


@contextmanager
def serving(checkpoint: str, device: str, folder: Path) -> Iterator[str]:
    """The demo as a process of its own; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "launch_demo.py", "--checkpoint", checkpoint, "--device", device,
        "--server-port", str(port), "--data-dir", str(folder / "data"),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    )
    try:
        said = []
        while READY not in (line := process.stdout.readline()):
            said.append(line)
            assert line, f"the demo did not start: {''.join(said)}"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate()


def write_microphone(path: Path) -> Path:
    """The question between silences; Chromium plays it in a loop."""
    import soundfile

    samples, rate = soundfile.read(QUESTION, dtype="float32")
    pause = np.zeros(int(PAUSE_S * rate / 2), np.float32)
    soundfile.write(path, np.concatenate([pause, samples, pause]), rate, subtype="PCM_16")
    return path


def _answered(page, number: int, folder: Path) -> dict[str, float]:
    """The figures of the answer of this number, once its speech was played to the end."""
    page.wait_for_function(f"omniPlayer.generations.size >= {number} && omniPlayer.stats.how === 'ended'")
    stats, turn = page.evaluate("[omniPlayer.stats, [...omniPlayer.generations.keys()].at(-1)]")
    (path,) = (folder / "data" / "sessions").glob(f"*/turn_{turn}.json")
    timings = json.loads(path.read_text())
    return {
        "first_token_s": timings["ttft_s"],
        "first_packet_s": timings["first_packet_s"],
        "first_packet_arrived_s": (stats["firstPacketAt"] - stats["submittedAt"]) / 1000,
        "first_sound_s": (stats["firstSoundAt"] - stats["submittedAt"]) / 1000,
        "underruns": stats["underruns"],
    }
