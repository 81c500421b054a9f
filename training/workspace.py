"""Where one training run keeps its things, and what it runs on; knows no stage."""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

DEFAULT_FOLDER = Path(".data/training")
START_FILE = "start.safetensors"


@dataclass(frozen=True)
class Workspace:
    """One run's folder, device, seed and size. Every stage keeps its files under `stage(NAME)`."""

    folder: Path = DEFAULT_FOLDER
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seed: int = 0
    # Every stage shrinks to what ends in a minute or less: the chain is proved, nothing is learnt.
    quick: bool = False
    # Steps of a stage by its name, where the recipe's own number is not wanted.
    num_steps: dict[str, int] = field(default_factory=dict)
    # Which of several processes that learn together this is; only the first one writes.
    rank: int = 0

    def stage(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def common_random(self, name: str) -> random.Random:
        """The same generator in all processes that learn together."""
        return random.Random(f"{self.seed}/{name}")

    def random(self, name: str) -> random.Random:
        """A generator of its own for everything that is drawn under `name`, another one in every process."""
        return random.Random(f"{self.seed}/{name}" + (f"/process {self.rank}" if self.rank else ""))

    def steps(self, name: str, full: int, quick: int) -> int:
        return self.num_steps.get(name, quick if self.quick else full)

    def size(self, full: int, quick: int) -> int:
        """A number of samples, clips or sentences."""
        return quick if self.quick else full

    def autocast(self) -> torch.autocast:
        """bfloat16 arithmetic: about four times float32 on CPUs that have it."""
        return torch.autocast(self.device.type, torch.bfloat16)

    def save_weights(self, name: str, weights: dict[str, torch.Tensor], file: str = "model.safetensors") -> Path:
        path = self.stage(name) / file
        if self.rank:
            return path
        partial = path.with_suffix(".partial")
        save_file({key: value.detach().cpu().contiguous() for key, value in weights.items()}, partial)
        partial.replace(path)
        return path

    def load_weights(self, name: str, file: str = "model.safetensors") -> dict[str, torch.Tensor]:
        """Raises FileNotFoundError naming the stage that has to run first."""
        path = self.folder / name / file
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: run the stage {name!r} first")
        return load_file(path, device=str(self.device))

    def load_newest(self, *names: str) -> dict[str, torch.Tensor]:
        """Weights of the first of these stages that was trained; the last has to run first."""
        trained = [name for name in names if (self.folder / name / "model.safetensors").exists()]
        return self.load_weights(trained[0] if trained else names[-1])

    def started(self, name: str) -> dict[str, torch.Tensor] | None:
        """Weights that a stage begins with in place of random ones (`training.start`); None where there are none."""
        return self.load_weights(name, START_FILE) if (self.folder / name / START_FILE).exists() else None

    def save_report(self, name: str, report: dict[str, Any]) -> None:
        if self.rank:
            return
        (self.stage(name) / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
