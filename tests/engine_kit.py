"""Small means for the engine's tests: media parts of noise, and a turn run to its end without the worker thread."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen2_5OmniForConditionalGeneration, Qwen2_5OmniProcessor

from app.chatml.render import PastTurn, render_turn
from app.engine.decoder import Decoder
from app.engine.engine import Engine
from app.engine.loader import EngineOptions, load_engine
from app.engine.metrics import TurnClock
from app.engine.state import EngineState
from app.engine.turn import Turn
from app.types.events import AudioChunk, CodecDelta, Event, TextDelta
from app.types.media import Audio, Image, Video
from app.types.prompt import Prompt
from app.types.turn import AudioPart, ImagePart, TurnSettings, VideoPart

SYSTEM = "You are a helpful assistant."


def noise_image(seed: int, height: int = 84, width: int = 112) -> ImagePart:
    rng = np.random.default_rng(seed)
    return ImagePart(Image(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)))


def noise_audio(seed: int, seconds: float = 3.0) -> Audio:
    rng = np.random.default_rng(seed)
    return Audio((rng.standard_normal(int(16_000 * seconds)) * 0.1).astype(np.float32), 16_000)


def noise_video(
    seed: int,
    seconds: float = 5.0,
    sound_s: float | None = None,
    fps: float = 2.0,
    size: tuple[int, int] = (84, 112),
) -> VideoPart:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (int(seconds * fps) // 2 * 2, *size, 3), dtype=np.uint8)
    return VideoPart(Video(frames, fps, None if sound_s is None else noise_audio(seed, sound_s)))


def sound(seed: int, seconds: float = 3.0) -> AudioPart:
    return AudioPart(noise_audio(seed, seconds))


def new_turn(engine: Engine, state: EngineState, prompt: Prompt, settings: TurnSettings, seed: int = 0) -> Turn:
    clock = TurnClock(time.monotonic())
    return Turn(engine.stages, engine.tokenizer, state, prompt, settings, seed, 1, clock)


def afresh(engine: Engine, past: Sequence[PastTurn], parts: tuple) -> Prompt:
    """A whole conversation and its next turn, for an empty state."""
    return render_turn(engine.spec, engine.tokenizer, engine.new_state(), parts, SYSTEM, past=past)


def run(
    engine: Engine,
    state: EngineState,
    parts: tuple,
    settings: TurnSettings,
    system: str = SYSTEM,
    seed: int = 0,
    reply: str | None = None,
) -> list[Event]:
    """Render and answer one turn here and now."""
    with torch.inference_mode():
        prompt = render_turn(engine.spec, engine.tokenizer, state, parts, system, reply)
        return list(new_turn(engine, state, prompt, settings, seed).alone())


@contextmanager
def last_states(decoder: Decoder) -> Iterator[list[torch.Tensor]]:
    """The states `[n, hidden]` that a decoder gives from now on, one tensor per pass."""
    seen: list[torch.Tensor] = []
    forward = decoder.forward

    def noted(*args):
        seen.append(forward(*args))
        return seen[-1]

    decoder.forward = noted
    try:
        yield seen
    finally:
        del decoder.forward


def text_ids(events: list[Event]) -> list[int]:
    return [token for event in events if isinstance(event, TextDelta) for token in event.text_ids]


def codes(events: list[Event]) -> list[int]:
    return [code for event in events if isinstance(event, CodecDelta) for code in event.codec_ids]


def wave(events: list[Event]) -> np.ndarray:
    chunks = [event.samples for event in events if isinstance(event, AudioChunk)]
    return np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.float32)


@dataclass(frozen=True)
class Tiny:
    """The tiny checkpoint loaded twice: by our loader, and by plain transformers as the reference."""

    engine: Engine
    model: Qwen2_5OmniForConditionalGeneration
    processor: Qwen2_5OmniProcessor


@pytest.fixture(scope="session")
def tiny(tiny_checkpoint: Path) -> Iterator[Tiny]:
    engine = load_engine(EngineOptions(str(tiny_checkpoint), device="cpu"), lambda stage, share: None)
    model = Qwen2_5OmniForConditionalGeneration.from_pretrained(tiny_checkpoint).eval()
    yield Tiny(engine, model, Qwen2_5OmniProcessor.from_pretrained(tiny_checkpoint))
    engine.close()
