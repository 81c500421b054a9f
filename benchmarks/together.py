"""Several people who are spoken to at once: their turns stepped together, and beside it one after another.

    python -m benchmarks.together                      the micro checkpoint, one thread of a CPU
    python -m benchmarks.together --geometry 7b        the published 7B shape with random weights, on a GPU

All ask at the same moment. "First packet" is when the last of them hears something; "gaps" are moments at which a
player that began with the first packet, after the wait that it was told, had nothing to play. The last line is JSON.
"""

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import transformers

from app.chatml.render import DEFAULT_SYSTEM_PROMPT, render_turn
from app.config import MICRO_CHECKPOINT
from app.engine import stepping
from app.types.events import TERMINAL, AudioChunk, Event, TurnFinished
from app.types.turn import TextPart, TurnSettings
from benchmarks.latency import endless
from benchmarks.stages import CODES_PER_TOKEN, NUM_REPLY_TOKENS
from benchmarks.subject import Subject, hardware, load_subject

QUESTIONS = ("What can you do?", "Who are you?", "What is twelve plus thirty?", "Count from three to eight.")


@dataclass(frozen=True)
class Crowd:
    """Seconds. `first_packet_s`: of the last to hear something; `rtf`: until all was made, by second of speech of the
    longest; `gaps`: of all players together."""

    first_packet_s: float
    total_s: float
    rtf: float
    gaps: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="folder or hub id; without it, --geometry")
    parser.add_argument("--geometry", choices=("micro", "tiny", "200m", "7b"), default="micro")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    checkpoint = options.checkpoint or (str(MICRO_CHECKPOINT) if options.geometry == "micro" else None)
    subject = load_subject(checkpoint, options.geometry, torch.device(options.device))
    try:
        report(subject, options.runs)
    finally:
        subject.engine.close()


def report(subject: Subject, runs: int) -> None:
    settings = settings_of(subject)
    figures: dict = {}
    print(f"{subject.name} on {hardware(subject.device)}\n")
    print(f"{'sessions':10}{'':12}{'first packet':>14}{'all made':>10}{'rtf':>8}{'gaps':>6}")
    for number in (1, 2, 4):
        for name, crowd in measured(subject, settings, number, runs).items():
            print(
                f"{number:<10}{name:12}{1e3 * crowd.first_packet_s:11.0f} ms{crowd.total_s:8.2f} s{crowd.rtf:8.2f}"
                f"{crowd.gaps:6}"
            )
            key = {1: "one", 2: "two", 4: "four"}[number] + ("_session" if number == 1 else "_sessions")
            key += "" if name == "together" else "_in_turn"
            figures |= {
                f"{key}_first_packet_ms": round(1e3 * crowd.first_packet_s, 1),
                f"{key}_total_s": round(crowd.total_s, 3),
                f"{key}_rtf": round(crowd.rtf, 3),
                f"{key}_gaps": crowd.gaps,
            }
    figures["together_over_in_turn"] = round(
        figures["four_sessions_total_s"] / figures["four_sessions_in_turn_total_s"], 3
    )
    figures |= {
        "device": subject.device.type,
        "hardware": hardware(subject.device),
        "checkpoint": subject.name,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    print(json.dumps(figures))


def settings_of(subject: Subject) -> TurnSettings:
    defaults = subject.engine.spec.defaults
    settings = replace(defaults, thinker=defaults.thinker.greedy(), talker=defaults.talker.greedy())
    if not subject.engine.spec.is_random:
        return settings
    endless(subject)
    return replace(
        settings,
        thinker=replace(settings.thinker, max_new_tokens=NUM_REPLY_TOKENS),
        talker=replace(settings.talker, max_new_tokens=NUM_REPLY_TOKENS * CODES_PER_TOKEN),
    )


def measured(subject: Subject, settings: TurnSettings, number: int, runs: int) -> dict[str, Crowd]:
    """Both ways in turn, so that a drift of the machine falls on both; medians, and all gaps."""
    ways = {"together": stepping.MAX_TOGETHER} | ({"in turn": 1} if number > 1 else {})
    found: dict[str, list[Crowd]] = {name: [] for name in ways}
    together = stepping.MAX_TOGETHER
    try:
        for run in range(runs + 1):
            for name, size in ways.items():
                stepping.MAX_TOGETHER = size
                crowd = ask_all(subject, settings, number)
                if run:  # the first pays for allocation and recording, and finds out how fast this machine is
                    found[name].append(crowd)
                subject.engine.stages.token2wav.paces.settle()
    finally:
        stepping.MAX_TOGETHER = together

    def median(crowds: list[Crowd], of: Callable[[Crowd], float]) -> float:
        return statistics.median(map(of, crowds))

    return {
        name: Crowd(
            median(crowds, lambda one: one.first_packet_s),
            median(crowds, lambda one: one.total_s),
            median(crowds, lambda one: one.rtf),
            sum(one.gaps for one in crowds),
        )
        for name, crowds in found.items()
    }


def ask_all(subject: Subject, settings: TurnSettings, number: int) -> Crowd:
    engine = subject.engine
    voices = engine.spec.voices
    heard: list[list[Event]] = [[] for _ in range(number)]
    over = threading.Semaphore(0)
    states = [engine.new_state() for _ in range(number)]
    prompts = [
        render_turn(engine.spec, engine.tokenizer, state, (TextPart(QUESTIONS[index]),), DEFAULT_SYSTEM_PROMPT)
        for index, state in enumerate(states)
    ]

    def listener(index: int) -> Callable[[Event], None]:
        def listen(event: Event) -> None:
            heard[index].append(event)
            if isinstance(event, TERMINAL):
                over.release()

        return listen

    asked_at = time.monotonic()
    for index, (state, prompt) in enumerate(zip(states, prompts)):
        own = replace(settings, voice=voices[index % len(voices)])
        engine.submit(state, prompt, own, index, listener(index), asked_at)
    for _ in range(number):
        over.acquire()
    for state in states:
        state.close()
    assert all(isinstance(events[-1], TurnFinished) for events in heard), [events[-1] for events in heard]
    chunks = [[event for event in events if isinstance(event, AudioChunk)] for events in heard]
    total_s = max(events[-1].t_s for events in heard)
    longest_s = max(sum(len(chunk.samples) for chunk in one) / one[0].sample_rate for one in chunks)
    return Crowd(max(one[0].t_s for one in chunks), total_s, total_s / longest_s, sum(map(gaps, chunks)))


def gaps(chunks: list[AudioChunk]) -> int:
    """How often a player that plays as told has nothing to play."""
    played_until = chunks[0].t_s + chunks[0].hold_s
    found = 0
    for chunk in chunks:
        if chunk.t_s > played_until:
            found += 1
            played_until = chunk.t_s
        played_until += len(chunk.samples) / chunk.sample_rate
    return found


if __name__ == "__main__":
    main()
