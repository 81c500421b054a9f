"""A conversation goes into a zip and comes back as it was; zips that are something else leave nothing behind."""

import hashlib
import json
import zipfile
from functools import partial
from pathlib import Path

import pytest

from app.errors import BadInput, SessionBusy
from app.media.limits import MediaLimits
from app.session.captions import captions, to_srt, to_vtt
from app.types.events import TurnFinished
from app.types.turn import Sampling, TurnSettings
from tests.fake_engine import Script, drain
from tests.test_session import said, start, state_ids, uploads  # noqa: F401  (fixtures)
from tests.test_session_versions import SILENT, again, send

SPOKEN = TurnSettings()
# Nothing in it is as any default has it.
CHOSEN = TurnSettings(
    voice="Ethan", speak=False, seed=77, ode_points=3, guidance=0.35,
    thinker=Sampling(True, 0.65, 17, 0.45, 1.13, 321), talker=Sampling(False, 1.35, 5, 0.95, 1.27, 654),
)  # fmt: skip


def talk(service, session, uploads: Path) -> None:  # noqa: F811
    """Three turns, with a picture, another version, and a second take."""
    (uploads / "photo.png").write_bytes(b"picture")
    drain(service.submit(session, said("what is this?", uploads / "photo.png"), SPOKEN))
    send(service, session, "two", "three")
    again(service, session, 2, "zwei")
    drain(service.speak_again(session, 1, TurnSettings(voice="Ethan", seed=3)))


def records_of(service, session) -> list[tuple]:
    """What a person sees and hears, files by their bytes."""

    def content(path: Path | None) -> bytes | None:
        return None if path is None else path.read_bytes()

    return [
        (
            one.turn, one.user_text, one.reply_text, one.state, one.voice, one.versions, one.timings, content(one.wav),
            [(file.path.name, file.kind, content(file.path)) for file in one.files],
            [(take.voice, take.seed, content(take.wav)) for take in one.takes],
        )
        for one in service.transcript(session)
    ]  # fmt: skip


def exported(service, session, uploads: Path) -> Path:  # noqa: F811
    """The zip as somebody who saved it has it, among the uploads."""
    path = uploads / "conversation.zip"
    path.write_bytes(service.export(session).read_bytes())
    return path


@pytest.fixture
def talked(start, uploads):  # noqa: F811
    service, engine, session = start()
    talk(service, session, uploads)
    return service, engine, session, exported(service, session, uploads)


def test_an_imported_conversation_is_what_was_exported_and_goes_on_alike(talked):
    service, engine, session, path = talked
    before = records_of(service, session)
    send(service, session, "four")
    whole = state_ids(engine)
    service.reset(session)
    back = service.take_in(path, "").session_id
    assert records_of(service, back) == before
    send(service, back, "four")
    assert state_ids(engine) == whole
    assert service.show_version(back, 2)
    assert [record.user_text for record in service.transcript(back)] == ["what is this?", "two", "three"]
    send(service, back, "five")
    assert service.transcript(back)[-1].turn == 6


def test_its_settings_come_back_after_export_deletion_and_import(start, uploads):  # noqa: F811
    service, _, session = start()
    service.note_settings(session, CHOSEN, "You are a pirate.", use_video_sound=False)
    talk(service, session, uploads)
    path = exported(service, session, uploads)
    service._sessions.close_one(session)
    back = service.take_in(path, "").session_id
    assert (service.settings(back), service.system_prompt(back)) == (CHOSEN, "You are a pirate.")
    assert not service.use_video_sound(back)


def test_a_zip_of_an_earlier_program_comes_in_with_the_checkpoints_own_settings(start, uploads):  # noqa: F811
    service, _, session = start()
    service.note_settings(session, CHOSEN, "")
    talk(service, session, uploads)
    path, before = exported(service, session, uploads), records_of(service, session)
    back = service.take_in(changed(path, lambda content: content.pop("settings")), "").session_id
    assert records_of(service, back) == before
    assert service.settings(back) == service.settings(service.open(None, "").session_id) != CHOSEN


# What no program of this kind wrote for settings: names that lead to a value, and the value; `...` takes it away.
DAMAGED = [
    ((), 5), ((), []), ((), {}),
    (("voice",), None), (("voice",), 3), (("speak",), 1), (("speak",), ...),
    (("seed",), -1), (("seed",), 2**31), (("seed",), "5"), (("seed",), 1.5), (("seed",), True),
    (("ode_points",), 1), (("ode_points",), 10**9), (("ode_points",), 5.5), (("ode_points",), True),
    (("ode_points",), ...),
    (("guidance",), -0.5), (("guidance",), 1e9), (("guidance",), "0.5"), (("guidance",), float("nan")),
    (("guidance",), 10**400), (("thinker",), None), (("talker",), []), (("thinker", "do_sample"), "yes"),
    (("thinker", "temperature"), 0), (("talker", "temperature"), float("inf")), (("talker", "temperature"), ...),
    (("thinker", "top_k"), -1), (("thinker", "top_k"), 1.5), (("talker", "top_p"), 1.5), (("talker", "top_p"), False),
    (("thinker", "repetition_penalty"), 0), (("thinker", "repetition_penalty"), 10**400),
    (("talker", "max_new_tokens"), 0), (("talker", "max_new_tokens"), "many"),
]  # fmt: skip


def damage(content: dict, names: tuple[str, ...], value) -> None:
    *way, last = ("settings", *names)
    for name in way:
        content = content[name]
    if value is ...:
        del content[last]
    else:
        content[last] = value


def test_changed_settings_are_refused(start, uploads):  # noqa: F811
    service, _, session = start()
    service.note_settings(session, CHOSEN, "")
    send(service, session, "one")
    whole = exported(service, session, uploads).read_bytes()
    for names, value in DAMAGED:
        path = uploads / "changed.zip"
        path.write_bytes(whole)
        changed(path, partial(damage, names=names, value=value))
        try:
            refused(service, path, "no conversation")
        except BaseException as error:
            raise AssertionError((names, value)) from error
    path.write_bytes(whole)
    refused(service, changed(path, lambda content: content.update(use_video_sound=0)), "no conversation")


def test_what_is_exported_twice_is_the_same(talked, uploads):  # noqa: F811
    service, _, _, path = talked
    back = service.take_in(path, "").session_id
    with zipfile.ZipFile(path) as first, zipfile.ZipFile(service.export(back)) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())
        for name in first.namelist():
            assert first.read(name) == second.read(name), name


def test_the_zip_is_of_use_without_the_program(talked):
    _, _, _, path = talked
    with zipfile.ZipFile(path) as source:
        names = set(source.namelist())
        messages = json.loads(source.read("messages.json"))
        chatml, markdown = source.read("chatml.txt").decode(), source.read("conversation.md").decode()
    assert {"conversation.json", "turn_1/photo.png", "turn_1.wav", "turn_1_take.wav"} <= names
    assert {"captions/turn_1_take.srt", "captions/turn_1_take.vtt"} <= names
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * 2]
    assert {"type": "image", "image": "turn_1/photo.png"} in messages[1]["content"]
    assert chatml.count("<|im_start|>") == 5 and "<|vision_bos|><|IMAGE|><|vision_eos|>" in chatml
    assert "> [photo.png](<turn_1/photo.png>)" in markdown and "> zwei" in markdown


def test_nothing_is_exported_of_nothing_or_in_the_middle(start):  # noqa: F811
    service, engine, session = start()
    with pytest.raises(BadInput, match="nothing to export"):
        service.export(session)
    engine.script = Script(words=("one",), hold_at_step=0)
    stream = service.submit(session, said("hi"), SILENT)
    assert engine.reached.wait(10)
    with pytest.raises(SessionBusy):
        service.export(session)
    engine.release.set()
    assert isinstance(drain(stream)[-1], TurnFinished)


def changed(path: Path, edit=None, main=None, **entries: bytes) -> Path:
    """The zip with other content: `edit(main)` changes the conversation, `entries` (slashes as __) replace files."""
    with zipfile.ZipFile(path) as source:
        files = {name: source.read(name) for name in source.namelist()}
    if edit is not None:
        content = json.loads(files["conversation.json"])
        edit(content)
        files["conversation.json"] = json.dumps(content).encode()
    if main is not None:
        files["conversation.json"] = main
    files |= {name.replace("__", "/"): value for name, value in entries.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, value in files.items():
            if value is not None:
                target.writestr(name, value)
    return path


def refused(service, path: Path, words: str) -> None:
    before = {one.relative_to(service._config.data_dir) for one in service._config.data_dir.rglob("*")}
    with pytest.raises(BadInput, match=words):
        service.take_in(path, "")
    after = {one.relative_to(service._config.data_dir) for one in service._config.data_dir.rglob("*")}
    assert after == before


@pytest.mark.parametrize(
    "name", ["../evil.wav", "/etc/passwd", "turn_1/../../evil", "evil.wav", "turn_1\\evil", "turn_1/a/b", ""]
)
def test_a_path_that_leads_elsewhere_is_refused(talked, name):
    service, _, _, path = talked

    def edit(content: dict) -> None:
        content["turns"][0]["takes"][0]["file"] = name
        content["sha256"][name] = hashlib.sha256(b"evil").hexdigest()

    refused(service, changed(path, edit, **({name.replace("/", "__"): b"evil"} if name else {})), "no conversation")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda c: c.update(version=2), "another version"),
        (lambda c: c.update(version="<b>"), "another version"),
        (lambda c: c.update(format="other"), "no conversation"),
        (lambda c: c.update(turns=5), "no conversation"),
        (lambda c: c.update(path=[1, 99]), "no conversation"),
        (lambda c: c.update(path=[4]), "no conversation"),
        (lambda c: c["turns"].append(c["turns"][0]), "no conversation"),
        (lambda c: c["turns"][0].update(parent=3), "no conversation"),
        (lambda c: c["turns"][0].update(number=-1), "no conversation"),
        (lambda c: c["turns"][0].update(number=True), "no conversation"),
        (lambda c: c["turns"][0].update(state="running"), "no conversation"),
        (lambda c: c["turns"][0].update(takes=[]), "no conversation"),
        (lambda c: c["turns"][0].update(chosen=7), "no conversation"),
        (lambda c: c["turns"][0].update(reply=None), "no conversation"),
        (lambda c: c["turns"][0].update(reply_ids="abc"), "no conversation"),
        (lambda c: c["turns"][0].update(num_states=10**9), "no conversation"),
        (lambda c: c["turns"][0]["files"][0].update(kind="program"), "no conversation"),
        (lambda c: c.pop("sha256"), "does not say"),
        (lambda c: c["sha256"].update({"turn_1.wav": "0" * 64}), "not what was exported"),
    ],
    ids=range(19),
)
def test_a_changed_conversation_is_refused(talked, edit, words):
    service, _, _, path = talked
    refused(service, changed(path, edit), words)


def test_other_files_are_refused(talked, uploads):  # noqa: F811
    service, _, _, path = talked
    refused(service, changed(path, turn_1__photo_png=b"x", **{"turn_1__photo.png": b"other"}), "not what was exported")
    refused(service, changed(path, **{"turn_1__photo.png": None}), "no zip")
    refused(service, changed(path, main=b"no json"), "no zip")
    refused(service, changed(path, main=b"[" * 100_000), "no zip")
    refused(service, changed(path, **{"conversation.json": None}), "no zip")
    for content in (b"", b"no zip at all", path.read_bytes()[:-30]):
        path.write_bytes(content)
        refused(service, path, "no zip")


def test_huge_files_and_bombs_are_refused(start, uploads):  # noqa: F811
    service, _, session = start(limits=MediaLimits(max_file_mb=1))
    talk(service, session, uploads)
    path = exported(service, session, uploads)
    bomb = b"\0" * 20_000_000

    def edit(content: dict) -> None:
        content["sha256"]["turn_1/photo.png"] = hashlib.sha256(bomb).hexdigest()

    refused(service, changed(path, edit, **{"turn_1__photo.png": bomb}), "20 MB and at most 1 MB")
    assert path.stat().st_size < 1_000_000
    # An entry that says that it is short.
    raw = path.read_bytes()
    path.write_bytes(raw.replace((20_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    refused(service, path, "no zip|longer than it says|not what was exported")


def test_only_uploads_are_opened(talked, tmp_path):
    service, _, _, path = talked
    outside = tmp_path / "outside.zip"
    outside.write_bytes(path.read_bytes())
    refused(service, outside, "Only uploaded files")


def test_captions_share_the_time_by_characters_and_cover_all_of_it():
    text = (
        "Hello there. "
        + "This sentence goes on for longer than a line of captions may be, so it is cut. "
        + "你好，世界。"
    )
    found = captions(text, 12.0)
    assert found[0].text == "Hello there." and found[0].start_s == 0 and found[-1].end_s == pytest.approx(12.0)
    assert all(one.end_s == other.start_s for one, other in zip(found, found[1:]))
    assert all(0 < len(one.text) <= 60 for one in found)
    assert " ".join(one.text for one in found).split() == text.split()
    assert captions("", 3.0) == captions("words", 0.0) == []
    assert to_srt(found).startswith("1\n00:00:00,000 --> 00:00:0")
    assert to_vtt(captions("a <b> & --> c", 1.0)).splitlines()[3] == "a &lt;b&gt; &amp; --&gt; c"
