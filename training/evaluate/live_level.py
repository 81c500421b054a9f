"""`python -m training.evaluate.live_level`: what hearing a question live costs when it gets louder in its middle.

Held-out spoken questions are asked as whole clips and as the live page hears them, in blocks of 2 s, each cut at the
range of what was loudest by then; with the policy of `app.chatml.live`, and without any.
"""

import argparse
import json
import math
import queue
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers.utils import logging as transformers_logging

from app.chatml.cursor import Cursor
from app.chatml.live import RISE_DECADES, LivePrompt
from app.chatml.render import DEFAULT_SYSTEM_PROMPT, render_turn
from app.engine.engine import Engine
from app.engine.loader import EngineOptions, load_engine
from app.types.events import TERMINAL, Event, TextDelta, TurnFinished
from app.types.media import Audio
from app.types.prompt import Prompt, Segment
from app.types.turn import AudioPart
from training.domain.typed import spoken_reply
from training.evaluate import sets

RISES_DB = (0.0, 6.0, 9.0, 12.0, 20.0)
SAMPLE_RATE = sets.SAMPLE_RATE
PIECE = SAMPLE_RATE // 25
# The first block of 2 s is out, the half window behind it included; before that the policy has nothing to do.
FIRST_BLOCK_S = 2.05
# So much is spoken behind the rise.
LEAST_REST_S = 0.5


@dataclass(frozen=True)
class Heard:
    """One question in one way: the answer, and how many of its blocks were given out again."""

    answer: str
    num_again: int = 0


def louder(samples: np.ndarray, rise_db: float) -> np.ndarray:
    """The question with the first part, a block at the least, so much fainter; in the 16 bits of the live socket."""
    middle = max(len(samples) // 2, int(FIRST_BLOCK_S * SAMPLE_RATE))
    sound = samples.copy()
    sound[:middle] *= 10 ** (-rise_db / 20)
    return (np.round(sound.clip(-1, 1) * 32767) / 32768).astype(np.float32)


def live_prompt(engine: Engine, samples: np.ndarray, rise_decades: float) -> tuple[Prompt, int]:
    """What the caches hold in the end of a question that came in pieces, and the blocks that were given out again."""
    live = LivePrompt(engine.spec, engine.tokenizer, Cursor(), rise_decades=rise_decades)
    live.begin(DEFAULT_SYSTEM_PROMPT)
    given: list[Segment] = []
    num_again = 0
    appends = [live.hear(samples[start : start + PIECE]) for start in range(0, len(samples), PIECE)]
    last, rest = live.finish()
    for append in (*appends, last):
        num_again += append.num_taken_back
        del given[len(given) - append.num_taken_back :]
        given += append.segments
    return Prompt((*given, *rest.segments)), num_again


def whole_prompt(engine: Engine, samples: np.ndarray) -> Prompt:
    part = AudioPart(Audio(samples, SAMPLE_RATE))
    return render_turn(engine.spec, engine.tokenizer, engine.new_state(), (part,), DEFAULT_SYSTEM_PROMPT)


def features(prompt: Prompt) -> torch.Tensor:
    return torch.cat([feature.mel for segment in prompt.segments for feature in segment.features], 1)


def answer(engine: Engine, prompt: Prompt) -> str:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    defaults = engine.spec.defaults
    settings = replace(defaults, thinker=defaults.thinker.greedy(), speak=False, seed=0)
    state, text = engine.new_state(), ""
    engine.submit(state, prompt, settings, 1, events.put)
    while not isinstance(event := events.get(), TERMINAL):
        text += event.text if isinstance(event, TextDelta) else ""
    assert isinstance(event, TurnFinished), event
    state.close()
    return text


def ask(engine: Engine, samples: np.ndarray) -> tuple[Heard, Heard, Heard]:
    """The whole clip, live with the policy, live without."""
    whole = whole_prompt(engine, samples)
    clip = Heard(answer(engine, whole))
    ways = []
    for rise_decades in (RISE_DECADES, math.inf):
        prompt, num_again = live_prompt(engine, samples, rise_decades)
        is_same = torch.equal(features(prompt), features(whole))
        ways.append(Heard(clip.answer if is_same else answer(engine, prompt), num_again))
    return clip, *ways


def long_questions(number: int) -> list[sets.Case]:
    cases: list[sets.Case] = []
    num_drawn = 4 * number
    while len(cases) < number:
        cases = [case for case in sets.draw("spoken", num_drawn) if _is_long(case)]
        num_drawn *= 2
    return cases[:number]


def _is_long(case: sets.Case) -> bool:
    return len(_samples(case)) >= (FIRST_BLOCK_S + LEAST_REST_S) * SAMPLE_RATE


def _samples(case: sets.Case) -> np.ndarray:
    return case.asks[0].parts[0].audio.samples


def measure(engine: Engine, cases: Sequence[sets.Case]) -> Iterator[dict]:
    for rise_db in RISES_DB:
        rows = [ask(engine, louder(_samples(case), rise_db)) for case in tqdm(cases, desc=f"{rise_db:g} dB")]
        wanted = [spoken_reply(case.reply) for case in cases]

        def share(holds: Sequence[bool]) -> float:
            return round(sum(holds) / len(holds), 3)

        row = {"rise_db": rise_db, "given_again": share([row[1].num_again > 0 for row in rows])}
        for place, name in enumerate(("whole", "live", "no_policy")):
            answers = [spoken_reply(row[place].answer) for row in rows]
            row[f"{name}_right"] = share([one == right for one, right in zip(answers, wanted)])
            row[f"{name}_same"] = share([one == spoken_reply(row[0].answer) for one, row in zip(answers, rows)])
        yield row


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate.live_level", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("assets/micro"))
    parser.add_argument("--limit", type=int, default=200, help="questions")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    engine = load_engine(EngineOptions(str(args.checkpoint), "cpu", "float32"), lambda stage, share: None)
    try:
        rows = list(measure(engine, long_questions(args.limit)))
    finally:
        engine.close()
    columns = ("given_again", "whole_right", "live_right", "no_policy_right", "live_same", "no_policy_same")
    print("rise   " + "  ".join(columns))
    for row in rows:
        figures = (f"{row[name]:{len(name)}.3f}" for name in columns)
        print(f"{row['rise_db']:2.0f} dB  " + "  ".join(figures))
    print(json.dumps({"checkpoint": str(args.checkpoint), "questions": args.limit, "rows": rows}))


if __name__ == "__main__":
    main()
