"""`python -m training`: runs the stages that are not done yet, in order."""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from training.parallel import together
from training.recipe import STAGES, Stage, run_beside
from training.workspace import DEFAULT_FOLDER, Workspace


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    names = [stage.name for stage in STAGES]
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="where the run keeps its files")
    parser.add_argument(
        "--quick", action="store_true", help="every stage for seconds: proves the chain, learns nothing"
    )
    parser.add_argument("--only", nargs="+", choices=names, metavar="STAGE", help="run these, done or not")
    parser.add_argument("--until", choices=names, metavar="STAGE", help="stop after this stage")
    parser.add_argument("--steps", nargs="+", type=stage_steps, default=[], metavar="STAGE=N", help="steps of a stage")
    parser.add_argument("--device", type=device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", type=int, default=1, help="that learn together, on a CPU: one for each core")
    parser.add_argument("--threads", type=int, default=1, help="threads of a CPU run; more than one rarely helps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="list the stages and what is done")
    return parser.parse_args(arguments)


def stage_steps(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in {stage.name for stage in STAGES} or not number.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: write STAGE=NUMBER, for example flow=4000")
    return name, int(number)


def device(text: str) -> torch.device:
    try:
        found = torch.device(text)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used here. Choose --device cpu or cuda.") from error
    return found


def done_file(workspace: Workspace, stage: Stage) -> Path:
    return workspace.folder / stage.name / "done.json"


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    workspace = Workspace(args.folder, args.device, args.seed, args.quick, dict(args.steps))
    for stage in STAGES:
        done = done_file(workspace, stage)
        if args.list:
            print(f"{'done' if done.exists() else '    '}  {stage.name:16s} {stage.purpose}")
            continue
        if args.only is None and done.exists() or args.only is not None and stage.name not in args.only:
            continue
        print(f"== {stage.name}: {stage.purpose}", flush=True)
        torch.manual_seed(args.seed)
        started = time.monotonic()
        try:
            num_processes = args.processes if stage.learns_together else 1
            with together(num_processes, run_beside, stage.name, workspace):
                stage.run()(workspace)
        except FileNotFoundError as error:
            sys.exit(f"{stage.name}: {error}")
        workspace.stage(stage.name)
        done.write_text(json.dumps({"seconds": round(time.monotonic() - started, 1), "quick": args.quick}) + "\n")
        if stage.name == args.until:
            break


if __name__ == "__main__":
    main()
