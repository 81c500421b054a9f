"""The one loop of every stage that learns: schedule, progress bar, JSON log, plot, checkpoints and resuming."""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from training.parallel import Finished, agree, average_gradients, is_alone
from training.workspace import Workspace

WARM_UP_STEPS = 50
SAVE_EVERY_S = 60.0
LOG_EVERY_S = 20.0


def trapezoid(step: int, num_steps: int, flat: float = 0.5) -> float:
    """Factor on the learning rate: a short rise, flat, then straight to 0; the fall is where most is won.

    A run that is resumed with fewer steps begins its fall at once, so a run can be cut short without harm.
    """
    rise = min(1.0, (step + 1) / min(WARM_UP_STEPS, max(1, num_steps // 5)))
    fall = 1.0 if step < flat * num_steps else max(0.02, (num_steps - step) / max(1.0, (1 - flat) * num_steps))
    return rise * fall


def cosine(step: int, num_steps: int) -> float:
    rise = min(1.0, (step + 1) / min(WARM_UP_STEPS, max(1, num_steps // 5)))
    return rise * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / max(1, num_steps))))


def make_optimizers(
    named: Iterable[tuple[str, nn.Parameter]], learning_rate: float, weight_decay: float = 0.02
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside, AdamW for embeddings, biases and norms (a small gain, for free)."""
    matrices, others = [], []
    for name, parameter in named:
        is_matrix = parameter.ndim == 2 and "embed" not in name and "head" not in name
        (matrices if is_matrix else others).append(parameter)
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(
            torch.optim.Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    if others:
        optimizers.append(torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True))
    return optimizers


class Training:
    """One stage's learning: what is saved, what is logged, and where it goes on after a break.

    `state` holds everything with `state_dict`/`load_state_dict` that a resumed run needs, optimizers included.
    """

    def __init__(
        self,
        workspace: Workspace,
        name: str,
        num_steps: int,
        state: Mapping[str, nn.Module | torch.optim.Optimizer],
        schedule: Callable[[int, int], float] = trapezoid,
        evaluate: Callable[[], Mapping[str, float]] | None = None,
        evaluate_every_s: float = 300.0,
    ) -> None:
        self._folder = workspace.stage(name)
        self._workspace = workspace
        self._name = name
        self._num_steps = num_steps
        self._state = dict(state)
        self._schedule = schedule
        self._evaluate = evaluate
        self._evaluate_every_s = evaluate_every_s
        self._optimizers = [part for part in self._state.values() if isinstance(part, torch.optim.Optimizer)]
        self._base_rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self._optimizers]

    def run(self, step: Callable[[int], tuple[torch.Tensor, Mapping[str, float]]], clip: float = 1.0) -> None:
        """Calls `step(index)`, which returns the loss to descend and the figures to log, until all steps are done.

        Raises Finished in every process but the first.
        """
        first, spent_s = self._resume()
        parameters = [p for optimizer in self._optimizers for group in optimizer.param_groups for p in group["params"]]
        if not is_alone():
            agree(parameters)
            torch.manual_seed(self._workspace.seed + self._workspace.rank)
        is_first = self._workspace.rank == 0
        sums: dict[str, list[float]] = {}
        started = saved = logged = evaluated = time.monotonic()
        steps = range(first, self._num_steps)
        bar = tqdm(steps, initial=first, total=self._num_steps, desc=self._name, mininterval=5, disable=not is_first)
        for index in bar:
            factor = self._schedule(index, self._num_steps)
            for optimizer, rates in zip(self._optimizers, self._base_rates):
                for group, rate in zip(optimizer.param_groups, rates):
                    group["lr"] = rate * factor
            loss, figures = step(index)
            loss.backward()
            if not is_alone():
                average_gradients(parameters)
            nn.utils.clip_grad_norm_(parameters, clip)
            for optimizer in self._optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            for key, value in {"loss": float(loss.detach()), **figures}.items():
                sums.setdefault(key, []).append(value)
            if not is_first:
                continue
            now = time.monotonic()
            if now - logged > LOG_EVERY_S or index + 1 == self._num_steps:
                logged = now
                means = {key: round(sum(values) / len(values), 4) for key, values in sums.items()}
                sums.clear()
                bar.set_postfix(means)
                self._log({"step": index + 1, "seconds": round(spent_s + now - started, 1), **means})
            if now - saved > SAVE_EVERY_S:
                saved = now
                self._save(index + 1, spent_s + now - started)
            if self._evaluate is not None and now - evaluated > self._evaluate_every_s:
                self._log({"step": index + 1, "evaluation": dict(self._evaluate())})
                evaluated = time.monotonic()
        if not is_first:
            raise Finished
        if first < self._num_steps:
            self._save(self._num_steps, spent_s + time.monotonic() - started)
        if self._evaluate is not None:
            self._log({"step": self._num_steps, "evaluation": dict(self._evaluate())})
        plot_log(self._folder)

    def _log(self, line: dict) -> None:
        with (self._folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _save(self, step: int, seconds: float) -> None:
        path = self._folder / "state.pt"
        partial = path.with_suffix(".partial")
        state = {key: part.state_dict() for key, part in self._state.items()}
        torch.save({"step": step, "seconds": seconds, "state": state}, partial)
        partial.replace(path)

    def _resume(self) -> tuple[int, float]:
        """The step to go on at, and the seconds that went before."""
        path = self._folder / "state.pt"
        if not path.exists():
            return 0, 0.0
        saved = torch.load(path, map_location=self._workspace.device, weights_only=True)
        for key, part in self._state.items():
            part.load_state_dict(saved["state"][key])
        return min(saved["step"], self._num_steps), saved["seconds"]


def plot_log(folder: Path) -> None:
    """Draws every figure of `log.jsonl` over the steps into `log.png`."""
    from matplotlib.figure import Figure

    series: dict[str, list[tuple[int, float]]] = {}
    for line in map(json.loads, (folder / "log.jsonl").read_text().splitlines()):
        figures = line.get("evaluation", line)
        for key, value in figures.items():
            if key not in ("step", "seconds") and isinstance(value, int | float):
                series.setdefault(key, []).append((line["step"], value))
    if not series:
        return
    num_columns = min(3, len(series))
    num_rows = math.ceil(len(series) / num_columns)
    figure = Figure(figsize=(4 * num_columns, 2.6 * num_rows), layout="constrained")
    for place, (key, points) in enumerate(series.items(), 1):
        axes = figure.add_subplot(num_rows, num_columns, place)
        axes.plot(*zip(*points))
        axes.set_title(key, fontsize=9)
    figure.savefig(folder / "log.png", dpi=80)
