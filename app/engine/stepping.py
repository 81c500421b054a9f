"""Units of work that turns ask for, done for one of them or for several at once; knows no turn and no model."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Protocol, TypeVar

from app.engine.metrics import TurnClock

T = TypeVar("T")
# Of more that wait the rest comes behind them.
MAX_TOGETHER = 4


class Runner(Protocol):
    """Does what steps ask for."""

    def key(self, step: Any) -> Hashable:
        """Steps with equal keys may be done together."""

    def run(self, steps: Sequence[Any]) -> None:
        """Fills in the results of all of them; or throws, and they can be done again."""


class Step:
    """What a turn yields where it needs a unit of work, by `done`; the results are there when it goes on."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.error: Exception | None = None
        self.clock: TurnClock | None = None
        self.stage = ""

    def done(self, clock: TurnClock | None = None, stage: str = "") -> Iterator["Step"]:
        """`yield from` it. What went wrong is thrown there; the time counts for `stage` of whoever says so last."""
        self.clock, self.stage = clock, stage
        yield self
        if self.error is not None:
            raise self.error


def run_together(steps: Iterable[Step]) -> None:
    """Does all of them. One that fails spoils no other."""
    groups: dict[Hashable, list[Step]] = {}
    for step in steps:
        groups.setdefault((id(step.runner), step.runner.key(step)), []).append(step)
    for group in groups.values():
        for start in range(0, len(group), MAX_TOGETHER):
            _run(group[start : start + MAX_TOGETHER])


def _run(steps: list[Step]) -> None:
    try:
        with ExitStack() as clocks:
            for step in steps:
                if step.clock is not None:
                    clocks.enter_context(step.clock.stage(step.stage))
            steps[0].runner.run(steps)
    except Exception as error:
        if len(steps) == 1:
            steps[0].error = error
            return
        for step in steps:
            _run([step])


def alone(items: Iterator[T | Step]) -> Iterator[T]:
    """One turn's items without any other's, each step done as it comes."""
    try:
        for item in items:
            if isinstance(item, Step):
                run_together([item])
            else:
                yield item
    finally:
        items.close()
