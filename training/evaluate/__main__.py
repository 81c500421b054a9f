"""`python -m training.evaluate`: judges a checkpoint on held-out data; a table, then one JSON line.

Figures of the same weights that were measured before are kept, so groups can be measured one after the other.
"""

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from app.errors import DemoError
from training.evaluate import answers, figures, sets, talk
from training.evaluate.figures import Figure
from training.evaluate.subject import Subject
from training.workspace import DEFAULT_FOLDER

# Group -> cases of a full run: about a quarter of an hour on one core.
SIZES = {
    "typed": 450,
    "spoken": 300,
    "spoken_rooms": 150,
    "spoken_other_synth": 300,
    "image": 360,
    "image_camera": 240,
    "image_spoken": 120,
    "image_two": 120,
    "video": 240,
    "av_order": 100,
    "memory": 160,
    "speech": 60,
    "open_text": 60,
    "speech_to_speech": 150,
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Judge a checkpoint on held-out data."
    )
    parser.add_argument("--checkpoint", type=Path, default=Path("assets/micro"))
    parser.add_argument("--groups", nargs="+", choices=list(SIZES), default=list(SIZES), metavar="GROUP")
    parser.add_argument("--limit", type=int, help="no more than so many cases of a group, for a quick look")
    parser.add_argument(
        "--folder", type=Path, default=DEFAULT_FOLDER, help="takes evaluation.json and evaluation_wrong.jsonl"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    try:
        subject = Subject(args.checkpoint)
    except DemoError as error:
        sys.exit(str(error))
    args.folder.mkdir(parents=True, exist_ok=True)
    try:
        result = evaluate(subject, args)
    finally:
        subject.close()
    print(figures.table(result))
    print(json.dumps(result))


def evaluate(subject: Subject, args: argparse.Namespace) -> dict:
    """Saved after every group."""
    path = args.folder / "evaluation.json"
    digest = figures.weights_digest(args.checkpoint)
    earlier = figures.read_json(path)
    result = earlier if earlier.get("weights") == digest else {}
    if not result:
        (args.folder / "evaluation_wrong.jsonl").unlink(missing_ok=True)
    size = sum(file.stat().st_size for file in args.checkpoint.rglob("*") if file.is_file()) / 1e6
    result = figures.merged(result, figures.to_json({"size_mb": Figure(size, 1)}))
    result |= {"weights": digest, "cpu": cpu_name(), "torch": torch.__version__}
    for group in args.groups:
        number = min(SIZES[group], args.limit or SIZES[group])
        found, wrong = measure(subject, group, number)
        result = figures.merged(result, figures.to_json(found))
        path.write_text(json.dumps(result, indent=1) + "\n")
        write_wrong(args.folder / "evaluation_wrong.jsonl", group, wrong)
    return result


def measure(subject: Subject, group: str, number: int) -> tuple[dict[str, Figure], list[dict]]:
    """The figures of a group, and what was wrong."""
    if group in sets.GROUPS:
        verdicts = answers.judge(subject, sets.draw(group, number), group)
        wrong = [one.as_json(group) for one in verdicts if not one.is_right]
        return dict(answered(group, verdicts)), wrong
    return talk.GROUPS[group](subject, number)


def answered(group: str, verdicts: list[answers.Verdict]) -> Iterator[tuple[str, Figure]]:
    is_right = [one.is_right for one in verdicts]
    by = [one.case.asker if group == "spoken_other_synth" else one.case.skill for one in verdicts]
    yield group, figures.share(is_right, figures.shares_by(by, is_right))
    if group == "spoken_other_synth":
        yield "spoken_ked", figures.share([one.is_right for one in verdicts if one.case.asker == sets.KED])


def write_wrong(path: Path, group: str, wrong: list[dict]) -> None:
    """Replaces the lines of this group."""
    kept = path.read_text().splitlines() if path.exists() else []
    lines = [line for line in kept if json.loads(line)["group"] != group]
    path.write_text("".join(line + "\n" for line in [*lines, *(json.dumps(one, ensure_ascii=False) for one in wrong)]))


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
