"""Laws of what a micro checkpoint's page offers: where the files lie, what a click puts together, who asks for it."""

import json
import wave
from pathlib import Path

import pytest
from PIL import Image

from components.examples import KINDS, QUESTIONS, SAMPLES, chosen, examples_html, load_examples
from components.tabs import without
from components.texts import LANGUAGES, Texts
from components.tray import read_place
from training import samples


def folder_with(tmp_path: Path, entries: list[dict]) -> Path:
    for entry in entries:
        for name in entry["files"]:
            if Path(name).name == name:
                (tmp_path / name).write_bytes(b"x")
    (tmp_path / "samples.json").write_text(json.dumps(entries))
    return tmp_path


@pytest.fixture
def examples(tmp_path: Path):
    entries = [{"files": ["a.png"], "text": "What do you see?"}, {"files": ["a.png", "b.wav"], "said": "where is it"}]
    return load_examples(folder_with(tmp_path, entries))


def test_the_shipped_samples_are_small_whole_and_open():
    shipped = load_examples().samples
    assert {kind for one in shipped for kind in (KINDS[path.suffix] for path in one.files)} == {
        "image", "audio", "video",
    }  # fmt: skip
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 600_000
    assert {path.name for one in shipped for path in one.files} | {"samples.json"} == {
        path.name for path in SAMPLES.iterdir()
    }
    for path in [*SAMPLES.glob("*.png"), *SAMPLES.glob("*.jpg")]:
        Image.open(path).verify()
    for path in SAMPLES.glob("*.wav"):
        with wave.open(str(path)) as sound:
            assert (sound.getframerate(), sound.getnchannels()) == (16_000, 1), path
    assert all(one.text or one.said for one in shipped)


def test_the_shipped_samples_are_those_that_the_maker_names():
    assert json.loads((SAMPLES / "samples.json").read_text()) == [
        {key: list(value) if key == "files" else value for key, value in vars(one).items() if value}
        for one in samples.SAMPLES
    ]


def test_without_samples_the_questions_are_left(tmp_path: Path):
    bare = load_examples(tmp_path)
    assert not bare.samples and set(bare.questions) == set(QUESTIONS)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "sub/a.png", "a.html", "missing.png"])
def test_a_sample_lies_in_its_folder_and_is_a_picture_a_sound_or_a_clip(tmp_path: Path, name: str):
    (tmp_path / "samples.json").write_text(json.dumps([{"files": [name]}]))
    (tmp_path.parent / "secret.png").write_bytes(b"x")
    (tmp_path / "a.html").write_bytes(b"x")
    with pytest.raises(AssertionError):
        load_examples(tmp_path)


def test_every_example_is_offered_once_and_found_by_what_its_button_says(examples):
    page = examples_html(examples, Texts("en"))
    keys = [piece.partition('"')[0] for piece in page.split('data-example="')[1:]]
    assert len(keys) == len(set(keys)) == 2 + sum(map(len, QUESTIONS.values()))
    for key in keys:
        assert examples.find(chosen({"key": key})).key == key


@pytest.mark.parametrize(
    "data", [None, "sample-0", 3, {}, {"key": "sample-9"}, {"key": {"a": 1}}, {"key": ["sample-0"]}]
)
def test_what_no_button_says_finds_nothing(examples, data: object):
    assert examples.find(chosen(data)) is None


def test_a_sample_takes_another_one_s_place_and_own_files_stay(examples):
    first, second = examples.samples
    attached = examples.attached(second, ["/u/mine.png", "/u/1/a.png"])
    assert attached == ["/u/mine.png", *map(str, second.files)]
    assert examples.attached(first, attached) == ["/u/mine.png", *map(str, first.files)]


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_skill_has_its_name_in_every_language(examples, language: str):
    page = examples_html(examples, Texts(language))
    for skill in QUESTIONS:
        assert f"<dt>{LANGUAGES[language][f'skill_{skill}']}</dt>" in page


@pytest.mark.parametrize(
    ("place", "left"),
    [
        (0, [["b"], "clip", None, "voice"]),
        (1, [["a"], "clip", None, "voice"]),
        (2, [["a", "b"], None, None, "voice"]),
        (3, [["a", "b"], "clip", None, None]),
        (4, [["a", "b"], "clip", None, "voice"]),
        (-1, [["a", "b"], "clip", None, "voice"]),
        (None, [["a", "b"], "clip", None, "voice"]),
    ],
)
def test_one_file_is_taken_out_counted_as_it_is_sent(place: int | None, left: list):
    assert without([["a", "b"], "clip", None, "voice"], place) == left
    assert without([["a"], None, None, None], 0) == [None, None, None, None]


@pytest.mark.parametrize(("data", "place"), [({"place": 2}, 2), ({"place": "2"}, None), ({}, None), (None, None)])
def test_a_place_is_a_number_or_none(data: object, place: int | None):
    assert read_place(data) == place
