"""Laws of many conversations behind one door: who finds which, what expires, which files are opened, what fails how."""

import errno
import os
import threading

import pytest

from app.config import Config
from app.errors import BadCheckpoint, BadInput, DemoError, SessionGone
from app.service import Service
from app.types.events import TextDelta, TurnFailed, TurnFinished, TurnInterrupted
from app.types.turn import FileInput, TextInput, TurnInput, TurnSettings
from tests.fake_engine import FAKE_PIPELINE, FakeEngine, Script, drain, fake_service, fake_spec, service_over

SHORT = Script(words=("one", "two"))
SILENT = TurnSettings(speak=False)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def uploads(tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder


@pytest.fixture
def engine():
    return FakeEngine(SHORT)


@pytest.fixture
def service(engine, tmp_path, uploads, clock):
    service = service_over(engine, tmp_path / "data", uploads, clock, keep_s=60.0)
    yield service
    service.close()


def text(words: str) -> TurnInput:
    return TurnInput((TextInput(words),))


def file(path) -> TurnInput:
    return TurnInput((TextInput("look"), FileInput(path)))


def test_a_reload_in_time_finds_its_conversation(service, clock):
    opened = service.open(None, "")
    drain(service.submit(opened.session_id, text("hi"), SILENT))
    service.leave(opened.session_id)
    clock.now = 59.0
    again = service.open(opened.secret, "")
    assert again.resumed and again.session_id == opened.session_id
    assert [record.user_text for record in service.transcript(again.session_id)] == ["hi"]
    clock.now = 1000.0
    service._sessions.sweep()
    assert service.transcript(again.session_id)


def test_a_reload_after_its_time_begins_anew_and_everything_of_the_old_one_is_gone(service, clock, engine, tmp_path):
    opened = service.open(None, "")
    drain(service.submit(opened.session_id, text("hi"), TurnSettings()))
    service.leave(opened.session_id)
    clock.now = 60.0
    again = service.open(opened.secret, "")
    assert not again.resumed and again.secret != opened.secret
    service._sessions.sweep()
    assert [path.name for path in (tmp_path / "data" / "sessions").iterdir()] == [again.session_id]
    assert all(state.is_closed for state in engine.states)
    with pytest.raises(SessionGone):
        service.submit(opened.session_id, text("hi"), SILENT)


@pytest.mark.parametrize(
    ("secret", "owner"), [("wrong", "anna"), (None, "anna"), ("", "anna"), ("right", "bob"), ("right", "")]
)
def test_a_wrong_secret_or_owner_gets_a_new_conversation(service, secret, owner):
    opened = service.open(None, "anna")
    drain(service.submit(opened.session_id, text("hi"), SILENT))
    service.leave(opened.session_id)
    other = service.open(opened.secret if secret == "right" else secret, owner)
    assert not other.resumed and other.session_id != opened.session_id
    assert service.transcript(other.session_id) == ()


def test_two_tabs_with_one_secret_do_not_share_a_conversation(service):
    first = service.open(None, "")
    second = service.open(first.secret, "")
    assert second.session_id != first.session_id and not second.resumed


def test_a_page_that_comes_back_before_its_leaving_was_noticed_waits_for_it(engine, tmp_path, uploads):
    config = Config(checkpoint="fake", data_dir=tmp_path / "data")
    service = Service(config, lambda progress: engine, pipeline=FAKE_PIPELINE, resume_wait_s=10.0)
    opened = service.open(None, "")
    found = []
    reload = threading.Thread(target=lambda: found.append(service.open(opened.secret, "")))
    reload.start()
    service.leave(opened.session_id)
    reload.join(10)
    assert found[0].resumed
    service.close()


def test_leaving_stops_the_reply_at_once(service, engine):
    engine.script = Script(words=("a", "b", "c"), hold_at_step=1)
    opened = service.open(None, "")
    stream = service.submit(opened.session_id, text("hi"), SILENT)
    assert engine.reached.wait(10)
    service.leave(opened.session_id)
    assert isinstance(drain(stream)[-1], TurnInterrupted)
    again = service.open(opened.secret, "")
    assert [record.state for record in service.transcript(again.session_id)] == ["interrupted"]


def test_conversations_side_by_side_see_nothing_of_each_other(service, uploads):
    sessions = [service.open(None, "").session_id for _ in range(3)]
    for number, session in enumerate(sessions):
        picture = uploads / f"{number}.png"
        picture.write_bytes(b"x")
        turn = TurnInput((TextInput(f"mine {number}"), FileInput(picture)))
        drain(service.submit(session, turn, TurnSettings()))
    folders = set()
    for number, session in enumerate(sessions):
        (record,) = service.transcript(session)
        assert record.user_text == f"mine {number}" and record.files[0].path.name == f"{number}.png"
        folders |= {record.wav.parent, record.files[0].path.parent.parent}
        assert record.wav.parent.stat().st_mode & 0o077 == 0
    assert len(folders) == 3


def test_conversations_that_run_at_once_each_get_their_own_reply(service):
    sessions = [service.open(None, "").session_id for _ in range(8)]
    streams = [
        service.submit(session, text("hi"), TurnSettings(say=f"reply {number}", speak=False))
        for number, session in enumerate(sessions)
    ]
    for number, stream in enumerate(streams):
        said = "".join(event.text for event in drain(stream) if isinstance(event, TextDelta))
        assert said == f"reply {number}"


def test_idle_caches_are_given_up_when_the_budget_is_exceeded_left_ones_first(engine, tmp_path, uploads):
    service = service_over(engine, tmp_path / "data", uploads, cache_gb=45_000 / 1e9)
    left, held, now = (service.open(None, "") for _ in range(3))
    for opened in (left, held):
        drain(service.submit(opened.session_id, text("x" * 30), SILENT))
    service.leave(left.session_id)
    drain(service.submit(now.session_id, text("x" * 30), SILENT))
    drain(service.submit(now.session_id, text("x"), SILENT))
    sizes = [service._sessions.get(opened.session_id).num_bytes for opened in (left, held, now)]
    assert sizes[0] == 0 and sizes[1] > 0 and sizes[2] > 0, sizes
    again = service.open(left.secret, "")
    assert again.resumed
    assert isinstance(drain(service.submit(again.session_id, text("still there?"), SILENT))[-1], TurnFinished)
    service.close()


def test_looking_at_what_a_turn_would_take_gives_up_nobodys_cache(tmp_path, uploads):
    engine = FakeEngine(SHORT, fake_spec(bytes_per_token=10**12))
    service = service_over(engine, tmp_path / "data", uploads)
    other, mine = (service.open(None, "").session_id for _ in range(2))
    engine.spec = fake_spec()
    drain(service.submit(other, text("x" * 30), SILENT))
    held = service._sessions.get(other).num_bytes
    engine.spec = fake_spec(bytes_per_token=10**12)
    assert not service.estimate(mine, text("hi")).fits
    assert service._sessions.get(other).num_bytes == held > 0
    failed = drain(service.submit(mine, text("hi"), SILENT))[-1]
    assert failed.code == "out_of_memory" and service._sessions.get(other).num_bytes == 0
    service.close()


def test_a_page_that_seemed_to_have_left_keeps_its_conversation_while_it_uses_it(service, clock, engine):
    """A phone that sleeps loses its connection and comes back to the same page."""
    session = service.open(None, "").session_id
    drain(service.submit(session, text("hi"), SILENT))
    service.leave(session)
    clock.now = 50.0
    engine.script = Script(words=("a", "b", "c"), hold_at_step=1)
    stream = service.submit(session, text("still there?"), SILENT)
    assert engine.reached.wait(10)
    clock.now = 500.0
    service._sessions.sweep()
    engine.release.set()
    assert isinstance(drain(stream)[-1], TurnFinished)
    clock.now = 559.0
    service._sessions.sweep()
    assert len(service.transcript(session)) == 2
    clock.now = 560.0
    service._sessions.sweep()
    with pytest.raises(SessionGone):
        service.transcript(session)


def test_what_a_killed_program_left_is_deleted_a_day_later(engine, tmp_path, uploads):
    old, young = (tmp_path / "data" / "sessions" / name for name in ("old", "young"))
    for folder in (old, young):
        (folder / "turn_1").mkdir(parents=True)
    os.utime(old, (0, 0))
    service_over(engine, tmp_path / "data", uploads).close()
    assert not old.exists() and young.exists()


# -- files ------------------------------------------------------------------------------------------------------------


def outside(tmp_path, uploads):
    path = tmp_path / "secret.png"
    path.write_bytes(b"x")
    return path


def dots(tmp_path, uploads):
    outside(tmp_path, uploads)
    return uploads / ".." / "secret.png"


def symlink(tmp_path, uploads):
    link = uploads / "link.png"
    link.symlink_to(outside(tmp_path, uploads))
    return link


def folder_symlink(tmp_path, uploads):
    outside(tmp_path, uploads)
    (uploads / "folder").symlink_to(tmp_path)
    return uploads / "folder" / "secret.png"


def missing(tmp_path, uploads):
    return uploads / "gone.png"


def folder(tmp_path, uploads):
    return uploads


def pipe(tmp_path, uploads):
    os.mkfifo(uploads / "pipe.png")
    return uploads / "pipe.png"


def url(tmp_path, uploads):
    return "https://example.org/a.png"


def zero_byte_name(tmp_path, uploads):
    return uploads / "a\0b.png"


def too_large(tmp_path, uploads):
    path = uploads / "large.png"
    with path.open("wb") as writer:
        writer.truncate(201_000_000)
    return path


REFUSED = [outside, dots, symlink, folder_symlink, missing, folder, pipe, url, zero_byte_name, too_large]


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_only_uploaded_files_are_opened(service, tmp_path, uploads, make):
    path = make(tmp_path, uploads)
    session = service.open(None, "").session_id
    with pytest.raises(BadInput):
        service.estimate(session, file(path))
    failed = drain(service.submit(session, file(path), SILENT))[-1]
    assert isinstance(failed, TurnFailed) and failed.code == "bad_input", failed
    assert [one for one in (tmp_path / "data" / "sessions").rglob("*") if one.is_file()] == []


def test_a_copy_has_a_safe_name_and_two_files_of_one_name_stay_two(service, uploads):
    (uploads / "b").mkdir()
    paths = [uploads / "My  été;$(rm).PNG", uploads / "b" / "My  été;$(rm).PNG"]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]))
    session = service.open(None, "").session_id
    drain(service.submit(session, TurnInput(tuple(map(FileInput, paths))), SILENT))
    (record,) = service.transcript(session)
    assert [one.path.name for one in record.files] == ["My_été_rm.png", "My_été_rm_2.png"]
    assert [one.path.read_bytes() for one in record.files] == [b"\0", b"\1"]


def test_more_files_than_allowed_get_a_sentence(service, uploads):
    picture = uploads / "a.png"
    picture.write_bytes(b"x")
    session = service.open(None, "").session_id
    failed = drain(service.submit(session, TurnInput((FileInput(picture),) * 11), SILENT))[-1]
    assert failed.code == "bad_input" and "11" in failed.message


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_full_disk_at_the_copy_fails_the_turn_with_a_sentence(service, uploads, tmp_path, monkeypatch):
    picture = uploads / "a.png"
    picture.write_bytes(b"x")
    session = service.open(None, "").session_id
    monkeypatch.setattr(os, "fchmod", full_disk)
    failed = drain(service.submit(session, file(picture), SILENT))[-1]
    assert failed.code == "storage_failed" and "disk space" in failed.message
    assert [one for one in (tmp_path / "data" / "sessions").rglob("*") if one.is_file()] == []


def test_a_full_disk_at_the_end_keeps_the_reply_and_says_so(service, engine, tmp_path):
    engine.script = Script(words=("a", "b"), hold_at_step=1)
    session = service.open(None, "").session_id
    stream = service.submit(session, text("hi"), TurnSettings())
    assert engine.reached.wait(10)
    (tmp_path / "data" / "sessions" / session).rmdir()
    engine.release.set()
    assert isinstance(drain(stream)[-1], TurnFinished)
    (record,) = service.transcript(session)
    assert (record.state, record.reply_text, record.wav) == ("done", "a b", None) and "disk space" in record.message


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "code"), [(ValueError("/home/anna/prompt"), "internal"), (MemoryError(), "out_of_memory")]
)
def test_what_nobody_expected_ends_the_turn_with_a_sentence_and_no_content_in_the_log(
    engine, tmp_path, uploads, caplog, error, code
):
    def broken(*_):
        raise error

    config = Config(checkpoint="fake", data_dir=tmp_path / "data")
    pipeline = type(FAKE_PIPELINE)(broken, FAKE_PIPELINE.render, FAKE_PIPELINE.render_past)
    service = Service(config, lambda progress: engine, upload_dirs=(uploads,), pipeline=pipeline)
    session = service.open(None, "").session_id
    failed = drain(service.submit(session, text("my secret"), SILENT))[-1]
    assert (type(failed), failed.code) == (TurnFailed, code)
    assert type(error).__name__ in caplog.text
    assert "anna" not in caplog.text and "my secret" not in caplog.text
    service.close()


def test_a_checkpoint_that_does_not_load_is_said_at_every_submit(tmp_path):
    def load(progress):
        raise BadCheckpoint("No such checkpoint: choose another.")

    service = Service(Config(checkpoint="x", data_dir=tmp_path), load, pipeline=FAKE_PIPELINE)
    assert service.ready.wait(10) and service.loading()[0] == "failed"
    session = service.open(None, "").session_id
    for _ in range(2):
        with pytest.raises(BadCheckpoint):
            service.submit(session, text("hi"), SILENT)
    with pytest.raises(BadCheckpoint):
        service.preview("Ethan")
    service.close()


def test_the_page_can_be_used_while_the_checkpoint_loads_and_a_waiting_turn_can_be_stopped(tmp_path, engine):
    may_load = threading.Event()

    def load(progress):
        progress("weights", 0.5)
        may_load.wait(20)
        return engine

    service = Service(Config(checkpoint="x", data_dir=tmp_path), load, pipeline=FAKE_PIPELINE)
    session = service.open(None, "").session_id
    stopped = service.submit(session, text("hi"), SILENT)
    service.interrupt(session)
    assert isinstance(drain(stopped)[-1], TurnInterrupted)
    waiting = service.submit(session, text("hi"), SILENT)
    assert not service.ready.is_set() and service.info.voices == ()
    may_load.set()
    assert isinstance(drain(waiting)[-1], TurnFinished)
    assert service.info.voices == engine.spec.voices
    service.close()


def test_closing_while_a_checkpoint_loads_breaks_it_off(tmp_path):
    begun, broken_off, never = threading.Event(), threading.Event(), threading.Event()

    def load(progress):
        try:
            while not never.wait(0.01):
                progress("weights", 0.5)
                begun.set()
        finally:
            broken_off.set()

    service = Service(Config(checkpoint="x", data_dir=tmp_path), load, pipeline=FAKE_PIPELINE)
    session = service.open(None, "").session_id
    stream = service.submit(session, text("hi"), SILENT)
    assert begun.wait(20)
    service.close()
    assert broken_off.is_set()
    assert isinstance(drain(stream)[-1], TurnInterrupted)


def test_a_report_of_a_page_that_is_gone_is_no_error(service):
    service.report_playback("gone", 1, 0.1, 0, 0)


def test_closing_ends_running_replies(service, engine):
    engine.script = Script(words=("a", "b"), hold_at_step=1)
    session = service.open(None, "").session_id
    stream = service.submit(session, text("hi"), SILENT)
    assert engine.reached.wait(10)
    service.close()
    assert isinstance(drain(stream)[-1], TurnInterrupted)


# -- previews ---------------------------------------------------------------------------------------------------------


def test_a_voice_preview_is_made_once_and_each_voice_has_its_own(service, engine):
    first, second = service.preview("Chelsie"), service.preview("Ethan")
    assert first.read_bytes() != second.read_bytes()
    num_states = len(engine.states)
    assert service.preview("Chelsie") == first and len(engine.states) == num_states
    assert all(state.is_closed for state in engine.states)


def test_an_unknown_voice_gets_a_sentence_that_names_those_there_are(service):
    with pytest.raises(BadInput, match="Chelsie, Ethan"):
        service.preview("../../etc/passwd")


def test_without_a_talker_there_is_no_preview(tmp_path, uploads):
    engine = FakeEngine(SHORT, fake_spec(has_talker=False, voices=()))
    service = service_over(engine, tmp_path / "data", uploads)
    with pytest.raises(DemoError, match="without speech"):
        service.preview("Chelsie")
    service.close()


def test_the_fake_service_serves_a_page(tmp_path):
    service = fake_service(tmp_path, (tmp_path,), tick_s=0.0, loading_s=0.0)
    session = service.open(None, "").session_id
    assert isinstance(drain(service.submit(session, text("hi"), TurnSettings()))[-1], TurnFinished)
    service.close()
