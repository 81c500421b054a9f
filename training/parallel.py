"""Several processes that learn one model together, each from rows of its own: their gradients become one.

On a CPU two processes of one thread do twice the work of one; two threads of one process do not.
"""

import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, nn

# Others wait that long while the first process evaluates.
PATIENCE = timedelta(hours=1)


@contextmanager
def together(num_processes: int, work: Callable[..., None], *args: object):
    """Within, this process is the first of `num_processes`; the others run `work(rank, *args)`, which a module must
    hold. Raises RuntimeError where one of them failed."""
    if num_processes == 1:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        context = multiprocessing.get_context("spawn")
        others = [
            context.Process(target=_other, args=(meeting, rank, num_processes, work, args), daemon=True)
            for rank in range(1, num_processes)
        ]
        for process in others:
            process.start()
        _meet(meeting, 0, num_processes)
        try:
            yield
            for process in others:
                process.join()
        finally:
            for process in others:
                process.kill()
            distributed.destroy_process_group()
    if any(process.exitcode for process in others):
        raise RuntimeError("a process that learnt with this one has failed: see above")


def _other(meeting: Path, rank: int, number: int, work: Callable[..., None], args: tuple) -> None:
    torch.set_num_threads(1)
    _meet(meeting, rank, number)
    try:
        work(rank, *args)
    except Finished:
        pass
    distributed.destroy_process_group()


def _meet(meeting: Path, rank: int, number: int) -> None:
    distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=number, timeout=PATIENCE)


class Finished(Exception):
    """All steps are done, and this is not the process that writes down what was learnt."""


def is_alone() -> bool:
    return not distributed.is_initialized()


def agree(parameters: Sequence[nn.Parameter]) -> None:
    """All begin with what the first has."""
    for parameter in parameters:
        distributed.broadcast(parameter.data, 0)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Of every parameter the mean over those processes whose rows touched it; None where none did."""
    has_one = torch.tensor([float(parameter.grad is not None) for parameter in parameters])
    flat = torch.cat(
        [
            torch.zeros(parameter.numel()) if parameter.grad is None else parameter.grad.flatten().float().cpu()
            for parameter in parameters
        ]
        + [has_one]
    )
    distributed.all_reduce(flat)
    *sums, counts = flat.split([*(parameter.numel() for parameter in parameters), len(parameters)])
    for parameter, total, count in zip(parameters, sums, counts.tolist()):
        parameter.grad = (total / count).view_as(parameter).to(parameter) if count else None
