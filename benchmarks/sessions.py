"""What a session costs: speaking a reply again, opening a long conversation, saving; a table and one JSON line.

    python -m benchmarks.sessions                    the shipped checkpoint, on what this machine has
    python -m benchmarks.sessions --checkpoint DIR   another one

Again against at once: a question with 10 s of sound and a picture, then its reply in another voice, both to the first
codec token. A conversation of --turns turns is opened by a program that has just started. On a slow disk every save
takes --disk-s longer; one session speaks while another only writes, so that saves of both fall into the speech; what
comes later than a player that never waits would have needed it is an underrun.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import soundfile
import torch
from PIL import Image

from app.building import build_service
from app.config import MICRO_CHECKPOINT, Config
from app.service import Service
from app.session.store import Store
from app.types.events import AudioChunk, CodecDelta, Prefilled
from app.types.turn import FileInput, TextInput, TurnInput, TurnSettings

SOUND_S = 10.0
RATE = 16_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=str(MICRO_CHECKPOINT))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--disk-s", type=float, default=0.5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options, Path(folder))
    print_table(figures)
    print(json.dumps(figures))


def measure(options: argparse.Namespace, folder: Path) -> dict:
    media = make_media(folder)
    config = Config(checkpoint=options.checkpoint, device=options.device, data_dir=folder / "data")
    with running(config, folder) as service:
        settings = replace(service.default_settings, seed=0)
        again = [first_codecs(service, settings, media) for _ in range(options.runs + 1)][1:]
        secret = long_conversation(service, settings, options.turns)
        device = service.info.device
    with running(config, folder) as service:
        opened = opening(service, secret, settings)
    underruns = {}
    for name, disk_s in (("fast", 0.0), ("slow", options.disk_s)):
        with slow_disk(disk_s), running(replace(config, data_dir=folder / name), folder) as service:
            underruns[name] = speak_while_writing(service, settings, options.runs)
    full, voiced = (statistics.median(times) for times in zip(*again))
    return {
        "revoice_over_full_turn": voiced / full,
        "full_turn_first_codec_s": full,
        "revoice_first_codec_s": voiced,
        f"open_{options.turns}_turns_s": opened["open_s"],
        "first_text_after_opening_s": opened["first_text_s"],
        "tokens_after_opening": opened["num_tokens"],
        "underruns_slow_disk": underruns["slow"],
        "underruns_fast_disk": underruns["fast"],
        "slow_save_s": options.disk_s,
        "checkpoint": Path(options.checkpoint).name,
        "device": device,
        "runs": options.runs,
        "torch": torch.__version__,
    }


@contextmanager
def running(config: Config, uploads: Path):
    service = build_service(config, (uploads,))
    service.ready.wait()
    if service.failure is not None:
        raise service.failure
    try:
        yield service
    finally:
        service.close()


@contextmanager
def slow_disk(delay_s: float):
    """Every save of a conversation takes so much longer."""

    class SlowStore(Store):
        def save(self, session_id: str, content: dict) -> None:
            time.sleep(delay_s)
            super().save(session_id, content)

    with patch("app.service.Store", SlowStore):
        yield


def make_media(folder: Path) -> tuple[Path, Path]:
    noise = np.random.default_rng(0)
    sound, picture = folder / "question.wav", folder / "picture.png"
    soundfile.write(sound, noise.normal(0, 0.05, int(SOUND_S * RATE)).astype(np.float32), RATE)
    Image.fromarray(noise.integers(0, 256, (480, 640, 3), dtype=np.uint8)).save(picture)
    return sound, picture


def message(text: str, *files: Path) -> TurnInput:
    return TurnInput((*(FileInput(file) for file in files), TextInput(text)))


def first_codecs(service: Service, settings: TurnSettings, media: tuple[Path, Path]) -> tuple[float, float]:
    """Seconds from asking to the first codec token: of a turn, and of its reply in another voice."""
    session = service.open(None, "").session_id
    stream = service.submit(session, message("What is this?", *media), settings)
    full = [event.t_s for event in stream if isinstance(event, CodecDelta)][0]
    other = replace(settings, voice=service.info.voices[-1])
    voiced = [event.t_s for event in service.speak_again(session, 1, other) if isinstance(event, CodecDelta)][0]
    service.leave(session)
    return full, voiced


def long_conversation(service: Service, settings: TurnSettings, num_turns: int) -> str:
    """The secret of a conversation of so many short turns."""
    opened = service.open(None, "")
    short = replace(settings, speak=False, thinker=replace(settings.thinker, max_new_tokens=12))
    for number in range(num_turns):
        for _ in service.submit(opened.session_id, message(f"What is {number} plus one?"), short):
            pass
    return opened.secret


def opening(service: Service, secret: str, settings: TurnSettings) -> dict:
    start_s = time.perf_counter()
    opened = service.open(secret, "")
    records = service.transcript(opened.session_id)
    open_s = time.perf_counter() - start_s
    assert opened.resumed and records
    stream = service.submit(opened.session_id, message("And two?"), replace(settings, speak=False))
    prefilled = [event for event in stream if isinstance(event, Prefilled)][0]
    return {"open_s": open_s, "first_text_s": prefilled.t_s, "num_tokens": prefilled.num_new}


def speak_while_writing(service: Service, settings: TurnSettings, num_turns: int) -> int:
    """Underruns of a session that speaks so many turns while another one writes."""
    count, is_over = 0, threading.Event()
    sessions = [service.open(None, "").session_id for _ in range(2)]
    brief = replace(settings, speak=False, thinker=replace(settings.thinker, max_new_tokens=3))

    def write() -> None:
        while not is_over.wait(0.2):
            for _ in service.submit(sessions[1], message("Hello."), brief):
                pass
            service.take_back(sessions[1], service.transcript(sessions[1])[-1].turn)

    writer = threading.Thread(target=write)
    writer.start()
    for number in range(num_turns):
        stream = service.submit(sessions[0], message(f"Count from one to {7 + number}."), settings)
        needed_at = None
        for event in stream:
            if not isinstance(event, AudioChunk):
                continue
            now = time.perf_counter()
            if needed_at is not None and now > needed_at:
                count += 1
                needed_at = now
            needed_at = (needed_at or now) + len(event.samples) / event.sample_rate
    is_over.set()
    writer.join()
    return count


def print_table(figures: dict) -> None:
    for key, value in figures.items():
        print(f"{key:32s} {value:.4f}" if isinstance(value, float) else f"{key:32s} {value}")


if __name__ == "__main__":
    main()
