"""Laws of the command line, over the real engine with a tiny random checkpoint."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

from app.cli import main
from app.errors import BadInput
from app.messages import read_script
from app.types.turn import FileInput, TextInput

NUM_TOKENS, NUM_CODES = 12, 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a picture and a sound beside the messages."""
    folder = tmp_path_factory.mktemp("cli")
    cv2.imwrite(str(folder / "a.png"), np.full((60, 80, 3), 200, np.uint8))
    soundfile.write(folder / "a.wav", 0.1 * np.sin(np.arange(8000) / 9), 8000)
    return folder


def write(folder: Path, messages, name="m.json") -> Path:
    path = folder / name
    path.write_text(messages if isinstance(messages, str) else json.dumps(messages), encoding="utf-8")
    return path


def flags(checkpoint: Path, messages: Path, *more) -> list[str]:
    limits = ["--max-new-tokens", NUM_TOKENS, "--max-new-codes", NUM_CODES, "--device", "cpu"]
    places = ["--checkpoint", checkpoint, "--messages", messages, "--data-dir", messages.parent / "data"]
    return [str(value) for value in (*places, *limits, *more)]


def user(*contents) -> dict:
    return {"role": "user", "content": contents[0] if len(contents) == 1 else list(contents)}


@pytest.fixture(scope="module")
def run(tiny_checkpoint, folder):
    """Three turns with mixed media in a process of their own: (events, folder, what was printed)."""
    messages = [
        {"role": "system", "content": "Be brief."},
        user("Hello"),
        {"role": "assistant", "content": "Hi there"},
        user({"type": "image", "image": "a.png"}, {"type": "text", "text": "What is <|im_end|> this?"}),
        user({"type": "audio", "audio": str(folder / "a.wav")}, {"type": "text", "text": "And that?"}),
    ]
    path = write(folder, messages, "three.json")
    more = ["--greedy", "--seed", 3, "--voice", "Ethan", "--events", folder / "e.jsonl", "--wav", folder / "r.wav"]
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *flags(tiny_checkpoint, path, *more)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=240,
    )
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in (folder / "e.jsonl").read_text(encoding="utf-8").splitlines()]
    return events, folder, done.stdout


def of(events: list[dict], kind: str, turn: int | None = None) -> list[dict]:
    return [event for event in events if event["kind"] == kind and turn in (None, event["turn"])]


def test_every_event_is_a_line_of_json_with_its_facts(run):
    events, _, _ = run
    assert all({"turn", "kind", "t_s"} <= set(event) for event in events)
    assert [event["turn"] for event in of(events, "TurnFinished")] == [1, 2, 3]
    assert all({"text", "text_ids"} <= set(event) for event in of(events, "TextDelta"))
    assert all(len(event["codec_ids"]) == 1 for event in of(events, "CodecDelta"))
    assert len(of(events, "CodecDelta", 3)) == NUM_CODES
    assert sum(len(event["text_ids"]) for event in of(events, "TextDelta", 3)) == NUM_TOKENS


def test_all_user_messages_share_one_conversation(run):
    events, _, _ = run
    reused = [event["num_reused"] for event in of(events, "Prefilled")]
    assert reused[0] == 0 and reused[0] < reused[1] < reused[2]


def test_each_reply_has_its_sound_and_the_last_one_twice(run):
    events, folder, _ = run
    for turn in (2, 3):
        chunks = of(events, "AudioChunk", turn)
        starts = np.cumsum([0, *(chunk["num_samples"] for chunk in chunks)])
        assert [chunk["start_sample"] for chunk in chunks] == list(starts[:-1])
        assert soundfile.info(folder / f"r.{turn}.wav").frames == starts[-1] > 0
    assert (folder / "r.wav").read_bytes() == (folder / "r.3.wav").read_bytes()


def test_a_reply_that_the_messages_give_is_kept_as_it_is_and_not_spoken(run):
    events, folder, printed = run
    assert "".join(event["text"] for event in of(events, "TextDelta", 1)) == "Hi there"
    assert of(events, "CodecDelta", 1) == [] and not (folder / "r.1.wav").exists()
    assert printed.startswith("Hi there\n")


def test_the_text_is_printed_as_it_comes(run):
    events, _, printed = run
    replies = ["".join(event["text"] for event in of(events, "TextDelta", turn)) for turn in (1, 2, 3)]
    assert printed == "".join(reply + "\n" for reply in replies)


def test_nothing_of_the_conversation_stays_in_the_data_folder(run):
    _, folder, _ = run
    assert list((folder / "data" / "sessions").iterdir()) == []


def test_say_speaks_a_reply_of_ones_own(tiny_checkpoint, folder, capsys):
    path = write(folder, [user("Hello")])
    events = folder / "say.jsonl"
    more = ("--say", "Good <|im_end|> morning", "--seed", 1, "--events", events, "--wav", folder / "say.wav")
    assert main(flags(tiny_checkpoint, path, *more)) == 0
    assert capsys.readouterr().out == "Good <|im_end|> morning\n"
    lines = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    assert of(lines, "CodecDelta") and soundfile.info(folder / "say.wav").frames > 0


def test_text_only_replies_in_silence(tiny_checkpoint, folder, capsys):
    path = write(folder, [user("Hello")])
    events = folder / "silent.jsonl"
    assert main(flags(tiny_checkpoint, path, "--text-only", "--events", events)) == 0
    lines = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    assert of(lines, "TextDelta") and not of(lines, "CodecDelta") and of(lines, "TurnStarted")[0]["voice"] == ""


def test_a_turn_that_fails_ends_with_its_sentence(tiny_checkpoint, folder, capsys):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n....")
    path = write(folder, [user({"type": "image", "image": "broken.png"}, {"type": "text", "text": "?"})])
    events = folder / "failed.jsonl"
    assert main(flags(tiny_checkpoint, path, "--events", events)) == 2
    error = capsys.readouterr().err
    assert "broken.png" in error and error.count("\n") == 1
    (line,) = events.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["message"] + "\n" == error


def test_a_checkpoint_that_is_none_ends_with_its_sentence(folder, capsys):
    path = write(folder, [user("Hello")])
    assert main(flags(folder, path)) == 2
    assert capsys.readouterr().err.count("\n") == 1


# -- what fails before anything is loaded -----------------------------------------------------------------------------

BAD_MESSAGES = {
    "no file": None,
    "empty file": "",
    "no JSON": "hello",
    "cut JSON": '[{"role": "user"',
    "deep JSON": "[" * 100_000,
    "no list": {"role": "user", "content": "hi"},
    "empty list": [],
    "only a system message": [{"role": "system", "content": "hi"}],
    "a text": ["hi"],
    "wrong role": [{"role": "tool", "content": "hi"}],
    "no content": [{"role": "user"}],
    "one key more": [{"role": "user", "content": "hi", "name": "x"}],
    "empty content": [user([])],
    "number": [user(3)],
    "null": [user(None)],
    "no type": [user([{"text": "hi"}])],
    "unknown type": [user([{"type": "image_url", "image_url": "a.png"}])],
    "unhashable type": [user([{"type": ["text"], "text": "hi"}])],
    "unknown option": [user([{"type": "image", "image": "a.png", "max_pixels": 3}])],
    "wrong value": [user([{"type": "image", "image": 3}])],
    "URL": [user([{"type": "image", "image": "https://example.org/a.png"}])],
    "file URL": [user([{"type": "audio", "audio": "file:///etc/passwd"}])],
    "data URL": [user([{"type": "image", "image": "data:image/png;base64,AA"}])],
    "empty path": [user([{"type": "image", "image": ""}])],
    "zero byte": [user([{"type": "image", "image": "a\0b"}])],
    "late system message": [user("hi"), {"role": "system", "content": "hi"}],
    "assistant first": [{"role": "assistant", "content": "hi"}, user("hi")],
    "two replies": [user("hi"), {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}],
    "reply with a picture": [user("hi"), {"role": "assistant", "content": [{"type": "image", "image": "a.png"}]}],
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_messages_that_are_none_end_with_one_sentence(tmp_path, capsys, name):
    path = tmp_path / "m.json"
    if BAD_MESSAGES[name] is not None:
        write(tmp_path, BAD_MESSAGES[name])
    assert main(["--checkpoint", "unused", "--messages", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.endswith(".\n") and error.count("\n") == 1


@pytest.mark.parametrize(
    "more",
    [
        ["--voic", "x"],
        ["--unknown"],
        ["--seed", "x"],
        ["--text-only", "--wav", "r.wav"],
        ["--events", "/no/such/folder/e.jsonl"],
        ["--wav", "/no/such/folder/r.wav"],
        ["--max-files", "0"],
        ["--device", "tpu"],
    ],
    ids=" ".join,
)
def test_flags_that_cannot_work_end_with_one_sentence(tmp_path, capsys, more):
    path = write(tmp_path, [user("hi")])
    assert main(["--checkpoint", "unused", "--messages", str(path), *more]) == 2
    error = capsys.readouterr().err
    assert error.endswith(".\n") and error.count("\n") == 1


def test_two_replies_to_the_last_turn_end_with_one_sentence(tmp_path, capsys):
    path = write(tmp_path, [user("hi"), {"role": "assistant", "content": "a"}])
    assert main(["--checkpoint", "unused", "--messages", str(path), "--say", "b"]) == 2
    assert "leave one out" in capsys.readouterr().err


def test_relative_paths_count_from_the_file_of_messages(tmp_path):
    script = read_script(write(tmp_path, [user([{"type": "video", "video": "sub/v.mp4"}]), user("hi")]))
    assert script.turns[0].turn_input.contents == (FileInput(tmp_path / "sub" / "v.mp4", "video"),)
    assert script.turns[1].turn_input.contents == (TextInput("hi"),)
    assert script.folders == (tmp_path / "sub",)


def test_a_byte_order_mark_is_no_error(tmp_path):
    path = tmp_path / "m.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([user("hi")]).encode())
    assert len(read_script(path).turns) == 1


def test_latin_text_is_said_not_to_be_utf8(tmp_path):
    path = tmp_path / "m.json"
    path.write_bytes('[{"role": "user", "content": "é"}]'.encode("latin-1"))
    with pytest.raises(BadInput, match="UTF-8"):
        read_script(path)
