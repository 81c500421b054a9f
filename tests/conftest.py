"""Fixtures that all tests share: one tiny random checkpoint per run, and nothing is downloaded."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

from app.engine.tiny import write_tiny_checkpoint  # noqa: E402
from tests.engine_kit import tiny  # noqa: E402, F401

BROWSER = Path(__file__).parent / "browser"

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With two processes one has all that runs in the browser, whose sound must not wait for another browser; the
    other's modules are not torn apart, so that each fixture is made once."""
    for item in items:
        is_browser = item.path.is_relative_to(BROWSER)
        item.add_marker(pytest.mark.xdist_group("browser" if is_browser else item.path.stem))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a complete checkpoint of random weights; read only."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    write_tiny_checkpoint(folder)
    return folder
