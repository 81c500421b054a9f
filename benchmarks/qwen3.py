"""Qwen3-Omni through our engine against the library's `generate()`: same weights and prompt; a table and one JSON line.

    python -m benchmarks.qwen3                       tiny random checkpoint, on what this machine has
    python -m benchmarks.qwen3 --checkpoint DIR      a real one
    python -m benchmarks.qwen3 --vocoder             only the vocoder, of the published shape with random weights

Both sides make exactly --text-tokens text tokens and --frames codec frames: greedy, with the end tokens not counting as
ends. The medians are over --runs, after a warm-up of each side. `generate()` gives nothing before its end, so its total
is its first packet. The vocoder's windows stand beside the library's with the context that those need in order to join,
10 frames before and one behind.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from transformers import AutoTokenizer, Qwen3OmniMoeForConditionalGeneration
from transformers.models.qwen3_omni_moe.configuration_qwen3_omni_moe import Qwen3OmniMoeCode2WavConfig
from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import Qwen3OmniMoeCode2Wav

from app.chatml.render import DEFAULT_SYSTEM_PROMPT, render_turn
from app.engine.code2wav import Code2Wav, Waving
from app.engine.describe import read_spec
from app.engine.loader import build_engine
from app.engine.spec import TOKEN2WAV_SAMPLE_RATE
from app.engine.stepping import alone
from app.engine.tiny_qwen3 import write_tiny_qwen3_checkpoint
from app.types.events import CodecDelta
from app.types.turn import TextPart, TurnSettings
from benchmarks.latency import MESSAGE, answer, endless
from benchmarks.subject import Subject, hardware, wait


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="folder or hub id; without it, a tiny one of random weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--text-tokens", type=int, default=100)
    parser.add_argument("--frames", type=int, default=375, help="of 80 ms")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--vocoder", action="store_true", help="only the vocoder, of the published shape")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    device = torch.device(options.device)
    if options.vocoder:
        report_vocoder(device, options.runs)
        return
    if device.type == "cpu" and options.checkpoint is None:
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if options.checkpoint is None:
            write_tiny_qwen3_checkpoint(Path(folder) / "tiny-qwen3")
        subject = load(options.checkpoint or str(Path(folder) / "tiny-qwen3"), device)
    try:
        report(subject, options)
    finally:
        subject.engine.close()


def load(checkpoint: str, device: torch.device) -> Subject:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = Qwen3OmniMoeForConditionalGeneration.from_pretrained(
        checkpoint, dtype=dtype, device_map={"": device}, use_safetensors=True
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    spec = read_spec(checkpoint, model, tokenizer, "sdpa")
    engine = build_engine(model, tokenizer, spec, max_turns=1, records=device.type == "cuda")
    return Subject(spec.name, engine, model, tokenizer, device)


def report(subject: Subject, options: argparse.Namespace) -> None:
    defaults = subject.engine.spec.defaults
    settings = TurnSettings(
        thinker=replace(defaults.thinker.greedy(), max_new_tokens=options.text_tokens),
        talker=replace(defaults.talker.greedy(), max_new_tokens=options.frames),
    )
    endless(subject)
    ours = [our_turn(subject, settings) for _ in range(options.runs + 1)][1:]
    subject.engine.settle_pace()
    theirs = [their_turn(subject, settings) for _ in range(options.runs + 1)][1:]

    def median(key: str) -> float:
        return statistics.median(getattr(metrics, key) for metrics, _ in ours)

    generate_s = statistics.median(total for total, _ in theirs)
    figures = {key: median(key) for key in ("ttft_s", "first_packet_s", "total_s", "rtf")} | {
        "generate_total_s": generate_s,
        "first_packet_over_generate": median("first_packet_s") / generate_s,
        "total_over_generate": median("total_s") / generate_s,
        "codes_equal_generate": ours[0][1] == theirs[0][1],
        "checkpoint": subject.name,
        "hardware": hardware(subject.device),
        "text_tokens": options.text_tokens,
        "frames": options.frames,
        "runs": options.runs,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    print(f"{subject.name} on {figures['hardware']}, {options.text_tokens} text tokens and {options.frames} frames\n")
    for key in list(figures)[:8]:
        value = figures[key]
        print(f"{key:28} {value if isinstance(value, bool) else f'{value:.4f}'}")
    print(f"\n{json.dumps(figures)}")


def our_turn(subject: Subject, settings: TurnSettings):
    """A whole first turn, system prompt and all: its metrics and its frames."""
    engine = subject.engine
    state = engine.new_state()
    prompt = render_turn(engine.spec, engine.tokenizer, state, (TextPart(MESSAGE),), DEFAULT_SYSTEM_PROMPT)
    events = answer(subject, state, prompt, settings)
    return events[-1].metrics, [list(event.codec_ids) for event in events if isinstance(event, CodecDelta)]


@torch.inference_mode()
def their_turn(subject: Subject, settings: TurnSettings) -> tuple[float, list[list[int]]]:
    """The same turn by `generate()`: seconds to its wave, and its frames."""
    engine, model = subject.engine, subject.model
    prompt = render_turn(engine.spec, engine.tokenizer, engine.new_state(), (TextPart(MESSAGE),), DEFAULT_SYSTEM_PROMPT)
    ids = torch.cat([segment.token_ids for segment in prompt.segments])[None].to(subject.device)
    frames, decode = [], model.code2wav.chunked_decode

    def recording(codes, **kwargs):
        frames.extend(codes[0].T.tolist())
        return decode(codes, **kwargs)

    model.code2wav.chunked_decode = recording
    wait(subject.device)
    start = time.perf_counter()
    try:
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            speaker=engine.spec.voices[0],
            thinker_do_sample=False,
            thinker_max_new_tokens=settings.thinker.max_new_tokens,
            # An id beyond the vocabulary: compared, never met.
            thinker_eos_token_id=model.thinker.config.text_config.vocab_size,
            talker_do_sample=False,
            # The last frame that it may make is never completed.
            talker_max_new_tokens=settings.talker.max_new_tokens + 1,
            talker_eos_token_id=[model.talker.config.text_config.vocab_size],
        )
    finally:
        del model.code2wav.chunked_decode
    wait(subject.device)
    return time.perf_counter() - start, frames


# What `Qwen3OmniMoeCode2Wav` needs around a window so that it joins its neighbours.
CONTEXT, LOOK_AHEAD = 10, 1
WINDOWS = (1, 2, 3, 5, 8, 12)


@torch.inference_mode()
def report_vocoder(device: torch.device, runs: int) -> None:
    if device.type == "cpu":
        torch.set_num_threads(1)
    with torch.device(device):
        torch.manual_seed(0)
        model = Qwen3OmniMoeCode2Wav(Qwen3OmniMoeCode2WavConfig()).eval()
    ours, config = Code2Wav(model, records=device.type == "cuda"), model.config
    frame_s = ours.samples_per_frame / TOKEN2WAV_SAMPLE_RATE
    codes = torch.randint(0, config.codebook_size, (1, CONTEXT + max(WINDOWS) + LOOK_AHEAD, config.num_quantizers))
    frames = codes[0].tolist()
    past = run_alone(ours.waving(frames[:CONTEXT], None)).past
    rows = []
    for number in WINDOWS:
        window, around = frames[CONTEXT : CONTEXT + number], codes[:, : CONTEXT + number + LOOK_AHEAD].mT.to(device)
        took = {"ours": [], "library": []}
        for _ in range(runs + 1):
            took["ours"].append(seconds(device, lambda: run_alone(ours.waving(window, past))))  # noqa: B023
            took["library"].append(seconds(device, lambda: model(around)))  # noqa: B023
        ours_s, library_s = (statistics.median(times[1:]) for times in took.values())
        rows.append({"frames": number, "ours_s": ours_s, "library_s": library_s, "ratio": ours_s / library_s})
        rows[-1]["rtf"] = ours_s / (number * frame_s)
        print("  ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()))
    print(f"\n{json.dumps({'windows': rows, 'hardware': hardware(device), 'runs': runs, 'torch': torch.__version__})}")


def run_alone(step: Waving) -> Waving:
    list(alone(step.done()))
    return step


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
