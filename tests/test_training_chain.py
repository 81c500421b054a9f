"""The whole recipe in small: from nothing to a checkpoint that the program loads, and no step is done twice."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from app.engine.loader import EngineOptions, load_engine
from app.types.turn import TextPart
from tests.engine_kit import codes, run, text_ids, wave
from training import export
from training.recipe import STAGES
from training.start import start
from training.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent


def train(folder: Path, *flags: str) -> str:
    command = [sys.executable, "-m", "training", "--quick", "--folder", str(folder), "--device", "cpu", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def steps(folder: Path, stage: str) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / stage / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    printed = train(folder)
    assert [line.split(":")[0][3:] for line in printed.splitlines() if line.startswith("== ")] == [
        s.name for s in STAGES
    ]
    return folder


def test_one_command_leads_from_nothing_to_a_checkpoint_that_talks(trained):
    engine = load_engine(EngineOptions(str(trained / "export"), device="cpu"), lambda stage, share: None)
    try:
        assert engine.spec.voices == ("Stella", "Ross", "Angus")
        defaults = engine.spec.defaults
        talker = replace(defaults.talker, max_new_tokens=24)
        settings = replace(defaults, voice="Ross", talker=talker)
        events = run(engine, engine.new_state(), (TextPart("hello"),), settings, reply="I see a red circle.")
        heard = wave(events)
        assert text_ids(events) and codes(events) and len(heard) and np.isfinite(heard).all()
    finally:
        engine.close()


def test_what_is_done_is_not_done_again_and_a_stage_goes_on_where_it_stopped(trained):
    assert train(trained) == ""
    before = steps(trained, "flow")
    train(trained, "--only", "flow", "--steps", f"flow={before[-1] + 2}")
    assert steps(trained, "flow")[len(before) :][-1] == before[-1] + 2
    assert (trained / "flow" / "log.png").stat().st_size > 0


def test_a_run_that_starts_from_a_checkpoint_has_its_weights_and_goes_on(trained, tmp_path):
    start(Workspace(tmp_path), trained / "export")
    export.write_checkpoint(Workspace(tmp_path), tmp_path / "again")
    for file in ("model.safetensors", export.TEACHERS_FILE):
        before, after = load_file(trained / "export" / file), load_file(tmp_path / "again" / file)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
    (tmp_path / "voices_in").symlink_to(trained / "voices_in")
    train(tmp_path, "--only", "joint", "--steps", "joint=2")
    assert steps(tmp_path, "joint") == [2, 2]
    with pytest.raises(FileExistsError, match="holds a run already"):
        start(Workspace(tmp_path), trained / "export")


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (["--steps", "flow"], "write STAGE=NUMBER"),
        (["--steps", "nothing=3"], "write STAGE=NUMBER"),
        (["--only", "nothing"], "invalid choice"),
        (["--device", "nonsense"], "Choose --device"),
    ],
)
def test_a_wrong_flag_gets_a_sentence(flags, sentence):
    command = [sys.executable, "-m", "training", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and sentence in done.stderr, done.stderr


@pytest.mark.parametrize("module", [["training", "--only", "hearing"], ["training.export"]])
def test_a_stage_that_has_to_run_first_is_named(module, tmp_path):
    command = [sys.executable, "-m", *module, "--folder", str(tmp_path / "empty")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and "run the stage 'tokenizer' first" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
