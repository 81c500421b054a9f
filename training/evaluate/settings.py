"""`python -m training.evaluate.settings`: what a few settings of a turn give and cost, so that the stored ones are
chosen by measurement: solver points, guidance, greedy or drawn codes."""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from app.types.turn import TurnSettings
from training.evaluate import speech, talk
from training.evaluate.recognizer import Recognizer, words_of
from training.evaluate.subject import Subject
from training.workspace import DEFAULT_FOLDER

VOCODER = ((2, 0.0), (4, 0.0), (10, 0.0), (2, 0.5), (3, 0.5), (4, 0.5), (3, 1.0))
# Temperature, top k, top p, repetition penalty; the first as `generate()` has it.
DRAWN = ((0.9, 40, 0.8, 1.05), (0.9, 40, 0.8, 1.0), (0.6, 40, 0.8, 1.0))


@dataclass(frozen=True)
class Trial:
    name: str
    settings: TurnSettings


def trials(plain: TurnSettings) -> list[Trial]:
    greedy = replace(plain, talker=replace(plain.talker.greedy(), repetition_penalty=1.0))
    found = [
        Trial(f"points {points} guidance {guidance}", replace(greedy, ode_points=points, guidance=guidance))
        for points, guidance in VOCODER
    ]
    penalised = replace(greedy.talker, repetition_penalty=1.05)
    found.append(Trial("stored, greedy, penalty 1.05", replace(greedy, talker=penalised)))
    for temperature, top_k, top_p, penalty in DRAWN:
        drawn = replace(
            plain.talker,
            do_sample=True,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=penalty,
        )
        name = f"stored, drawn {temperature} {top_k} {top_p}, penalty {penalty}"
        found.append(Trial(name, replace(plain, talker=drawn)))
    return found


def measure(subject: Subject, number: int, only: str = "") -> list[dict]:
    """Word accuracy of replies (word loop) and of plain English (general model), real-time factor, trial by trial."""
    replies, open_texts = talk.reply_set(number), talk.open_set(number)
    loop, general = Recognizer(word for text, _ in replies for word in words_of(text)), Recognizer()
    sets = ((speech.record(replies, loop), loop), (speech.record(open_texts, general), general))
    rows = []
    for trial in trials(subject.settings):
        if only not in trial.name:
            continue
        row: dict = {"settings": trial.name}
        readings: list[speech.Reading] = []
        for name, (originals, judge) in zip(("replies", "open_text"), sets):
            made = speech.read(subject, originals, judge, trial.name, trial.settings)
            row[name] = round(speech.accuracy(made), 3)
            row[f"{name}_vs_ceiling"] = round(speech.share_of_ceiling(made)[0], 3)
            readings += made
        row |= costs(readings)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def costs(readings: Sequence[speech.Reading]) -> dict[str, float]:
    factor = talk.real_time_factor([one.answer for one in readings])
    return {"rtf": round(factor.value, 3), "first_packet_s": factor.parts["first_packet_s"]}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate.settings", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("assets/micro"))
    parser.add_argument("--limit", type=int, default=8, help="texts of each kind, read by every voice")
    parser.add_argument("--only", default="", help="trials whose name holds this")
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="takes settings.json")
    args = parser.parse_args(arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    subject = Subject(args.checkpoint)
    try:
        rows = measure(subject, args.limit, args.only)
    finally:
        subject.close()
    (args.folder / "settings.json").write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
