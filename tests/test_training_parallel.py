"""Two processes that learn together: the same model as one that takes the rows of both."""

import random
from pathlib import Path

import torch
from torch import nn

from training.loop import Training
from training.parallel import together
from training.workspace import Workspace

NUM_STEPS = 6


def learn(rank: int, folder: Path, num_ranks: int) -> dict[str, torch.Tensor]:
    """Every step a row of each rank; without a second process both rows are its own."""
    torch.manual_seed(0 if rank == 0 else 99)
    model = nn.ModuleDict({"first": nn.Linear(3, 4), "last": nn.Linear(4, 1), "unused": nn.Linear(2, 2)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    workspace = Workspace(folder, rank=rank)

    def step(index: int) -> tuple[torch.Tensor, dict[str, float]]:
        ranks = (rank,) if num_ranks == 2 else (0, 1)
        rows = [torch.tensor([random.Random(f"{index}/{one}/{i}").uniform(-1, 1) for i in range(3)]) for one in ranks]
        losses = [model["last"](model["first"](row)).pow(2).sum() for row in rows]
        return torch.stack(losses).mean(), {}

    Training(workspace, "toy", NUM_STEPS, {"model": model, "optimizer": optimizer}).run(step, clip=100.0)
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_two_processes_learn_what_one_does_with_the_rows_of_both(tmp_path: Path) -> None:
    alone = learn(0, tmp_path / "alone", 1)
    with together(2, learn, tmp_path / "two", 2):
        both = learn(0, tmp_path / "two", 2)
    for key, value in alone.items():
        torch.testing.assert_close(both[key], value, msg=key)
    assert sorted(path.name for path in (tmp_path / "two" / "toy").iterdir()) == ["log.jsonl", "log.png", "state.pt"]
