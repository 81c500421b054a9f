"""Voices from files of their own: they speak as the checkpoint's do, and a bad file is refused with its reason."""

import os
import pickle
import struct
from pathlib import Path

import pytest
import torch

from app.config import Config
from app.engine.loader import EngineOptions, load_engine
from app.engine.voices import read_voices
from app.errors import BadConfig
from app.flags import parse_flags

NUM_TOKENS = 400


@pytest.fixture(scope="module")
def known(tiny_checkpoint: Path) -> dict:
    return torch.load(tiny_checkpoint / "spk_dict.pt", weights_only=True)


def entry(known: dict, **changes) -> dict:
    like = next(iter(known.values()))
    made = {"cond": torch.randn(like["cond"].shape), "ref_mel": torch.randn(like["ref_mel"].shape), "bos_token": 7}
    return {key: value for key, value in (made | changes).items() if value is not None}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_a_voice_from_a_file_is_one_of_the_checkpoint(tiny_checkpoint: Path, known: dict, tmp_path: Path) -> None:
    like = next(iter(known.values()))
    longer = torch.randn(1, like["ref_mel"].shape[1] + 9, like["ref_mel"].shape[2])
    file = saved(tmp_path / "nora.pt", {"Nora": entry(known, ref_mel=longer, bos_token=torch.tensor(7))})
    engine = load_engine(EngineOptions(str(tiny_checkpoint), device="cpu", voices=(file,)), lambda *_: None)
    try:
        assert engine.spec.voices == (*known, "Nora")
        voice = engine.stages.voices["Nora"]
        assert voice.bos_token_id == 7 and voice.ref_mel.shape == longer.shape
    finally:
        engine.close()


def test_flags_name_the_files() -> None:
    assert parse_flags(["--voices", "a.pt", "--voices", "b.pt"]).voices == (Path("a.pt"), Path("b.pt"))
    assert parse_flags([]) == Config()


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hacked",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "no speakers"),
        ({}, "no speakers"),
        ({"": {}}, "proper name"),
        ({"a\nb": {}}, "proper name"),
        ({3: {}}, "proper name"),
        ({"x" * 61: {}}, "proper name"),
        ({"Nora": [1]}, "must have exactly"),
        ({"Nora": {"cond": torch.zeros(1)}}, "must have exactly"),
        ({"Nora": Hostile()}, "more than plain tensors"),
    ],
    ids=range(9),
)
def test_what_is_no_speaker_map_is_refused(known: dict, tmp_path: Path, content: object, words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        read_voices([saved(tmp_path / "bad.pt", content)], known, NUM_TOKENS)
    assert not Path("hacked").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bos_token": None}, "must have exactly"),
        ({"bos_token": NUM_TOKENS}, "bos_token"),
        ({"bos_token": -1}, "bos_token"),
        ({"bos_token": 1.5}, "bos_token"),
        ({"bos_token": True}, "bos_token"),
        ({"bos_token": torch.tensor([1, 2])}, "bos_token"),
        ({"cond": torch.zeros(1, 3)}, r"shape \[1, 3\]"),
        ({"cond": "loud"}, "floating point"),
        ({"ref_mel": torch.zeros(1, 5, 3)}, "shape"),
        ({"ref_mel": torch.zeros(1, 0, 80)}, "shape"),
        ({"ref_mel": torch.zeros(4, dtype=torch.int64)}, "floating point"),
    ],
    ids=range(11),
)
def test_what_does_not_fit_the_checkpoint_is_refused(known: dict, tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        read_voices([saved(tmp_path / "bad.pt", {"Nora": entry(known, **changes)})], known, NUM_TOKENS)


def test_values_that_are_no_numbers_are_refused(known: dict, tmp_path: Path) -> None:
    bad = entry(known)
    bad["cond"][0, 0] = float("nan")
    with pytest.raises(BadConfig, match="no numbers"):
        read_voices([saved(tmp_path / "bad.pt", {"Nora": bad})], known, NUM_TOKENS)


def test_a_name_that_is_there_is_refused(known: dict, tmp_path: Path) -> None:
    taken = next(iter(known))
    with pytest.raises(BadConfig, match="there already"):
        read_voices([saved(tmp_path / "a.pt", {taken: entry(known)})], known, NUM_TOKENS)
    one = saved(tmp_path / "b.pt", {"Nora": entry(known)})
    with pytest.raises(BadConfig, match="there already"):
        read_voices([one, one], known, NUM_TOKENS)


def test_files_that_are_none_are_refused(known: dict, tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pt", {"Nora": entry(known)}).read_bytes()
    files = {"empty.pt": b"", "text.pt": b"hello", "cut.pt": whole[:200]}
    files["pickle.pt"] = pickle.dumps(Hostile())
    files["zip.pt"] = b"PK\x03\x04" + struct.pack("<I", 99) * 30
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadConfig, match="plain tensors"):
            read_voices([tmp_path / name], known, NUM_TOKENS)
    for path in (tmp_path / "missing.pt", tmp_path):
        with pytest.raises(BadConfig, match="is no file"):
            read_voices([path], known, NUM_TOKENS)
    huge = tmp_path / "huge.pt"
    with huge.open("wb") as file:
        file.truncate(300 << 20)
    with pytest.raises(BadConfig, match="256 MB"):
        read_voices([huge], known, NUM_TOKENS)
