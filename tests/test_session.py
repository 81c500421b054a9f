"""Laws of one conversation, over an engine without a model."""

import json
import queue
import threading
from collections import Counter

import numpy as np
import pytest
import soundfile

from app.errors import BadInput, SessionBusy
from app.types.events import (
    TERMINAL,
    AudioChunk,
    CodecDelta,
    Prefilled,
    StageTimed,
    TextDelta,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    TurnQueued,
    TurnStarted,
)
from app.types.turn import FileInput, TextInput, TurnInput, TurnSettings
from tests.fake_engine import FakeEngine, Script, drain, fake_spec, service_over, word_id

SHORT = Script(words=("one", "two", "three"), steps_per_word=20)
SILENT = TurnSettings(speak=False)


def said(text: str, *files) -> TurnInput:
    return TurnInput((TextInput(text), *(FileInput(file) for file in files)))


@pytest.fixture
def uploads(tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder


@pytest.fixture
def start(tmp_path, uploads):
    """Builds a service with one open session; closes what it built."""
    built = []

    def build(script=SHORT, spec=None, **options):
        engine = FakeEngine(script, spec)
        service = service_over(engine, tmp_path / "data", uploads, **options)
        built.append(service)
        return service, engine, service.open(None, "").session_id

    yield build
    for service in built:
        service.close()


def state_ids(engine, index=-1):
    live = [state for state in engine.states if not state.is_closed]
    return live[index].ids + list(live[index].pending_ids)


def test_a_turn_is_queued_started_streamed_and_ends_once(start):
    service, _, session = start()
    events = drain(service.submit(session, said("hi"), TurnSettings()))
    kinds = [type(event) for event in events]
    first = next(index for index, kind in enumerate(kinds) if kind is not TurnQueued)
    assert kinds[first] is TurnStarted
    assert sum(kind in TERMINAL for kind in kinds) == 1 and kinds[-1] is TurnFinished
    assert set(kinds) >= {Prefilled, TextDelta, CodecDelta, AudioChunk, StageTimed}
    assert {event.stage for event in events if isinstance(event, StageTimed)} >= {"decode", "render"}
    assert all(event.turn == 1 for event in events)
    times = [event.t_s for event in events]
    assert times == sorted(times)


def test_the_record_holds_the_reply_its_sound_and_its_waterfall(start):
    service, _, session = start()
    events = drain(service.submit(session, said("hi"), TurnSettings(voice="Ethan")))
    (record,) = service.transcript(session)
    assert (record.user_text, record.reply_text, record.state, record.voice) == ("hi", "one two three", "done", "Ethan")
    chunks = [event.samples for event in events if isinstance(event, AudioChunk)]
    samples, sample_rate = soundfile.read(record.wav, dtype="float32")
    assert sample_rate == 24_000 and soundfile.info(record.wav).subtype == "PCM_16"
    np.testing.assert_allclose(samples, np.concatenate(chunks), atol=1 / 32_000)
    stored = json.loads((record.wav.parent / "turn_1.json").read_text())
    assert stored == record.timings
    assert stored["num_new"] > 0 and stored["num_reused"] == 0 and stored["first_packet_s"] > 0
    assert stored["audio_s"] == pytest.approx(len(samples) / sample_rate)


def test_the_next_turn_reuses_the_cache_and_adds_only_itself(start):
    service, _, session = start()
    drain(service.submit(session, said("hello there"), SILENT))
    events = drain(service.submit(session, said("hi"), SILENT))
    prefilled = next(event for event in events if isinstance(event, Prefilled))
    assert prefilled.num_reused > 0 and prefilled.num_new < 12, prefilled


def test_a_submit_during_a_reply_is_refused_and_changes_nothing(start):
    service, engine, session = start(Script(words=("a", "b", "c"), hold_at_step=2))
    stream = service.submit(session, said("first"), SILENT)
    assert engine.reached.wait(10)
    with pytest.raises(SessionBusy):
        service.submit(session, said("second"), SILENT)
    with pytest.raises(SessionBusy):
        service.drop_oldest(session)
    assert [record.state for record in service.transcript(session)] == ["running"]
    engine.release.set()
    assert isinstance(drain(stream)[-1], TurnFinished)
    assert [record.user_text for record in service.transcript(session)] == ["first"]


def test_stop_in_mid_reply_keeps_what_was_said_and_nothing_but_the_end_follows(start):
    service, engine, session = start(Script(words=("a", "b", "c", "d"), steps_per_word=30, hold_at_step=70))
    stream = service.submit(session, said("hi"), TurnSettings())
    assert engine.reached.wait(10)
    while stream.get(0) is not None:
        pass
    service.interrupt(session)
    events = drain(stream)
    assert [type(event) for event in events] == [TurnInterrupted] and events[0].heard_text == "a b c"
    (record,) = service.transcript(session)
    assert (record.state, record.reply_text) == ("interrupted", "a b c")
    assert soundfile.info(record.wav).frames > 0
    events = drain(service.submit(session, said("go on"), SILENT))
    assert next(event for event in events if isinstance(event, Prefilled)).num_reused > 0


def test_stop_before_the_first_token_leaves_no_trace_in_the_context(start):
    service, engine, session = start(Script(words=("a",), hold_at_step=0))
    stream = service.submit(session, said("hi"), SILENT)
    assert engine.reached.wait(10)
    service.interrupt(session)
    assert isinstance(drain(stream)[-1], TurnInterrupted)
    (record,) = service.transcript(session)
    assert (record.state, record.reply_text) == ("interrupted", "")
    engine.script = SHORT
    events = drain(service.submit(session, said("hi"), SILENT))
    assert next(event for event in events if isinstance(event, Prefilled)).num_reused == 0


def test_stop_while_the_turn_waits_in_the_queue_ends_it(start):
    service, engine, first = start(Script(words=("a", "b"), hold_at_step=1))
    second = service.open(None, "").session_id
    running = service.submit(first, said("one"), SILENT)
    assert engine.reached.wait(10)
    waiting = service.submit(second, said("two"), SILENT)
    queued = waiting.get(10)
    assert isinstance(queued, TurnQueued) and queued.num_ahead == 1
    service.interrupt(second)
    engine.release.set()
    assert isinstance(drain(waiting)[-1], TurnInterrupted)
    assert isinstance(drain(running)[-1], TurnFinished)


def test_a_failed_turn_leaves_the_session_as_it_was(start):
    service, engine, session = start()
    drain(service.submit(session, said("before"), SILENT))
    before = state_ids(engine)
    engine.script = Script(words=("a", "b", "c"), fail_at_step=2)
    failed = drain(service.submit(session, said("bad"), SILENT))[-1]
    assert isinstance(failed, TurnFailed) and state_ids(engine) == before
    assert service.transcript(session)[-1].state == "failed"
    engine.script = SHORT
    assert isinstance(drain(service.submit(session, said("after"), SILENT))[-1], TurnFinished)


def test_a_turn_that_fails_in_mid_reply_leaves_no_file(start, uploads, tmp_path):
    service, engine, session = start(Script(words=("a", "b", "c"), steps_per_word=30, fail_at_step=80))
    picture = uploads / "a.png"
    picture.write_bytes(b"x")
    events = drain(service.submit(session, said("look", picture), TurnSettings()))
    assert isinstance(events[-1], TurnFailed) and any(isinstance(event, AudioChunk) for event in events)
    (record,) = service.transcript(session)
    assert (record.reply_text, record.wav, record.files) == ("", None, ()) and record.message == events[-1].message
    assert [path for path in (tmp_path / "data" / "sessions").rglob("*") if path.is_file()] == []


def test_a_turn_that_cannot_be_decoded_fails_with_a_sentence_and_leaves_no_file(start, uploads, tmp_path):
    service, engine, session = start()
    drain(service.submit(session, said("before"), SILENT))
    before, files = state_ids(engine), set((tmp_path / "data").rglob("*"))
    bad = uploads / "bad.png"
    bad.write_bytes(b"corrupt")
    failed = drain(service.submit(session, said("look", bad), SILENT))[-1]
    assert isinstance(failed, TurnFailed) and failed.code == "bad_input"
    assert state_ids(engine) == before and set((tmp_path / "data").rglob("*")) == files


def test_dropping_the_oldest_turns_equals_never_having_had_them(start):
    service, engine, session = start()
    for text in ("one", "two", "three"):
        drain(service.submit(session, said(text), SILENT))
    assert service.drop_oldest(session, 2) == 1
    assert [record.user_text for record in service.transcript(session)] == ["three"]
    drain(service.submit(session, said("four"), SILENT))
    dropped = state_ids(engine)
    other = service.open(None, "").session_id
    for text in ("three", "four"):
        drain(service.submit(other, said(text), SILENT))
    assert dropped == state_ids(engine)


@pytest.mark.parametrize(("num_turns", "num_left"), [(0, 2), (-1, 2), (1, 1), (2, 0), (99, 0)])
def test_dropping_says_how_many_turns_stay(start, num_turns, num_left):
    service, _, session = start()
    for text in ("one", "two"):
        drain(service.submit(session, said(text), SILENT))
    assert service.drop_oldest(session, num_turns) == num_left
    assert len(service.transcript(session)) == num_left


def test_a_cache_that_was_freed_is_written_afresh_by_the_next_turn(start):
    service, engine, session = start()
    for text in ("one", "two"):
        drain(service.submit(session, said(text), SILENT))
    expected = state_ids(engine)
    service._sessions.get(session).free_cache()
    engine.script = Script(words=())
    drain(service.submit(session, said("x"), SILENT))
    assert state_ids(engine)[: len(expected)] == expected


def test_clear_forgets_turns_and_files_and_takes_a_new_system_prompt(start, uploads, tmp_path):
    service, engine, session = start()
    picture = uploads / "a.png"
    picture.write_bytes(b"x")
    drain(service.submit(session, said("hi", picture), TurnSettings()))
    service.reset(session, "Be brief.")
    assert service.transcript(session) == ()
    assert [path for path in (tmp_path / "data" / "sessions").rglob("*") if path.is_file()] == []
    events = drain(service.submit(session, said("hi"), SILENT))
    prefilled = next(event for event in events if isinstance(event, Prefilled))
    assert (prefilled.num_reused, prefilled.num_new) == (0, len("Be brief.") + 3 + len("hi") + 5)
    assert events[-1].turn == 2


def test_the_system_prompt_of_a_turn_holds_if_it_begins_the_conversation(start):
    service, engine, session = start()
    bad = service.submit(session, said("   "), SILENT, "The first.")
    assert isinstance(drain(bad)[-1], TurnFailed)
    drain(service.submit(session, said("hi"), SILENT, "Be brief."))
    begun = state_ids(engine)
    drain(service.submit(session, said("and"), SILENT, "Too late for this one."))
    assert state_ids(engine)[: len(begun)] == begun
    service.drop_oldest(session, 2)
    drain(service.submit(session, said("hi"), SILENT, "Be brief."))
    assert state_ids(engine) == begun


def test_a_system_prompt_that_is_too_long_is_refused_and_changes_nothing(start):
    service, _, session = start()
    with pytest.raises(BadInput):
        service.submit(session, said("hi"), SILENT, "x" * 100_000)
    assert service.transcript(session) == ()
    assert isinstance(drain(service.submit(session, said("hi"), SILENT))[-1], TurnFinished)


def test_of_submits_at_once_one_is_answered_and_the_others_are_refused(start):
    service, engine, session = start(Script(words=("a", "b"), hold_at_step=1))
    together, streams, refused = threading.Barrier(8), [], []

    def submit(number):
        together.wait(10)
        try:
            streams.append(service.submit(session, said(f"number {number}"), SILENT, "The same for all."))
        except SessionBusy as error:
            refused.append(error)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    engine.release.set()
    assert (len(streams), len(refused)) == (1, 7)
    assert isinstance(drain(streams[0])[-1], TurnFinished)
    assert len(service.transcript(session)) == 1


def test_clear_during_a_reply_ends_it_and_the_session_goes_on(start):
    service, engine, session = start(Script(words=("a", "b", "c"), hold_at_step=1))
    stream = service.submit(session, said("hi"), SILENT)
    assert engine.reached.wait(10)
    service.reset(session)
    assert isinstance(drain(stream)[-1], TurnInterrupted)
    engine.release.set()
    engine.script = SHORT
    assert isinstance(drain(service.submit(session, said("again"), SILENT))[-1], TurnFinished)
    assert [record.user_text for record in service.transcript(session)] == ["again"]
    assert Counter(state.is_closed for state in engine.states)[False] == 1


def test_a_turn_that_does_not_fit_is_refused_with_the_cuts_that_would_help(start, uploads):
    service, _, session = start(spec=fake_spec(context_length=800))
    service.reset(session, "s")
    long = "x" * 300
    drain(service.submit(session, said(long), SILENT))
    clip = uploads / "a.mp4"
    clip.write_bytes(b"x")
    turn = said(long, clip)
    estimate = service.estimate(session, turn)
    assert not estimate.fits and estimate.num_new_tokens > 500
    failed = drain(service.submit(session, turn, SILENT))[-1]
    assert failed.code == "context_full" and failed.message == estimate.advice
    assert "drop the oldest turn" in failed.message
    assert service.drop_oldest(session) == 0
    assert isinstance(drain(service.submit(session, turn, SILENT))[-1], TurnFinished)


def test_the_advice_to_shorten_is_one_that_helps(start):
    service, _, session = start(spec=fake_spec(context_length=800))
    advice = service.estimate(session, said("x" * 1000)).advice
    num_chars = int(advice.split("shorten the text to ")[1].split(" ")[0])
    assert 100 < num_chars < 800
    assert service.estimate(session, said("x" * num_chars)).fits, advice


def test_a_reply_never_grows_beyond_the_context(start):
    service, engine, session = start(Script(words=("w",) * 900), spec=fake_spec(context_length=500))
    service.reset(session, "s")
    assert isinstance(drain(service.submit(session, said("hi"), SILENT))[-1], TurnFinished)
    assert len(state_ids(engine)) <= 502


@pytest.mark.parametrize("changes", [{"voice": "Nobody"}, {"ode_points": 0}, {"guidance": float("nan")}, {"seed": -1}])
def test_settings_that_cannot_work_get_a_sentence(start, changes):
    service, _, session = start()
    failed = drain(service.submit(session, said("hi"), TurnSettings(**changes)))[-1]
    assert isinstance(failed, TurnFailed) and failed.code == "bad_input"


def test_what_the_browser_measured_joins_the_waterfall(start):
    service, _, session = start()
    drain(service.submit(session, said("hi"), TurnSettings()))
    service.report_playback(session, 1, 0.5, 0, 100)
    service.report_playback(session, 1, None, 2, 24_000)
    service.report_playback(session, 99, 0.5, 0, 100)
    (record,) = service.transcript(session)
    stored = json.loads((record.wav.parent / "turn_1.json").read_text())
    assert stored == record.timings
    assert (stored["first_sound_s"], stored["num_underruns"], stored["played_samples"]) == (0.5, 2, 24_000)


def test_a_given_reply_is_what_is_said(start):
    service, _, session = start()
    drain(service.submit(session, said("hi"), TurnSettings(say="As you wish")))
    (record,) = service.transcript(session)
    assert record.reply_text == "As you wish" and record.wav is not None


FIVE = Script(words=("one", "two", "three", "four", "five"), steps_per_word=20)


def test_a_finished_reply_is_cut_to_what_was_heard_and_the_next_turn_knows_no_more(start):
    """Two of five words were played: the sound is cut to the sample, text and context to whole words."""
    service, engine, session = start(FIVE)
    drain(service.submit(session, said("hi"), TurnSettings()))
    (before,) = service.transcript(session)
    samples, rate = soundfile.read(before.wav)
    played = int(len(samples) * 0.4) + 7
    changed = service.cut(session, 1, played)
    assert changed == service.transcript(session)[0]
    assert (changed.state, changed.reply_text) == ("interrupted", "one two")
    kept, _ = soundfile.read(changed.wav)
    assert np.array_equal(kept, samples[:played])
    assert changed.timings["heard_s"] == pytest.approx(played / rate)
    known = state_ids(engine)
    assert known[-2:] == [word_id("one"), word_id("two")]
    drain(service.submit(session, said("again"), SILENT))
    assert state_ids(engine)[: len(known)] == known


def test_what_was_heard_to_its_end_or_is_not_the_newest_stays_whole(start):
    service, _, session = start(FIVE)
    for text in ("hi", "again"):
        drain(service.submit(session, said(text), TurnSettings()))
    before = service.transcript(session)
    length = len(soundfile.read(before[1].wav)[0])
    for turn, played in ((2, length), (2, 10 * length), (1, 5), (3, 5), (0, 5)):
        assert service.cut(session, turn, played) is None
    assert service.transcript(session) == before


@pytest.mark.parametrize("way", ["interrupt", "cut"])
def test_a_running_reply_that_is_stopped_keeps_what_was_heard(start, way):
    service, engine, session = start(Script(words=FIVE.words, steps_per_word=20, hold_at_step=90))
    stream = service.submit(session, said("hi"), TurnSettings())
    assert engine.reached.wait(10)
    played = 24_000 // 2
    if way == "cut":
        assert service.cut(session, 1, played) is None
    else:
        service.interrupt(session, played)
    event = drain(stream)[-1]
    (record,) = service.transcript(session)
    assert isinstance(event, TurnInterrupted) and event.heard_text == record.reply_text
    # The speech of 23 letters takes an estimated 1.6 s, of which half a second was heard.
    assert record.reply_text == "one"
    assert len(soundfile.read(record.wav)[0]) == played
    assert state_ids(engine)[-1] == word_id("one")


def test_a_reply_of_which_nothing_was_heard_leaves_the_question(start):
    service, engine, session = start(FIVE)
    drain(service.submit(session, said("hi"), TurnSettings()))
    assert service.cut(session, 1, 0).reply_text == ""
    assert word_id("one") not in state_ids(engine)
    drain(service.submit(session, said("again"), SILENT))
    assert [record.state for record in service.transcript(session)] == ["interrupted", "done"]


def test_a_cut_survives_that_the_cache_is_given_up(start):
    service, engine, session = start(FIVE)
    drain(service.submit(session, said("hi"), TurnSettings()))
    length = len(soundfile.read(service.transcript(session)[0].wav)[0])
    service._sessions.get(session).free_cache()
    assert service.cut(session, 1, length // 2).reply_text == "one two"
    drain(service.submit(session, said("again"), SILENT))
    assert word_id("three") not in state_ids(engine)[:-6]


HELD = Script(words=FIVE.words, steps_per_word=20, hold_at_step=90)


def frames_of(record) -> int:
    return 0 if record.wav is None else soundfile.info(record.wav).frames


def test_stop_while_a_finished_reply_is_played_cuts_it_and_a_second_stop_changes_nothing(start):
    service, engine, session = start(FIVE)
    drain(service.submit(session, said("hi"), TurnSettings()))
    played = int(frames_of(service.transcript(session)[0]) * 0.5)
    changed = service.stop(session, 1, played)
    assert (changed.reply_text, frames_of(changed)) == ("one two", played)
    known = state_ids(engine)
    assert service.stop(session, 1, played) is None
    assert service.transcript(session) == (changed,) and state_ids(engine) == known


def test_stop_in_mid_reply_cuts_it_and_a_second_stop_changes_nothing(start):
    service, engine, session = start(HELD)
    stream = service.submit(session, said("hi"), TurnSettings())
    assert engine.reached.wait(10)
    for played in (12_000, 20_000):
        assert service.stop(session, 1, played) is None
    drain(stream)
    (record,) = service.transcript(session)
    assert (record.state, record.reply_text, frames_of(record)) == ("interrupted", "one", 12_000)


@pytest.mark.parametrize("last_played", [0, 1], ids=["never", "an older turn"])
def test_stop_before_any_of_a_spoken_reply_was_played_leaves_only_the_question(start, last_played):
    service, engine, session = start(FIVE)
    drain(service.submit(session, said("hi"), TurnSettings()))
    before = service.transcript(session)
    engine.script = HELD
    stream = service.submit(session, said("again"), TurnSettings())
    assert engine.reached.wait(10)
    assert service.stop(session, last_played, 5_000) is None
    drain(stream)
    *earlier, record = service.transcript(session)
    assert tuple(earlier) == before
    assert (record.state, record.reply_text, record.wav) == ("interrupted", "", None)
    assert word_id("one") not in state_ids(engine)[before[0].timings["num_new"] + len(FIVE.words) + 1 :]


def test_stop_of_a_reply_that_is_not_spoken_keeps_its_text(start):
    service, engine, session = start(Script(words=FIVE.words, hold_at_step=3))
    stream = service.submit(session, said("hi"), SILENT)
    assert engine.reached.wait(10)
    service.stop(session, 0, 0)
    drain(stream)
    (record,) = service.transcript(session)
    assert (record.state, record.reply_text) == ("interrupted", "one two three")


@pytest.mark.parametrize("played", [-5, 0, 10**12])
def test_a_figure_beyond_what_was_made_is_the_nearest_that_can_be(start, played):
    service, _, session = start(FIVE)
    drain(service.submit(session, said("hi"), TurnSettings()))
    (before,) = service.transcript(session)
    service.stop(session, 1, played)
    (record,) = service.transcript(session)
    if played > 0:
        assert record == before
    else:
        assert (record.state, record.reply_text, record.wav) == ("interrupted", "", None)
        assert not before.wav.exists()


def test_stop_while_the_end_of_a_reply_is_being_booked_cuts_it_too(start, monkeypatch):
    """The model is through, and its files are being written: neither the one cut nor the other would see the figure."""
    service, engine, session = start(FIVE)
    writes, go_on = threading.Event(), threading.Event()
    folder = service._sessions.get(session)._core.folder
    write_wav = folder.write_wav

    def slow(*values):
        writes.set()
        assert go_on.wait(10)
        return write_wav(*values)

    monkeypatch.setattr(folder, "write_wav", slow)
    stream = service.submit(session, said("hi"), TurnSettings())
    assert writes.wait(10)
    stopping = threading.Thread(target=service.stop, args=(session, 1, 24_000))
    stopping.start()
    go_on.set()
    drain(stream)
    stopping.join(10)
    (record,) = service.transcript(session)
    assert (record.state, frames_of(record)) == ("interrupted", 24_000)


@pytest.mark.parametrize(("played", "state"), [(24_000, "interrupted"), (10**9, "done")])
def test_stop_in_the_moment_in_which_the_model_is_through(start, monkeypatch, played, state):
    """Between its last word and the booking of it; a reply of which all was heard stays whole."""
    service, _, session = start(FIVE)
    ends = queue.SimpleQueue()
    monkeypatch.setattr(service._threads, "finish", ends.put)
    stream = service.submit(session, said("hi"), TurnSettings())
    book = ends.get(timeout=10)
    service.stop(session, 1, played)
    book()
    drain(stream)
    assert service.transcript(session)[0].state == state
