"""Our engine against the library's `generate()`: same weights, same prompt, same process; a table and one JSON line.

    python -m benchmarks.latency                     tiny random checkpoint, on what this machine has
    python -m benchmarks.latency --geometry 7b       the published 7B shape with random weights, on a GPU
    python -m benchmarks.latency --checkpoint DIR    a real one

Both sides make exactly --text-tokens text tokens and --codes codes: greedy, with the end tokens not counting as ends.
The medians are over --runs, after a warm-up of each side. `generate()` gives nothing before its end, so its total is
its first packet.
"""

import argparse
import json
import statistics
import threading
import time
from dataclasses import replace

import torch
import transformers

from app.chatml.builder import PromptBuilder
from app.chatml.cursor import Cursor
from app.chatml.render import DEFAULT_SYSTEM_PROMPT, render_turn
from app.engine.state import EngineState
from app.types.events import TERMINAL, CodecDelta, Event, TurnFinished
from app.types.media import Image
from app.types.prompt import Prompt
from app.types.turn import TALKER_SAMPLING, THINKER_SAMPLING, ImagePart, Part, TextPart, TurnSettings
from benchmarks.stages import FLOORS_7B_MS, stage_times
from benchmarks.subject import Subject, hardware, load_subject, wait

MESSAGE = "Tell me what the weather was like on the day that you remember best."
QUESTION = "What is this?"
NUM_TURNS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="folder or hub id; without it, random weights of --geometry")
    parser.add_argument("--geometry", choices=("tiny", "7b"), default="tiny")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--text-tokens", type=int, default=100)
    parser.add_argument("--codes", type=int, default=1500)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-generate", action="store_true", help="measure our side only")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if options.device == "cpu" and options.geometry == "tiny" and options.checkpoint is None:
        torch.set_num_threads(1)
    subject = load_subject(options.checkpoint, options.geometry, torch.device(options.device))
    try:
        report(subject, options)
    finally:
        subject.engine.close()


def report(subject: Subject, options: argparse.Namespace) -> None:
    endless(subject)
    settings = TurnSettings(
        thinker=replace(THINKER_SAMPLING, max_new_tokens=options.text_tokens),
        talker=replace(TALKER_SAMPLING.greedy(), max_new_tokens=options.codes),
        seed=0,
    )
    ours = [our_turn(subject, settings) for _ in range(options.runs + 1)][1:]
    theirs = [] if options.no_generate else [their_turn(subject, settings) for _ in range(options.runs + 1)][1:]
    shown = (a_picture(subject), TextPart(QUESTION))
    turn1, turn20, ratio = turn_prefills(subject, settings, shown, options.runs)
    text1, text20, text_ratio = turn_prefills(subject, settings, shown[1:], options.runs)

    def median(key: str) -> float:
        return statistics.median(getattr(metrics, key) for metrics, _ in ours)

    figures = {key: median(key) for key in ("ttft_s", "first_packet_s", "total_s", "rtf")}
    generate_s = statistics.median(total for total, _ in theirs) if theirs else None
    figures |= {
        "generate_total_s": generate_s,
        "first_packet_over_generate": figures["first_packet_s"] / generate_s if theirs else None,
        "total_over_generate": figures["total_s"] / generate_s if theirs else None,
        "codes_equal_generate": ours[0][1] == theirs[0][1] if theirs else None,
        "prefill_turn1_s": turn1,
        "prefill_turn20_s": turn20,
        "prefill_turn20_over_turn1": ratio,
        "prefill_text_turn1_s": text1,
        "prefill_text_turn20_s": text20,
        "prefill_text_turn20_over_turn1": text_ratio,
        "stage_ms": stage_times(subject, repeats=50),
        "floor_ms": FLOORS_7B_MS if options.geometry == "7b" and options.checkpoint is None else None,
        "device": subject.device.type,
        "hardware": hardware(subject.device),
        "checkpoint": subject.name,
        "text_tokens": options.text_tokens,
        "codes": options.codes,
        "runs": options.runs,
        "ode_points": settings.ode_points,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if subject.device.type == "cuda":
        figures["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    print_table(figures)
    print(json.dumps(figures))


def endless(subject: Subject) -> None:
    """Our side: no id ends a reply. The library's side gets the same through its arguments."""
    engine = subject.engine
    engine.stages = replace(engine.stages, ends_of_text=frozenset())
    engine.stages.talker.end_ids = frozenset()


def answer(subject: Subject, state: EngineState, prompt: Prompt, settings: TurnSettings) -> list[Event]:
    """One turn through the engine's own worker."""
    events, over = [], threading.Event()

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, TERMINAL):
            over.set()

    subject.engine.submit(state, prompt, settings, 1, listen)
    over.wait()
    assert isinstance(events[-1], TurnFinished), events[-1]
    return events


def our_turn(subject: Subject, settings: TurnSettings):
    """A whole first turn, system prompt and all: its metrics and its codes."""
    engine = subject.engine
    state = engine.new_state()
    prompt = render_turn(engine.spec, engine.tokenizer, state, (TextPart(MESSAGE),), DEFAULT_SYSTEM_PROMPT)
    events = answer(subject, state, prompt, settings)
    return events[-1].metrics, [event.codec_ids[0] for event in events if isinstance(event, CodecDelta)]


@torch.inference_mode()
def their_turn(subject: Subject, settings: TurnSettings) -> tuple[float, list[int]]:
    """The same turn by `generate()`: seconds to its wave, and its codes."""
    engine, model = subject.engine, subject.model
    prompt = render_turn(engine.spec, engine.tokenizer, engine.new_state(), (TextPart(MESSAGE),), DEFAULT_SYSTEM_PROMPT)
    ids = torch.cat([segment.token_ids for segment in prompt.segments])[None].to(subject.device)
    codes, talker_generate = [], model.talker.generate

    def recording(*args, **kwargs):
        result = talker_generate(*args, **kwargs)
        codes.extend(result[0, kwargs["input_ids"].shape[1] :].tolist())
        return result

    model.talker.generate = recording
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
            talker_max_new_tokens=settings.talker.max_new_tokens,
            talker_eos_token_id=[model.talker.config.vocab_size],
            token2wav_num_steps=settings.ode_points,
            token2wav_guidance_scale=settings.guidance,
        )
    finally:
        del model.talker.generate
    wait(subject.device)
    return time.perf_counter() - start, codes


def turn_prefills(
    subject: Subject, settings: TurnSettings, parts: tuple[Part, ...], runs: int
) -> tuple[float, float, float]:
    """Seconds to read one message as turn 1 (behind the system prompt) and as turn 20, and the ratio of the two.

    From the decoded message to the full cache: rendering, towers, Thinker. The turns between carry the same message
    and are answered with a short reply. Both are run in turn, many times, by trimming back; the ratio is the median of
    the pairs', so that a drift of the machine falls on both.
    """
    engine = subject.engine
    short = replace(settings, thinker=replace(settings.thinker, max_new_tokens=16), speak=False)
    first, last = engine.new_state(), engine.new_state()
    builder = PromptBuilder(engine.spec, engine.tokenizer, Cursor())
    builder.system(DEFAULT_SYSTEM_PROMPT)
    _prefill(subject, first, builder.build())
    for _ in range(NUM_TURNS - 1):
        prompt = render_turn(engine.spec, engine.tokenizer, last, parts, DEFAULT_SYSTEM_PROMPT)
        answer(subject, last, prompt, short)
    pairs = [(_prefill_time(subject, first, parts), _prefill_time(subject, last, parts)) for _ in range(8 * runs)][2:]
    of_first, of_last = zip(*pairs)
    ratio = statistics.median(later / earlier for earlier, later in pairs)
    return statistics.median(of_first), statistics.median(of_last), ratio


def _prefill_time(subject: Subject, state: EngineState, parts: tuple[Part, ...]) -> float:
    engine, mark = subject.engine, state.mark()
    start = time.perf_counter()
    builder = PromptBuilder(engine.spec, engine.tokenizer, Cursor(state.next_position, state.top_position))
    if state.pending_ids:
        builder.close_reply(state.pending_ids)
    builder.user(parts)
    builder.assistant()
    _prefill(subject, state, builder.build())
    elapsed = time.perf_counter() - start
    state.trim(mark)
    return elapsed


def a_picture(subject: Subject) -> ImagePart:
    """Noise of the largest square that the checkpoint looks at, up to 448 pixels."""
    vision = subject.engine.spec.media.vision
    side = min(448, int(vision.image_max_pixels**0.5)) // vision.factor * vision.factor
    pixels = torch.randint(0, 256, (side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImagePart(Image(pixels.numpy()))


@torch.inference_mode()
def _prefill(subject: Subject, state: EngineState, prompt: Prompt) -> None:
    thinker = subject.engine.stages.thinker
    for segment in prompt.segments:
        list(thinker.prefill(state, segment, list(thinker.encode(segment))))
    wait(subject.device)


def print_table(figures: dict) -> None:
    print(
        f"{figures['checkpoint']} on {figures['hardware']}, {figures['text_tokens']} text tokens and "
        f"{figures['codes']} codes, median of {figures['runs']}\n"
    )
    rows = [
        ("time to first token", figures["ttft_s"], "s"),
        ("first packet", figures["first_packet_s"], "s"),
        ("total", figures["total_s"], "s"),
        ("real-time factor", figures["rtf"], ""),
        ("generate(): total", figures["generate_total_s"], "s"),
        ("first packet / generate()", figures["first_packet_over_generate"], ""),
        ("total / generate()", figures["total_over_generate"], ""),
        ("picture and text, turn 1", figures["prefill_turn1_s"], "s"),
        ("picture and text, turn 20", figures["prefill_turn20_s"], "s"),
        ("turn 20 / turn 1", figures["prefill_turn20_over_turn1"], ""),
        ("text alone, turn 1", figures["prefill_text_turn1_s"], "s"),
        ("text alone, turn 20", figures["prefill_text_turn20_s"], "s"),
        ("turn 20 / turn 1", figures["prefill_text_turn20_over_turn1"], ""),
    ]
    for name, value, unit in rows:
        print(f"{name:28} {'-' if value is None else f'{value:.3f}'} {unit}")
    print(f"\n{'stage':28} {'ms':>9} {'floor':>9}")
    for stage, milliseconds in figures["stage_ms"].items():
        floor = (figures["floor_ms"] or {}).get(stage)
        print(f"{stage:28} {milliseconds:9.2f} {'-' if floor is None else f'{floor:9.2f}'}")
    print()


if __name__ == "__main__":
    main()
