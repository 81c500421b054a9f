"""Every benchmark runs over tiny weights and ends with one JSON line of finite figures; no time is judged."""

import importlib
import json
import math
import sys
from collections.abc import Iterator

import pytest
import torch

from benchmarks import memory

SMALL = {
    "latency": ["--text-tokens", "4", "--codes", "26", "--runs", "1"],
    "stages": ["--geometry", "tiny", "--repeats", "1"],
    "together": ["--geometry", "tiny", "--runs", "1"],
    "qwen3": ["--text-tokens", "4", "--frames", "6", "--runs", "1"],
}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """A benchmark chooses its own."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def numbers(found: object) -> Iterator[float]:
    if isinstance(found, dict):
        for value in found.values():
            yield from numbers(value)
    elif isinstance(found, list):
        for value in found:
            yield from numbers(value)
    elif isinstance(found, (int, float)):
        yield found


@pytest.mark.parametrize("name", SMALL)
def test_it_runs_to_its_last_line(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--device", "cpu", *SMALL[name]])
    importlib.import_module(f"benchmarks.{name}").main()
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    found = list(numbers(figures))
    assert len(found) > 5 and all(map(math.isfinite, found)), figures
    assert figures.get("codes_equal_generate", True) is True


def test_memory_is_counted_without_any(capsys):
    figures = memory.computed(num_layers=1, sizes={"small": (84, 112)})
    small = figures["small"]
    assert 0 < small["graphs"]["kept_gb"] < small["graphs"]["peak_gb"] < small["generate"]["peak_gb"]
