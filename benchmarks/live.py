"""What is left to do after the last word: prefill while the person speaks against the same once they have ended.

    python -m benchmarks.live                        a random checkpoint of 200 million parameters
    python -m benchmarks.live --checkpoint assets/micro
    python -m benchmarks.live --geometry 7b          on a GPU

Utterances of 5, 11 and 31 s, with and without a webcam at two pictures a second, come in as fast as they are spoken.
`tail` runs from the decision that the message is over to the first text token; the silence that leads to the decision
is not in it. Off: the same sound and pictures, of which the model hears nothing before that decision.
"""

import argparse
import json
import statistics
import threading
import time
from dataclasses import replace

import numpy as np
import torch
import transformers

from app.chatml.cursor import Cursor
from app.chatml.live import LivePrompt
from app.chatml.render import DEFAULT_SYSTEM_PROMPT
from app.types.events import TERMINAL, Event, TurnFinished
from app.types.turn import TALKER_SAMPLING, THINKER_SAMPLING, TurnSettings
from benchmarks.subject import Subject, hardware, load_subject, wait

SECONDS = (5.0, 11.0, 31.0)
HEADLINE_S = 11.0
PIECE_S = 0.04
FPS = 2.0
# 9 x 13 tokens: what a webcam's 4:3 picture becomes with at most 128.
FRAME = (252, 364, 3)
RATE = 16_000
# Of Silero's detector and the message's end; said beside the figures, not measured.
SILENCE_S = 0.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="folder or hub id; without it, random weights of --geometry")
    parser.add_argument("--geometry", choices=("tiny", "200m", "7b"), default="200m")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if options.device == "cpu":
        torch.set_num_threads(1)
    subject = load_subject(options.checkpoint, options.geometry, torch.device(options.device))
    try:
        report(subject, options.runs)
    finally:
        subject.engine.close()


def report(subject: Subject, num_runs: int) -> None:
    rows = []
    speak(subject, 3.0, with_camera=True, is_live=False)
    for with_camera in (False, True):
        for seconds in SECONDS:
            on = [speak(subject, seconds, with_camera, is_live=True) for _ in range(num_runs)]
            off = [speak(subject, seconds, with_camera, is_live=False) for _ in range(num_runs)]
            rows.append({"seconds": seconds, "webcam": with_camera} | _row("on", on) | _row("off", off))
    print("utterance  webcam  tail on   tail off  on/off  first packet on   off   (s)")
    for row in rows:
        tails, packets = (row["tail_on_s"], row["tail_off_s"]), (row["packet_on_s"], row["packet_off_s"])
        print(
            f"{row['seconds']:8.0f}s  {'yes' if row['webcam'] else 'no ':6s}  {tails[0]:7.3f}  {tails[1]:9.3f}"
            f"  {tails[0] / tails[1]:6.2f}  {packets[0]:14.3f}  {packets[1]:7.3f}"
        )
    with_camera = {row["seconds"]: row for row in rows if row["webcam"]}
    headline = with_camera[HEADLINE_S]
    print(
        json.dumps(
            {
                "tail_on_s": headline["tail_on_s"],
                "tail_off_s": headline["tail_off_s"],
                "on_over_off": headline["tail_on_s"] / headline["tail_off_s"],
                "tail_31s_over_5s": with_camera[31.0]["tail_on_s"] / with_camera[5.0]["tail_on_s"],
                "first_packet_on_s": headline["packet_on_s"],
                "first_packet_off_s": headline["packet_off_s"],
                "silence_before_s": SILENCE_S,
                "rows": rows,
                "stages_on_s": headline["stages_on_s"],
                "checkpoint": subject.name,
                "device": subject.device.type,
                "hardware": hardware(subject.device),
                "runs": num_runs,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            }
        )
    )


def _row(name: str, events: list[list[Event]]) -> dict:
    metrics = [run[-1].metrics for run in events]
    stages: dict[str, float] = {}
    for event in events[-1]:
        if hasattr(event, "stage"):
            stages[event.stage] = round(event.duration_s, 4)
    return {
        f"tail_{name}_s": statistics.median(one.ttft_s for one in metrics),
        f"packet_{name}_s": statistics.median(one.first_packet_s for one in metrics),
        f"stages_{name}_s": stages,
    }


def speak(subject: Subject, seconds: float, with_camera: bool, is_live: bool) -> list[Event]:
    """One utterance and its answer's events, timed from the decision that it is over."""
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
    if not is_live:
        wait(subject.device)
        started = time.monotonic()
    for start in range(0, len(samples), int(PIECE_S * RATE)):
        at_s = start / RATE
        if is_live:
            pace.wait(max(0.0, started + at_s + PIECE_S - time.monotonic()))
        if with_camera and start % int(RATE / FPS) == 0:
            live.see(frame, at_s)
        append = live.hear(samples[start : start + int(PIECE_S * RATE)])
        if append.segments:
            feed.put(append)
    submitted_at = time.monotonic() if is_live else started
    append, prompt = live.finish()
    if append.segments:
        feed.put(append)
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
    engine.submit(state, prompt, settings, 1, on_event, submitted_at, feed)
    over.wait()
    assert isinstance(events[-1], TurnFinished), events[-1]
    return events


if __name__ == "__main__":
    main()
