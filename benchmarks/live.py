"""What is left to do after the last word: prefill while the person speaks against the same once they have ended.

    python -m benchmarks.live                        random weights of 200 million parameters, the micro ones, Chromium
    python -m benchmarks.live --checkpoint DIR       one checkpoint; --no-browser leaves Chromium out
    python -m benchmarks.live --geometry 7b          on a GPU

Utterances of 5, 11 and 31 s, with and without a webcam at two pictures a second, come in as fast as they are spoken.
`tail` runs from the decision that the message is over to the first text token; the silence that leads to the decision
is not in it. Off: the same sound and pictures, of which the model hears nothing before that decision. All figures are
medians of --runs; on and off take turns. Of the stages, `finish` makes the prompt of what is left, `wait` is the unit
of work in which the decision found the engine, `feed` what it had not done of the blocks before.
"""

import argparse
import json
import os
import statistics
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import transformers

from app.chatml.cursor import Cursor
from app.chatml.live import LivePrompt
from app.chatml.render import DEFAULT_SYSTEM_PROMPT
from app.config import MICRO_CHECKPOINT
from app.types.events import TERMINAL, Event, StageTimed, TurnFinished
from app.types.turn import TALKER_SAMPLING, THINKER_SAMPLING, TurnSettings
from benchmarks.geometry import num_parameters
from benchmarks.live_browser import NotThere, first_sounds
from benchmarks.subject import Subject, hardware, load_subject

SECONDS = (5.0, 11.0, 31.0)
HEADLINE_S = 11.0
PIECE_S = 0.04
FPS = 2.0
# 9 x 13 tokens: what a webcam's 4:3 picture becomes with at most 128.
FRAME = (252, 364, 3)
RATE = 16_000
# Of the message's end, as the page has it; said beside the figures, not measured.
SILENCE_S = 0.6
# Before the first token, in their order.
STAGES = ("finish", "wait", "feed", "encode", "prefill")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="folder or hub id; without it, random weights of --geometry")
    parser.add_argument("--geometry", choices=("tiny", "200m", "7b"), default="200m")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the first checkpoint; default by device")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-browser", action="store_true", help="leave Chromium out")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if options.device == "cpu":
        torch.set_num_threads(1)
    # First, since it takes a minute and all else a quarter of an hour.
    browser = {"browser_first_sound_s": None} | ({} if options.no_browser else in_browser(options))
    result = measured(options.checkpoint, options, options.dtype and getattr(torch, options.dtype)) | browser
    if options.checkpoint is None and (MICRO_CHECKPOINT / "config.json").is_file():
        result["micro"] = measured(str(MICRO_CHECKPOINT), options, None)
    print(json.dumps(result))


def measured(checkpoint: str | None, options: argparse.Namespace, dtype: torch.dtype | None) -> dict:
    subject = load_subject(checkpoint, options.geometry, torch.device(options.device), dtype)
    try:
        return report(subject, options.runs)
    finally:
        subject.engine.close()


def in_browser(options: argparse.Namespace) -> dict:
    """Of the micro checkpoint, or the one that was asked for: who waits in front of a browser has a small one."""
    checkpoint = options.checkpoint or str(MICRO_CHECKPOINT)
    name = Path(checkpoint).name
    try:
        found = first_sounds(checkpoint, options.device, max(3, options.runs))
    except NotThere as error:
        print(error)
        return {}
    print(f"in Chromium, {name}: " + "  ".join(f"{key} {value:.3f}" for key, value in found.items()))
    return {"browser_first_sound_s": found["first_sound_s"], "browser": {"checkpoint": name} | found}


@dataclass(frozen=True)
class Utterance:
    """What one utterance and its answer took, in seconds from the decision that it was over."""

    first_token_s: float
    first_packet_s: float
    stages: dict[str, float]


def report(subject: Subject, num_runs: int) -> dict:
    rows = []
    speak(subject, 3.0, with_camera=True, is_live=False)
    for with_camera in (False, True):
        for seconds in SECONDS:
            pairs = [
                [speak(subject, seconds, with_camera, is_live) for is_live in (True, False)] for _ in range(num_runs)
            ]
            on, off = zip(*pairs)
            rows.append({"seconds": seconds, "webcam": with_camera} | _row("on", on) | _row("off", off))
    parameters = num_parameters(subject.model) / 1e6
    print(f"{subject.name}, {parameters:.0f} million parameters, {hardware(subject.device)}")
    print("utterance  webcam  tail on  tail off  on/off  packet on  packet off  on: " + "  ".join(STAGES))
    for row in rows:
        stages = (f"{row['stages_on_s'].get(one, 0):.3f}" for one in STAGES)
        print(
            f"{row['seconds']:8.0f}s  {'yes' if row['webcam'] else 'no ':6s}  {row['tail_on_s']:7.3f}"
            f"  {row['tail_off_s']:8.3f}  {row['tail_on_s'] / row['tail_off_s']:6.2f}  {row['packet_on_s']:9.3f}"
            f"  {row['packet_off_s']:10.3f}      " + "  ".join(stages)
        )
    tails = {(row["seconds"], row["webcam"]): row["tail_on_s"] for row in rows}
    headline = next(row for row in rows if row["webcam"] and row["seconds"] == HEADLINE_S)
    return {
        "tail_on_s": headline["tail_on_s"],
        "tail_off_s": headline["tail_off_s"],
        "on_over_off": headline["tail_on_s"] / headline["tail_off_s"],
        "tail_31s_over_5s": tails[31.0, False] / tails[5.0, False],
        "tail_31s_over_5s_webcam": tails[31.0, True] / tails[5.0, True],
        "first_packet_on_s": headline["packet_on_s"],
        "first_packet_off_s": headline["packet_off_s"],
        "silence_before_s": SILENCE_S,
        "stages_on_s": headline["stages_on_s"],
        "rows": rows,
        "checkpoint": subject.name,
        "million_parameters": round(parameters, 1),
        "dtype": str(subject.model.thinker.dtype).removeprefix("torch."),
        "device": subject.device.type,
        "hardware": hardware(subject.device),
        "load": round(os.getloadavg()[2], 1),
        "runs": num_runs,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _row(name: str, runs: tuple[Utterance, ...]) -> dict:
    stages = runs[0].stages
    return {
        f"tail_{name}_s": statistics.median(run.first_token_s for run in runs),
        f"packet_{name}_s": statistics.median(run.first_packet_s for run in runs),
        f"stages_{name}_s": {one: round(statistics.median(run.stages[one] for run in runs), 4) for one in stages},
    }


def speak(subject: Subject, seconds: float, with_camera: bool, is_live: bool) -> Utterance:
    """One utterance and its answer."""
    engine = subject.engine
    state = engine.new_state()
    live = LivePrompt(engine.spec, engine.tokenizer, Cursor(), FPS if with_camera else None)
    live.begin(DEFAULT_SYSTEM_PROMPT)
    feed = engine.listen(state, lambda num_tokens: None)
    rng = np.random.default_rng(0)
    samples = (rng.standard_normal(int(seconds * RATE)) * 0.1).astype(np.float32)
    samples[:1600] *= 5
    frame = rng.integers(0, 256, FRAME, dtype=np.uint8)
    pace, started = threading.Event(), time.monotonic()
    for start in range(0, len(samples), int(PIECE_S * RATE)):
        at_s = start / RATE
        if is_live:
            pace.wait(max(0.0, started + at_s + PIECE_S - time.monotonic()))
        if with_camera and start % int(RATE / FPS) == 0:
            live.see(frame, at_s)
        append = live.hear(samples[start : start + int(PIECE_S * RATE)])
        if append.segments:
            feed.put(append)
    decided_at = time.monotonic() if is_live else started
    append, prompt = live.finish()
    if append.segments:
        feed.put(append)
    finish_s = time.monotonic() - decided_at
    events, over = [], threading.Event()

    def on_event(event: Event) -> None:
        events.append(event)
        if isinstance(event, TERMINAL):
            over.set()

    settings = TurnSettings(
        thinker=replace(THINKER_SAMPLING, max_new_tokens=12),
        talker=replace(TALKER_SAMPLING.greedy(), max_new_tokens=40),
        seed=0,
    )
    engine.submit(state, prompt, settings, 1, on_event, decided_at, feed)
    over.wait()
    state.close()
    assert isinstance(events[-1], TurnFinished), events[-1]
    metrics = events[-1].metrics
    times = {event.stage: (event.start_s, event.duration_s) for event in events if isinstance(event, StageTimed)}
    waited = {"finish": finish_s, "wait": times["feed"][0] - finish_s}
    return Utterance(metrics.ttft_s, metrics.first_packet_s, waited | {one: busy for one, (_, busy) in times.items()})


if __name__ == "__main__":
    main()
