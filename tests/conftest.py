"""Fixtures that all tests share: one tiny random checkpoint per run, and nothing is downloaded."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

from app.engine.tiny import write_tiny_checkpoint  # noqa: E402
from tests.engine_kit import tiny  # noqa: E402, F401

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of two processes that share the tests, one has the browser and its servers, the other takes file after file."""
    for item in items:
        is_in_browser = "browser" in item.path.parts
        item.add_marker(pytest.mark.xdist_group("browser" if is_in_browser else item.path.stem))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a complete checkpoint of random weights; read only."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    write_tiny_checkpoint(folder)
    return folder
