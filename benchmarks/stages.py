"""Milliseconds of each stage's smallest unit, beside the least that the chip's memory and arithmetic allow."""

import statistics
import time
from collections.abc import Callable

import torch

from app.chatml.render import DEFAULT_SYSTEM_PROMPT, render_turn
from app.engine.token2wav import DEFAULT_WINDOWS
from app.types.turn import TALKER_SAMPLING, TextPart
from benchmarks.subject import Subject, wait

# Floors of the published 7B geometry in bf16 on a chip that reads 4.3 TB/s and multiplies at 790 TFLOP/s (float32 at
# 300 TFLOP/s as TF32): weights read once per step, the arithmetic of a window.
FLOORS_7B_MS = {"thinker_step": 3.29, "talker_step": 0.61, "dit_window": 15.3, "bigvgan_window": 1.9}


@torch.inference_mode()
def stage_times(subject: Subject, repeats: int, ode_points: int = 10) -> dict[str, float]:
    """Median milliseconds of a Thinker step, a Talker step, a DiT window of 4 blocks and the vocoder's share of it."""
    engine, stages = subject.engine, subject.engine.stages
    state = engine.new_state()
    prompt = render_turn(engine.spec, engine.tokenizer, state, (TextPart("Hello"),), DEFAULT_SYSTEM_PROMPT)
    for segment in prompt.segments:
        stages.thinker.prefill(state, segment, stages.thinker.encode(segment))
    end = state.mark()
    voice = next(iter(stages.voices.values()))
    times = {"thinker_step": _median(lambda: stages.thinker.step(state, 1), repeats, subject.device)}
    row = state.states.since(state.num_tokens - 1)[None].clone()
    utterance = stages.talker.speak(state, voice.bos_token_id, TALKER_SAMPLING.greedy(), 0)
    utterance.start(end, row)
    times["talker_step"] = _median(lambda: utterance.step(row), repeats, subject.device)

    token2wav = stages.token2wav
    num_blocks = DEFAULT_WINDOWS.look_back + 1 + DEFAULT_WINDOWS.look_ahead
    num_frames = num_blocks * token2wav.dit.block_size
    codes = list(range(num_frames // token2wav.dit.repeats))
    noise = torch.randn(1, num_frames, token2wav.dit.mel_dim, device=subject.device)
    window = lambda: list(token2wav.mel(voice, codes, noise, ode_points, 0.5))  # noqa: E731
    times["dit_window"] = _median(window, max(3, repeats // 10), subject.device)
    frames = token2wav.dit.block_size + 2 * DEFAULT_WINDOWS.vocoder_context
    mel = torch.randn(1, frames, token2wav.dit.mel_dim, device=subject.device)
    times["bigvgan_window"] = _median(lambda: token2wav.wave(mel), max(3, repeats // 10), subject.device)
    return times


def _median(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    times = []
    for index in range(repeats + 3):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        if index >= 3:  # the first calls pay for allocation and kernel choice
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)
