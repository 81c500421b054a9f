"""Milliseconds of each stage's smallest unit beside the least that the chip allows and what the library's module takes.

    python -m benchmarks.stages                      the micro checkpoint, one thread of a CPU
    python -m benchmarks.stages --geometry 7b        the published 7B shape with random weights, on a GPU
    python -m benchmarks.stages --checkpoint DIR     a real one

Ours and the library's unit run in turn, so that a drift of the machine falls on both; medians. Floors: the bytes of the
weights over the bandwidth of a copy, or the arithmetic over the rate of a large matrix product, whichever takes longer;
both are measured in the same run. The last line is JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import transformers
from torch import nn
from transformers import DynamicCache

from app.chatml.render import DEFAULT_SYSTEM_PROMPT, render_turn
from app.config import MICRO_CHECKPOINT
from app.engine.decoder import KVCache
from app.engine.products import Product
from app.engine.sampling import TokenSampler
from app.engine.stepping import run_together
from app.engine.token2wav import DEFAULT_WINDOWS
from app.types.events import AudioChunk, CodecDelta, Event, StageTimed, TextDelta
from app.types.turn import TALKER_SAMPLING, TextPart, TurnSettings
from benchmarks.subject import Subject, hardware, load_subject, wait

# Floors of the published 7B geometry in bf16 on a chip that reads 4.3 TB/s and multiplies at 790 TFLOP/s (float32 at
# 300 TFLOP/s as TF32): weights read once per step, the arithmetic of a window.
FLOORS_7B_MS = {"thinker_step": 3.29, "talker_step": 0.61, "dit_window": 15.3, "bigvgan_window": 1.9}
NUM_PREFILLED = 1000
SIDE_PATCHES = 32  # a picture of 448 x 448
# To which `assets/micro` says its longest reply, 18 words.
MESSAGE = "Count from forty one to forty nine"
NUM_REPLY_TOKENS = 24
CODES_PER_TOKEN = 15


@dataclass(frozen=True)
class Unit:
    """`library_ms`: of the library's unit, None where it has none; of four windows together, of the same one after
    another. `floor_ms`: None where none is known."""

    name: str
    ms: float
    library_ms: float | None = None
    floor_ms: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="folder or hub id; without it, --geometry")
    parser.add_argument("--geometry", choices=("micro", "tiny", "200m", "7b"), default="micro")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    checkpoint = options.checkpoint or (str(MICRO_CHECKPOINT) if options.geometry == "micro" else None)
    subject = load_subject(checkpoint, options.geometry, torch.device(options.device))
    try:
        report(subject, options.repeats)
    finally:
        subject.engine.close()


def report(subject: Subject, repeats: int) -> None:
    units = units_of(subject, repeats)
    print(f"{subject.name} on {hardware(subject.device)}\n")
    print(f"{'':16}{'ours':>10}{'library':>10}{'ratio':>8}{'floor':>10} ms")
    for unit in units:
        library = "-" if unit.library_ms is None else f"{unit.library_ms:.3f}"
        ratio = "-" if unit.library_ms is None else f"{unit.ms / unit.library_ms:.2f}"
        floor = "-" if unit.floor_ms is None else f"{unit.floor_ms:.3f}"
        print(f"{unit.name:16}{unit.ms:10.3f}{library:>10}{ratio:>8}{floor:>10}")
    figures: dict = {f"{unit.name}_ms": round(unit.ms, 3) for unit in units}
    for unit in units:
        if unit.library_ms is not None:
            figures[f"{unit.name}_over_library"] = round(unit.ms / unit.library_ms, 3)
        if unit.floor_ms is not None:
            figures[f"{unit.name}_floor_share"] = round(unit.floor_ms / unit.ms, 3)
    reply = reply_figures(subject, max(3, repeats // 12))
    print("\n" + "\n".join(f"{key:30} {value}" for key, value in reply.items()))
    figures |= reply | {
        "device": subject.device.type,
        "hardware": hardware(subject.device),
        "checkpoint": subject.name,
        "ode_points": subject.engine.spec.defaults.ode_points,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    print(json.dumps(figures))


# -- single units -----------------------------------------------------------------------------------------------------


def stage_times(subject: Subject, repeats: int, ode_points: int = 10) -> dict[str, float]:
    """Median milliseconds of a Thinker step, a Talker step, a DiT window of 4 blocks and the vocoder's share of it."""
    names = ("thinker_step", "talker_step", "dit_window", "bigvgan_window")
    return {unit.name: unit.ms for unit in units_of(subject, repeats, ode_points, names)}


@torch.inference_mode()
def units_of(
    subject: Subject, repeats: int, ode_points: int | None = None, names: tuple[str, ...] | None = None
) -> list[Unit]:
    """`names`: of those that are wanted, all by default. `ode_points`: the checkpoint's own by default."""
    engine, stages, model = subject.engine, subject.engine.stages, subject.model
    bandwidth, rate = chip(subject.device, model.thinker.dtype)
    state = engine.new_state()
    prompt = render_turn(engine.spec, engine.tokenizer, state, (TextPart("Hello"),), DEFAULT_SYSTEM_PROMPT)
    for segment in prompt.segments:
        list(stages.thinker.prefill(state, segment, list(stages.thinker.encode(segment))))
    end, voice = state.mark(), next(iter(stages.voices.values()))
    few = max(3, repeats // 6)
    greedy = TokenSampler(engine.spec.defaults.thinker.greedy(), 0, subject.device, ())
    ode_points = ode_points or engine.spec.defaults.ode_points
    found = []

    def add(name: str, repeats: int, ours: Callable, library: Callable | None = None, floor_s: float | None = None):
        if names is not None and name not in names:
            return
        times = _medians([ours] if library is None else [ours, library], repeats, subject.device)
        found.append(Unit(name, times[0], times[1] if library else None, floor_s and floor_s * 1e3))

    def floor(module: nn.Module, num_rows: int) -> float:
        sizes = [(weight.numel(), weight.nbytes) for weight in module.parameters()]
        return max(sum(size for _, size in sizes) / bandwidth, 2 * num_rows * sum(count for count, _ in sizes) / rate)

    cache, ids = DynamicCache(config=model.thinker.config.text_config), torch.tensor([[1]], device=subject.device)
    model.thinker(
        input_ids=prompt.segments[-1].token_ids[None].to(subject.device), past_key_values=cache, use_cache=True
    )
    add(
        "thinker_step",
        repeats,
        lambda: run_together([stages.thinker.step(state, 1, greedy)]),
        lambda: model.thinker(input_ids=ids, past_key_values=cache, use_cache=True),
        floor(model.thinker.model.layers, 1) + floor(model.thinker.lm_head, 1),
    )
    row = state.states.since(state.num_tokens - 1)[None].clone()
    utterance = stages.talker.speak(state, voice, TALKER_SAMPLING.greedy(), 0)
    utterance.start(end, row)
    add("talker_step", repeats, lambda: run_together([utterance.step(row)]), None, floor(model.talker.model.layers, 1))

    token2wav = stages.token2wav
    num_blocks = DEFAULT_WINDOWS.look_back + 1 + DEFAULT_WINDOWS.look_ahead
    num_frames = num_blocks * token2wav.dit.block_size
    codes = list(range(num_frames // token2wav.dit.repeats))
    noise = torch.randn(1, num_frames, token2wav.dit.mel_dim)
    codes_in = torch.tensor([codes], device=subject.device)
    _, float_rate = chip(subject.device, torch.float32)
    # Both halves of the guidance, four evaluations a step.
    num_rows = 2 * num_frames * 4 * (ode_points - 1)
    matrices = [
        w for block in token2wav.dit.transformer_blocks for part in (block.attn, block.ff) for w in part.parameters()
    ]

    def solved(number: int) -> None:
        steps = [token2wav.solving(voice, codes, noise, ode_points, 0.5) for _ in range(number)]
        while steps[0].num_left:
            run_together(steps)

    add(
        "dit_window",
        few,
        lambda: solved(1),
        lambda: token2wav.dit.sample(voice.cond, voice.ref_mel, codes_in, num_steps=ode_points),
        2 * num_rows * sum(weight.numel() for weight in matrices) / float_rate,
    )
    if subject.device.type == "cuda":  # elsewhere windows gain nothing from each other and are solved alone
        add("dit_windows_4", few, lambda: solved(4), lambda: [solved(1) for _ in range(4)])
    frames = token2wav.dit.block_size + 2 * DEFAULT_WINDOWS.vocoder_context
    mel = torch.randn(1, frames, token2wav.dit.mel_dim, device=subject.device)
    add(
        "bigvgan_window",
        few,
        lambda: run_together([token2wav.sounding(mel)]),
        lambda: model.token2wav.code2wav_bigvgan_model(mel.transpose(1, 2)),
    )

    width = model.thinker.config.text_config.hidden_size
    long = torch.randn(NUM_PREFILLED, width, device=subject.device).to(model.thinker.dtype)
    places, text = torch.arange(NUM_PREFILLED).expand(3, -1), model.thinker.config.text_config
    add(
        f"prefill_{NUM_PREFILLED}",
        few,
        lambda: stages.thinker.decoder.forward(KVCache(), long, places),
        lambda: model.thinker.model(
            inputs_embeds=long[None], past_key_values=DynamicCache(config=text), use_cache=True
        ),
        floor(model.thinker.model.layers, NUM_PREFILLED),
    )
    rules = engine.spec.mel
    mel_block = torch.randn(rules.num_mel_bins, rules.block_frames, device=subject.device, dtype=model.thinker.dtype)
    lengths = torch.tensor([rules.block_frames], device=subject.device)
    add("audio_block", few, lambda: model.thinker.audio_tower(mel_block, feature_lens=lengths))
    visual, side = model.thinker.visual, SIDE_PATCHES
    patches = torch.randn(side * side, visual.patch_embed.proj.weight[0].numel(), device=subject.device)
    patches, grid = patches.to(model.thinker.dtype), torch.tensor([[1, side, side]], device=subject.device)
    add("image", few, lambda: visual(patches, grid_thw=grid))
    return found


def chip(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Bytes a second that a copy reads and writes, and operations a second of a large matrix product."""
    is_cuda = device.type == "cuda"
    block = torch.empty(1 << (30 if is_cuda else 26), dtype=torch.uint8, device=device)
    other = torch.empty_like(block)
    copy_s = _medians([lambda: other.copy_(block)], 7, device)[0] / 1e3
    side = 8192 if is_cuda else 768
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = Product(right)
    product_s = _medians([lambda: product(left)], 7, device)[0] / 1e3
    return 2 * len(block) / copy_s, 2 * side**3 / product_s


def _medians(works: list[Callable[[], object]], repeats: int, device: torch.device) -> list[float]:
    """Milliseconds of each, run in turn."""
    times: list[list[float]] = [[] for _ in works]
    for index in range(repeats + 3):
        for work, found in zip(works, times):
            wait(device)
            start = time.perf_counter()
            work()
            wait(device)
            if index >= 3:  # the first calls pay for allocation and kernel choice
                found.append((time.perf_counter() - start) * 1e3)
    return [statistics.median(found) for found in times]


# -- a whole reply ----------------------------------------------------------------------------------------------------


def reply_figures(subject: Subject, runs: int) -> dict[str, float]:
    """A typed question and its reply: where weights are random `NUM_REPLY_TOKENS` tokens with `CODES_PER_TOKEN` codes
    each, else the checkpoint's own.

    `first_packet_ms`; `rtf_text` and `rtf_tail`: seconds of computing per second of speech while text is written, and
    behind its end; `generate_ms`: the same reply by the library, whose first sound comes with its last.
    """
    # It imports `stage_times` from here.
    from benchmarks.latency import answer, endless, their_turn

    engine, defaults = subject.engine, subject.engine.spec.defaults
    settings = TurnSettings(
        thinker=defaults.thinker.greedy(),
        talker=defaults.talker.greedy(),
        seed=0,
        ode_points=defaults.ode_points,
        guidance=defaults.guidance,
    )
    theirs = lambda: generated_s(subject, settings)  # noqa: E731
    if engine.spec.is_random:
        endless(subject)
        settings = replace(
            settings,
            thinker=replace(settings.thinker, max_new_tokens=NUM_REPLY_TOKENS),
            talker=replace(settings.talker, max_new_tokens=NUM_REPLY_TOKENS * CODES_PER_TOKEN),
        )
        theirs = lambda: their_turn(subject, settings)[0]  # noqa: E731
    found: dict[str, list[float]] = {}
    for _ in range(runs + 1):
        state = engine.new_state()
        prompt = render_turn(engine.spec, engine.tokenizer, state, (TextPart(MESSAGE),), DEFAULT_SYSTEM_PROMPT)
        events = answer(subject, state, prompt, settings)
        state.close()
        for key, value in (_reply_times(events) | {"generate_ms": 1e3 * theirs()}).items():
            found.setdefault(key, []).append(value)
    figures = {key: statistics.median(values[1:]) for key, values in found.items()}
    figures["first_packet_over_generate"] = figures["first_packet_ms"] / figures["generate_ms"]
    return {key: round(value, 4) for key, value in figures.items()}


def _reply_times(events: list[Event]) -> dict[str, float]:
    chunks = [event for event in events if isinstance(event, AudioChunk)]
    written = [event for event in events if isinstance(event, TextDelta)]
    made_s = sum(len(chunk.samples) / chunk.sample_rate for chunk in chunks)
    times = {stage: 0.0 for stage in ("thinker", "talker", "token2wav")}
    times |= {event.stage: event.duration_s for event in events if isinstance(event, StageTimed)}
    num_tokens = sum(len(event.text_ids) for event in written)
    num_codes = sum(isinstance(event, CodecDelta) for event in events)
    # A code comes with each token while there are any.
    tail = (times["talker"] + times["token2wav"]) / made_s
    while_text = tail + times["thinker"] / num_tokens * num_codes / made_s
    return {
        "first_packet_ms": 1e3 * chunks[0].t_s,
        "rtf_text": while_text,
        "rtf_tail": tail,
        "rtf": events[-1].t_s / made_s,
        "speech_s": made_s,
        "num_words": len("".join(event.text for event in written).split()),
    }


@torch.inference_mode()
def generated_s(subject: Subject, settings: TurnSettings) -> float:
    """Seconds that `generate()` takes for the whole reply, with the checkpoint's own ends."""
    engine, model = subject.engine, subject.model
    prompt = render_turn(engine.spec, engine.tokenizer, engine.new_state(), (TextPart(MESSAGE),), DEFAULT_SYSTEM_PROMPT)
    ids = torch.cat([segment.token_ids for segment in prompt.segments])[None].to(subject.device)
    wait(subject.device)
    start = time.perf_counter()
    model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        speaker=engine.spec.voices[0],
        thinker_do_sample=False,
        thinker_max_new_tokens=settings.thinker.max_new_tokens,
        talker_do_sample=False,
        talker_max_new_tokens=settings.talker.max_new_tokens,
        talker_repetition_penalty=settings.talker.repetition_penalty,
        token2wav_num_steps=settings.ode_points,
        token2wav_guidance_scale=settings.guidance,
    )
    wait(subject.device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
