"""Conversations outlive their page and the program, however that ends; a bad disk costs a sentence and no more."""

import json
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from app.building import build_service
from app.config import Config
from app.errors import BadConfig, BadInput, SessionBusy, SessionGone
from app.service import STORE, Service
from app.types.events import TurnFinished
from app.types.turn import FileInput, TextInput, TurnInput, TurnSettings
from tests.fake_engine import FAKE_PIPELINE, FakeEngine, Script, drain, service_over
from tests.make_media import make_image, make_wav
from tests.test_carry import CHOSEN, DAMAGED, damage, records_of, talk
from tests.test_service_model import ids
from tests.test_session import SHORT, said, state_ids
from tests.test_session_versions import SILENT, send

DAY_S = 86_400.0


class Program:
    """Starts again and again over the same data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uploads = folder / "uploads"
        self.uploads.mkdir()
        self._running: list = []

    def start(self, script: Script = SHORT, **options):
        engine = FakeEngine(script)
        service = service_over(engine, self.folder / "data", self.uploads, **{"keep_days": 30} | options)
        self._running.append(service)
        return service, engine

    @property
    def database(self) -> Path:
        return self.folder / "data" / STORE

    def end(self) -> None:
        for service in self._running:
            service.close()
        self._running.clear()


def wait_kept(database: Path, num_turns: int) -> None:
    """A message is kept beside its answer, which does not wait for the disk."""
    with sqlite3.connect(database) as reading:
        while reading.execute("SELECT count(*) FROM turns").fetchone() != (num_turns,):
            threading.Event().wait(0.01)
    reading.close()


@pytest.fixture
def program(tmp_path):
    made = Program(tmp_path)
    yield made
    made.end()


def test_after_a_restart_the_page_finds_its_conversation_and_goes_on_with_it(program):
    service, engine = program.start()
    opened = service.open(None, "ann")
    talk(service, opened.session_id, program.uploads)
    before = records_of(service, opened.session_id)
    program.end()
    service, engine = program.start()
    again = service.open(opened.secret, "ann")
    assert again.resumed and again.session_id == opened.session_id
    assert records_of(service, again.session_id) == before
    send(service, again.session_id, "four")
    whole = state_ids(engine)
    assert service.transcript(again.session_id)[-1].turn == 5
    fresh = service.open(None, "ann").session_id
    talk(service, fresh, program.uploads)
    send(service, fresh, "four")
    assert state_ids(engine) == whole


PIRATE = "You are a pirate."


def kept(service: Service, session: str) -> tuple[TurnSettings, str, bool]:
    """How the next turn would be answered."""
    return service.settings(session), service.system_prompt(session), service.use_video_sound(session)


def test_the_settings_are_after_a_restart_as_they_were_left(program):
    service, _ = program.start()
    opened = service.open(None, "", "browser")
    session = opened.session_id
    service.note_settings(session, replace(CHOSEN, ode_points=7), PIRATE)
    send(service, session, "one")
    # What is changed after the last turn is kept too, another prompt apart: the model has read this one.
    service.note_settings(session, CHOSEN, "Another prompt.")
    service.note_settings(session, CHOSEN, "Another prompt.", use_video_sound=False)
    program.end()
    service, _ = program.start()
    assert service.open(opened.secret, "", "browser").resumed
    assert kept(service, session) == (CHOSEN, PIRATE, False)
    service.leave(session)
    assert service.choose(session, "", "browser").session_id == session
    assert kept(service, session) == (CHOSEN, PIRATE, False)
    # A live turn, which knows nothing of videos with sound, leaves that as it is.
    service.note_settings(session, replace(CHOSEN, ode_points=7), PIRATE)
    assert kept(service, session) == (replace(CHOSEN, ode_points=7), PIRATE, False)
    other = service.open(None, "", "browser").session_id
    ours = replace(service.default_settings, voice=service.info.voices[0])
    assert kept(service, other) == (ours, service.default_system_prompt, True)


def test_a_page_reloaded_before_anything_was_said_has_its_settings_and_a_cleared_one_too(program):
    service, _ = program.start()
    opened = service.open(None, "")
    service.note_settings(opened.session_id, CHOSEN, PIRATE, use_video_sound=False)
    service.leave(opened.session_id)
    assert service.open(opened.secret, "").session_id == opened.session_id
    assert kept(service, opened.session_id) == (CHOSEN, PIRATE, False)
    send(service, opened.session_id, "one")
    service.reset(opened.session_id)
    assert kept(service, opened.session_id) == (CHOSEN, PIRATE, False)


def head_of(database: Path) -> dict:
    reading = sqlite3.connect(database)
    ((head,),) = reading.execute("SELECT head FROM sessions").fetchall()
    reading.close()
    return json.loads(head)


def change_head(database: Path, change) -> None:
    head = head_of(database)
    change(head)
    writing = sqlite3.connect(database)
    writing.execute("UPDATE sessions SET head = ?", (json.dumps(head),))
    writing.commit()
    writing.close()


def test_what_the_checkpoint_does_by_itself_is_not_written_down(program):
    service, _ = program.start()
    opened = service.open(None, "")
    service.note_settings(opened.session_id, service.settings(opened.session_id), service.default_system_prompt)
    send(service, opened.session_id, "one")
    program.end()
    assert head_of(program.database)["settings"] is None


def test_a_data_folder_of_an_earlier_program_opens_with_all_that_was_said(program):
    service, _ = program.start()
    opened = service.open(None, "")
    service.note_settings(opened.session_id, CHOSEN, PIRATE, use_video_sound=False)
    talk(service, opened.session_id, program.uploads)
    before = records_of(service, opened.session_id)
    program.end()
    # What that program wrote, name by name.
    for name in ("settings", "use_video_sound"):
        change_head(program.database, lambda head, name=name: head.pop(name))
    assert set(head_of(program.database)) == {"format", "version", "system_prompt", "path"}
    service, _ = program.start()
    again = service.open(opened.secret, "")
    assert again.resumed and records_of(service, again.session_id) == before
    ours = replace(service.default_settings, voice=service.info.voices[0])
    assert kept(service, again.session_id) == (ours, PIRATE, True)
    service.note_settings(again.session_id, CHOSEN, PIRATE)
    program.end()
    service, _ = program.start()
    assert service.settings(service.open(opened.secret, "").session_id) == CHOSEN


def test_damaged_settings_cost_the_settings_and_not_what_was_said(program):
    service, _ = program.start()
    opened = service.open(None, "")
    service.note_settings(opened.session_id, CHOSEN, PIRATE)
    send(service, opened.session_id, "one")
    program.end()
    whole = head_of(program.database)
    for names, value in DAMAGED:
        change_head(program.database, partial(dict.update, **whole))
        change_head(program.database, partial(damage, names=names, value=value))
        service, _ = program.start()
        again = service.open(opened.secret, "")
        assert again.resumed and len(service.transcript(again.session_id)) == 1, (names, value)
        expected = replace(service.default_settings, voice=service.info.voices[0])
        assert service.settings(again.session_id) == expected, (names, value)
        program.end()
    change_head(program.database, lambda head: head.update(whole, use_video_sound="no"))
    service, _ = program.start()
    assert service.open(opened.secret, "").resumed and service.use_video_sound(opened.session_id)


@pytest.mark.parametrize(
    "odd",
    [
        replace(CHOSEN, ode_points=1),
        replace(CHOSEN, guidance=float("nan")),
        replace(CHOSEN, seed=-1),
        replace(CHOSEN, talker=replace(CHOSEN.talker, top_p=2.0)),
    ],
    ids=range(4),
)
def test_settings_that_cannot_work_are_not_kept(program, odd):
    service, _ = program.start()
    session = service.open(None, "").session_id
    service.note_settings(session, CHOSEN, "")
    with pytest.raises(BadInput):
        service.note_settings(session, odd, "")
    assert service.settings(session) == CHOSEN


def test_until_the_checkpoint_is_there_only_settings_that_somebody_chose_are_kept(program):
    service, _ = program.start()
    opened = service.open(None, "")
    service.note_settings(opened.session_id, CHOSEN, "")
    send(service, opened.session_id, "one")
    program.end()
    go = threading.Event()

    def load(progress):
        assert go.wait(10)
        return FakeEngine(SHORT)

    config = Config(checkpoint="fake", data_dir=program.folder / "data")
    service = Service(config, load, pipeline=FAKE_PIPELINE, resume_wait_s=0.0)
    try:
        old, new = service.open(opened.secret, "").session_id, service.open(None, "").session_id
        # A page that is loading has no voices.
        for session in (old, new):
            service.note_settings(session, replace(CHOSEN, voice="", ode_points=9), "")
        go.set()
        assert service.ready.wait(10)
        assert service.settings(old) == replace(CHOSEN, ode_points=9)
        assert service.settings(new) == replace(service.default_settings, voice=service.info.voices[0])
    finally:
        go.set()
        service.close()


def test_a_prompt_changed_under_a_running_reply_is_not_taken_for_the_one_that_it_read(program):
    service, engine = program.start(Script(words=("one",), hold_at_step=0))
    session = service.open(None, "").session_id
    service.note_settings(session, CHOSEN, PIRATE)
    stream = service.submit(session, said("hi"), SILENT)
    assert engine.reached.wait(10)
    service.note_settings(session, CHOSEN, "Another prompt.")
    engine.release.set()
    drain(stream)
    assert service.system_prompt(session) == PIRATE


def test_nobody_else_finds_it(program):
    service, _ = program.start()
    opened = service.open(None, "ann")
    send(service, opened.session_id, "one")
    program.end()
    service, _ = program.start()
    for secret, owner in ((opened.secret, "bob"), (opened.secret, ""), ("x" * 43, "ann"), (opened.session_id, "ann")):
        assert not service.open(secret, owner).resumed
    assert service.open(opened.secret, "ann").resumed
    assert opened.secret.encode() not in program.database.read_bytes()


def test_a_page_that_left_long_ago_finds_its_conversation(program):
    service, engine = program.start(keep_s=0)
    opened = service.open(None, "")
    send(service, opened.session_id, "one")
    service.leave(opened.session_id)
    assert service._sessions.sweep() <= 1 and service._sessions.num_sessions == 0
    assert all(state.is_closed for state in engine.states)
    again = service.open(opened.secret, "")
    assert again.resumed and [record.user_text for record in service.transcript(again.session_id)] == ["one"]


@pytest.mark.parametrize("deed", ["reset", "take_back", "drop_oldest", "show_version", "cut"])
def test_what_a_person_does_to_a_conversation_is_kept_too(program, deed):
    service, _ = program.start()
    opened = service.open(None, "")
    session = opened.session_id
    talk(service, session, program.uploads)
    drain(service.submit(session, said("last"), TurnSettings()))
    match deed:
        case "reset":
            service.reset(session)
        case "take_back":
            service.take_back(session, 5)
        case "drop_oldest":
            service.drop_oldest(session, 1)
        case "show_version":
            service.show_version(session, 2)
        case "cut":
            assert service.cut(session, 5, 2400) is not None
    before = records_of(service, session)
    program.end()
    service, _ = program.start()
    again = service.open(opened.secret, "")
    assert again.resumed == (deed != "reset")
    assert records_of(service, again.session_id) == before


def test_a_turn_that_the_end_of_the_program_broke_is_marked_and_the_others_are_there(program):
    service, engine = program.start()
    opened = service.open(None, "")
    send(service, opened.session_id, "one")
    engine.script = Script(words=("a", "b", "c"), hold_at_step=1)
    service.submit(opened.session_id, said("two"), SILENT)
    assert engine.reached.wait(10)
    wait_kept(program.database, 2)
    # As after a power cut: the file as it is now, and no farewell.
    copy = program.folder / "copy"
    copy.mkdir()
    (copy / "uploads").mkdir()
    subprocess.run(["cp", "-r", str(program.folder / "data"), str(copy)], check=True)
    engine.release.set()
    later = Program.__new__(Program)
    later.folder, later.uploads, later._running = copy, copy / "uploads", []
    service, engine = later.start()
    try:
        again = service.open(opened.secret, "")
        records = service.transcript(again.session_id)
        assert [(record.user_text, record.state, record.reply_text) for record in records] == [
            ("one", "done", "one two three"),
            ("two", "interrupted", ""),
        ]
        send(service, again.session_id, "three")
        whole = state_ids(engine)
        fresh = service.open(None, "").session_id
        send(service, fresh, "one", "three")
        assert state_ids(engine) == whole
    finally:
        later.end()


def listed(service, owner="", visitor="browser", words=""):
    return [(one.title, one.num_turns) for one in service.listed(owner, visitor, words)]


def test_a_browser_lists_searches_renames_and_deletes_its_own(program):
    service, _ = program.start()
    first, second = (service.open(None, "", "browser") for _ in range(2))
    send(service, first.session_id, "The weather in May", "and in June?")
    send(service, second.session_id, "100 % of it")
    stranger = service.open(None, "", "other browser")
    send(service, stranger.session_id, "mine")
    nobody = service.open(None, "", "")
    send(service, nobody.session_id, "nobody's")
    assert listed(service) == [("100 % of it", 1), ("The weather in May", 2)]
    assert listed(service, visitor="") == [] and listed(service, owner="ann") == []
    assert listed(service, words="june") == listed(service, words="weather") == [("The weather in May", 2)]
    assert listed(service, words="%") == [("100 % of it", 1)] and listed(service, words="_") == []
    service.rename(first.session_id, "", "browser", "  Weather\nreport ")
    send(service, first.session_id, "and now?")
    assert listed(service)[0] == ("Weather report", 3)
    with pytest.raises(BadInput, match="needs a name"):
        service.rename(first.session_id, "", "browser", " ")
    for deed in (service.choose, service.delete, lambda *who: service.rename(*who, "mine now")):
        with pytest.raises(SessionGone):
            deed(stranger.session_id, "", "browser")
        with pytest.raises(SessionGone):
            deed(nobody.session_id, "", "")
    with pytest.raises(SessionBusy, match="open in another tab"):
        service.delete(first.session_id, "", "browser")
    service.leave(first.session_id)
    folder = program.folder / "data" / "sessions" / first.session_id
    assert folder.exists()
    service.delete(first.session_id, "", "browser")
    assert not folder.exists() and listed(service) == [("100 % of it", 1)]
    assert not service.open(first.secret, "", "browser").resumed


def test_a_conversation_of_the_list_goes_on_with_a_new_secret(program):
    service, engine = program.start()
    opened = service.open(None, "", "browser")
    send(service, opened.session_id, "one", "two")
    with pytest.raises(SessionBusy):
        service.choose(opened.session_id, "", "browser")
    service.leave(opened.session_id)
    chosen = service.choose(opened.session_id, "", "browser")
    assert chosen.secret != opened.secret
    send(service, chosen.session_id, "three")
    program.end()
    service, engine = program.start()
    assert not service.open(opened.secret, "", "browser").resumed
    again = service.choose(opened.session_id, "", "browser")
    send(service, again.session_id, "four")
    whole = state_ids(engine)
    fresh = service.open(None, "").session_id
    send(service, fresh, "one", "two", "three", "four")
    assert state_ids(engine) == whole


def test_who_logs_in_finds_their_own_in_every_browser(program):
    service, _ = program.start()
    opened = service.open(None, "ann", "browser")
    send(service, opened.session_id, "mine")
    assert listed(service, "ann", "another browser") == [("mine", 1)]
    assert listed(service, "bob", "browser") == listed(service, "", "browser") == []


def test_old_conversations_go_and_so_do_the_longest_unused_of_too_many(program, monkeypatch):
    service, _ = program.start()
    opened = [service.open(None, "") for _ in range(3)]
    for one in opened:
        drain(service.submit(one.session_id, said("one"), TurnSettings()))
    program.end()
    database = sqlite3.connect(program.database)
    database.execute("UPDATE sessions SET used_s = used_s - ? WHERE id = ?", (40 * DAY_S, opened[0].session_id))
    database.execute("UPDATE sessions SET used_s = used_s - ? WHERE id = ?", (3 * DAY_S, opened[1].session_id))
    database.commit()
    database.close()
    service, _ = program.start()
    assert [service.open(one.secret, "").resumed for one in opened] == [False, True, True]
    program.end()
    folders = program.folder / "data" / "sessions"
    assert not (folders / opened[0].session_id).exists() and (folders / opened[1].session_id).exists()
    size = sum(path.stat().st_size for path in (folders / opened[2].session_id).rglob("*"))
    service, _ = program.start(keep_gb=1.5 * size / 1e9)
    assert [service.open(one.secret, "").resumed for one in opened] == [False, False, True]
    program.end()
    service, _ = program.start(keep_days=0)
    assert not service.open(opened[2].secret, "").resumed


def test_a_damaged_file_or_one_of_another_version_is_left_as_it_is(program):
    service, _ = program.start()
    send(service, service.open(None, "").session_id, "one")
    program.end()
    whole = program.database.read_bytes()
    for content in (b"this is no database" * 100, whole[:2000] + b"\xff" * 3000 + whole[5000:]):
        program.database.write_bytes(content)
        with pytest.raises(BadConfig, match="move it away"):
            program.start()
        assert program.database.read_bytes() == content
    program.database.write_bytes(whole)
    other = sqlite3.connect(program.database)
    other.execute("PRAGMA user_version = 7")
    other.close()
    with pytest.raises(BadConfig, match="another version"):
        program.start()


def test_a_locked_file_costs_a_sentence_and_the_conversation_goes_on(program, monkeypatch):
    monkeypatch.setattr("app.session.store.BUSY_S", 0.1)
    service, _ = program.start()
    opened = service.open(None, "")
    send(service, opened.session_id, "one")
    other = sqlite3.connect(program.database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    send(service, opened.session_id, "two")
    assert "could not be kept" in service.transcript(opened.session_id)[1].message
    other.execute("ROLLBACK")
    other.close()
    send(service, opened.session_id, "three")
    program.end()
    service, _ = program.start()
    again = service.open(opened.secret, "")
    assert [record.user_text for record in service.transcript(again.session_id)] == ["one", "two", "three"]


def test_a_damaged_row_begins_a_new_conversation_and_stays(program):
    service, _ = program.start()
    opened = service.open(None, "")
    send(service, opened.session_id, "one")
    program.end()
    database = sqlite3.connect(program.database)
    database.execute("UPDATE turns SET content = '{}'")
    database.commit()
    database.close()
    service, _ = program.start()
    assert not service.open(opened.secret, "").resumed


KILLED = """
import sys, threading
from pathlib import Path
from dataclasses import replace
from app.config import Config
from app.building import build_service
from app.service import STORE
from app.types.events import TextDelta
from app.types.turn import FileInput, TextInput, TurnInput
from tests.test_store import wait_kept

checkpoint, folder = sys.argv[1], Path(sys.argv[2])
config = Config(checkpoint=checkpoint, device="cpu", data_dir=folder / "data")
service = build_service(config, (folder,))
service.ready.wait()
settings = service.default_settings
thinker, talker = replace(settings.thinker.greedy(), max_new_tokens=6), replace(settings.talker, max_new_tokens=40)
settings = replace(settings, seed=5, thinker=thinker, talker=talker)
opened = service.open(None, "")
for number, name in enumerate(("a.png", "a.wav"), 1):
    message = TurnInput((FileInput(folder / name), TextInput(str(number))))
    for event in service.submit(opened.session_id, message, settings):
        pass
thinker, talker = replace(thinker, max_new_tokens=5000), replace(talker, max_new_tokens=9000)
long = replace(settings, thinker=thinker, talker=talker)
for event in service.submit(opened.session_id, TurnInput((TextInput("and on"),)), long):
    if isinstance(event, TextDelta):
        wait_kept(folder / "data" / STORE, 3)
        print(opened.secret, flush=True)
        threading.Event().wait()
"""


def test_killed_in_the_middle_of_a_reply_nothing_that_was_finished_is_lost(tiny_checkpoint, tmp_path):
    make_image(tmp_path / "a.png")
    make_wav(tmp_path / "a.wav", seconds=1.0)
    command = [sys.executable, "-c", KILLED, str(tiny_checkpoint), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    secret = process.stdout.readline().strip()
    process.kill()
    process.wait()
    watchdog.cancel()
    assert secret
    config = Config(checkpoint=str(tiny_checkpoint), device="cpu", data_dir=tmp_path / "data")
    service = build_service(config, (tmp_path,))
    try:
        assert service.ready.wait(120)
        back = service.open(secret, "")
        records = service.transcript(back.session_id)
        assert [record.state for record in records] == ["done", "done", "interrupted"]
        assert all(file.path.is_file() for record in records for file in record.files)
        assert records[0].wav.is_file() and records[1].wav.is_file() and records[2].wav is None
        settings = service.default_settings
        settings = replace(settings, speak=False, thinker=replace(settings.thinker.greedy(), max_new_tokens=6))
        fresh = service.open(None, "").session_id
        for number, name in enumerate(("a.png", "a.wav"), 1):
            message = TurnInput((FileInput(tmp_path / name), TextInput(str(number))))
            drain(service.submit(fresh, message, settings))
        four = TurnInput((TextInput("four"),))
        events = [drain(service.submit(session, four, settings)) for session in (fresh, back.session_id)]
        assert isinstance(events[1][-1], TurnFinished) and ids(events[0]) == ids(events[1])
    finally:
        service.close()


FULL = """
import json, subprocess, sys
from pathlib import Path
from app.errors import DemoError
from app.types.turn import TurnSettings
from tests.fake_engine import FakeEngine, drain, service_over
from tests.test_session import SHORT, said

data, uploads = Path(sys.argv[1]), Path(sys.argv[2])
told = {}

def start():
    return service_over(FakeEngine(SHORT), data, uploads, keep_days=30)

def say(session, text):
    return type(drain(service.submit(session, said(text), TurnSettings()))[-1]).__name__

service = start()
opened = service.open(None, "", "browser")
say(opened.session_id, "one")
ballast = data / "ballast"
with ballast.open("wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
told["end"] = say(opened.session_id, "two")
told["messages"] = [record.message for record in service.transcript(opened.session_id)]
told["waves"] = [record.wav is not None for record in service.transcript(opened.session_id)]
try:
    service.export(opened.session_id)
except DemoError as error:
    told["export"] = error.message
try:
    service.preview("Chelsie")
except DemoError as error:
    told["preview"] = error.message
ballast.unlink()
told["after"] = say(opened.session_id, "three")
service.close()
service = start()
back = service.open(opened.secret, "", "browser")
told["kept"] = [(record.user_text, record.reply_text, record.wav is not None and record.wav.is_file())
    for record in service.transcript(back.session_id)]
service.close()
subprocess.run(["mount", "-o", "remount,ro", str(data)], check=True)
try:
    start()
except DemoError as error:
    told["read_only"] = error.message
print(json.dumps(told))
"""


def test_on_a_full_disk_talk_goes_on_and_all_is_kept_once_there_is_room(tmp_path):
    disk, uploads = tmp_path / "disk", tmp_path / "uploads"
    disk.mkdir()
    uploads.mkdir()
    # A disk of 2 MB of one's own, which only this process and its children see.
    inside = 'mount -t tmpfs -o size=2m tmpfs "$1" && exec "$3" -c "$4" "$1" "$2"'
    command = ["unshare", "-Urm", "sh", "-c", inside, "sh", str(disk), str(uploads), sys.executable, FULL]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, timeout=120)
    if any(words in done.stderr for words in ("unshare failed", "Operation not permitted", "permission denied")):
        pytest.skip(f"this system lets nobody mount a small disk: {done.stderr.strip()[:100]}")
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["end"] == told["after"] == "TurnFinished" and told["waves"] == [True, False]
    assert told["messages"][0] == "" and "disk" in told["messages"][1]
    assert all("free some disk space" in told[deed] for deed in ("export", "preview"))
    texts = [(text, is_heard) for text, _, is_heard in told["kept"]]
    assert "make it writable" in told["read_only"]
    assert texts == [("one", True), ("two", False), ("three", True)] and all(reply for _, reply, _ in told["kept"])
