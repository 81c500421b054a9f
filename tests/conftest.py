"""Fixtures that all tests share: one tiny random checkpoint per family and run, and nothing is downloaded."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402
from xdist.scheduler import LoadScopeScheduling  # noqa: E402

from app.engine.tiny import write_tiny_checkpoint  # noqa: E402
from app.engine.tiny_qwen3 import write_tiny_qwen3_checkpoint  # noqa: E402
from tests.engine_kit import tiny  # noqa: E402, F401

BROWSER = "tests/browser/"

torch.set_num_threads(1)


class Scheduling(LoadScopeScheduling):
    """With two processes one has all that runs in the browser, whose sound must not wait for another browser; no module
    is torn apart, so that each fixture is made once."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return BROWSER if path.startswith(BROWSER) else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a complete checkpoint of random weights; read only."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_qwen3_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `tiny_checkpoint`, of Qwen3-Omni."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny-qwen3"
    write_tiny_qwen3_checkpoint(folder)
    return folder
