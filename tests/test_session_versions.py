"""Turns that are asked again, changed, taken back and chosen: the model remembers what the page shows, nothing else."""

import pytest

from app.errors import BadInput, SessionBusy
from app.types.events import AudioChunk, Prefilled, TurnFailed, TurnFinished, TurnInterrupted
from app.types.turn import TurnSettings
from tests.fake_engine import Script, drain
from tests.test_session import SHORT, said, start, state_ids, uploads  # noqa: F401  (fixtures)

SILENT = TurnSettings(speak=False)
HOLD = Script(words=("one", "two"), steps_per_word=1, hold_at_step=1)


def send(service, session, *texts):
    for text in texts:
        assert isinstance(drain(service.submit(session, said(text), SILENT))[-1], TurnFinished)


def again(service, session, turn, text=None):
    events = drain(service.again(session, turn, SILENT, None if text is None else said(text)))
    assert isinstance(events[-1], TurnFinished), events[-1]
    return next(event for event in events if isinstance(event, Prefilled))


def shown(service, session):
    return [(record.turn, record.user_text, record.versions) for record in service.transcript(session)]


def test_a_regenerated_reply_stands_where_the_first_did_and_reuses_all_before(start):  # noqa: F811
    service, engine, session = start()
    send(service, session, "first", "second")
    whole, before = state_ids(engine), service.transcript(session)[0].timings
    prefilled = again(service, session, 2)
    assert state_ids(engine) == whole
    assert prefilled.num_reused == before["num_new"] + before["num_text_tokens"] - 1
    assert shown(service, session) == [(1, "first", (1,)), (3, "second", (2, 3))]


def test_an_edited_turn_and_what_follows_equal_a_fresh_conversation(start):  # noqa: F811
    service, engine, session = start()
    send(service, session, "one", "two", "three")
    again(service, session, 1, "uno")
    send(service, session, "and then")
    edited = state_ids(engine)
    assert shown(service, session) == [(4, "uno", (1, 4)), (5, "and then", (5,))]
    fresh = service.open(None, "").session_id
    send(service, fresh, "uno", "and then")
    assert state_ids(engine) == edited


def test_another_version_brings_back_all_that_followed_it(start):  # noqa: F811
    service, engine, session = start()
    send(service, session, "one", "two", "three")
    again(service, session, 2, "zwei")
    assert service.show_version(session, 2)
    assert shown(service, session) == [(1, "one", (1,)), (2, "two", (2, 4)), (3, "three", (3,))]
    send(service, session, "four")
    whole = state_ids(engine)
    fresh = service.open(None, "").session_id
    send(service, fresh, "one", "two", "three", "four")
    assert state_ids(engine) == whole
    assert service.show_version(session, 4) and not service.show_version(session, 4)
    assert [text for _, text, _ in shown(service, session)] == ["one", "zwei"]
    assert service.show_version(session, 2)
    assert [text for _, text, _ in shown(service, session)] == ["one", "two", "three", "four"]


def test_versions_of_versions_are_all_to_be_reached(start):  # noqa: F811
    service, _, session = start()
    send(service, session, "a", "b")
    again(service, session, 2, "c")
    again(service, session, 1, "A")
    send(service, session, "d")
    for turn, wanted in ((1, ["a", "c"]), (2, ["a", "b"]), (4, ["A", "d"]), (3, ["a", "c"])):
        assert service.show_version(session, turn)
        assert [text for _, text, _ in shown(service, session)] == wanted, turn


def test_a_turn_taken_back_is_forgotten_by_the_model_and_given_to_the_composer(start):  # noqa: F811
    service, engine, session = start()
    send(service, session, "one")
    one = state_ids(engine)
    send(service, session, "two")
    assert service.take_back(session, 2).user_text == "two"
    assert state_ids(engine) == one
    assert service.take_back(session, 2) is None
    assert service.take_back(session, 1).user_text == "one" and service.transcript(session) == ()
    send(service, session, "anew")
    assert shown(service, session) == [(3, "anew", (1, 3))]


def test_where_the_new_turn_fails_the_old_one_is_back(start):  # noqa: F811
    service, engine, session = start()
    send(service, session, "one", "two")
    before = shown(service, session)
    engine.script = Script(words=("no",), fail_at_step=0)
    assert isinstance(drain(service.again(session, 1, SILENT, said("uno")))[-1], TurnFailed)
    assert shown(service, session) == before
    assert isinstance(drain(service.again(session, 2, SILENT, said("  ")))[-1], TurnFailed)
    assert shown(service, session) == before
    engine.script = SHORT
    send(service, session, "three")
    whole = state_ids(engine)
    fresh = service.open(None, "").session_id
    send(service, fresh, "one", "two", "three")
    assert state_ids(engine) == whole


def test_nothing_is_changed_while_a_reply_is_made_and_nothing_that_is_not_there(start):  # noqa: F811
    service, engine, session = start()
    send(service, session, "one")
    for turn in (0, 2, -1):
        with pytest.raises(BadInput, match="not in the conversation"):
            service.again(session, turn, SILENT)
        assert service.take_back(session, turn) is None and not service.show_version(session, turn)
    engine.script = HOLD
    stream = service.submit(session, said("two"), SILENT)
    assert engine.reached.wait(10)
    for deed in (
        lambda: service.again(session, 1, SILENT),
        lambda: service.take_back(session, 1),
        lambda: service.show_version(session, 1),
    ):
        with pytest.raises(SessionBusy, match="still being made"):
            deed()
    engine.release.set()
    assert isinstance(drain(stream)[-1], TurnFinished)
    assert [text for _, text, _ in shown(service, session)] == ["one", "two"]


def test_an_edited_turn_keeps_its_files_and_they_go_with_the_conversation_only(start, uploads):  # noqa: F811
    service, _, session = start()
    picture = uploads / "photo.png"
    picture.write_bytes(b"picture")
    drain(service.submit(session, said("what is this?", picture), SILENT))
    picture.unlink()
    again(service, session, 1, "and what is that?")
    (record,) = service.transcript(session)
    assert record.user_text == "and what is that?" and record.files[0].path.read_bytes() == b"picture"
    send(service, session, "on")
    service.drop_oldest(session, 1)
    assert not record.files[0].path.exists()
    assert shown(service, session) == [(3, "on", (3,))]
    assert not service.show_version(session, 1)


SPOKEN = TurnSettings()


def voices(record):
    return [take.voice for take in record.takes]


def test_a_reply_is_spoken_again_and_the_turn_keeps_the_new_take(start):  # noqa: F811
    service, engine, session = start()
    send(service, session, "one")
    drain(service.submit(session, said("two"), SPOKEN))
    first, text, ids = service.transcript(session)[1], service.transcript(session)[1].reply_text, state_ids(engine)
    events = drain(service.speak_again(session, 2, TurnSettings(voice="Ethan", seed=3)))
    assert isinstance(events[-1], TurnFinished)
    record = service.transcript(session)[1]
    assert (record.reply_text, record.voice, voices(record)) == (text, "Ethan", ["Chelsie", "Ethan"])
    assert record.wav != first.wav and record.wav.exists() and first.wav.exists()
    assert record.takes[1].seed == 3 and state_ids(engine) == ids
    ((_, reply_ids, num_states),) = engine.spoken_again
    assert len(reply_ids) - 1 == num_states == len(SHORT.words)
    assert service.choose_take(session, 2, 0).wav == first.wav
    assert service.choose_take(session, 2, 5) is None and service.choose_take(session, 9, 0) is None
    assert voices(service.transcript(session)[1]) == ["Chelsie", "Ethan"]


def test_a_reply_that_was_only_written_can_be_spoken_after_the_cache_was_given_up(start):  # noqa: F811
    service, engine, session = start()
    send(service, session, "one", "two", "three")
    before = state_ids(engine)
    service._sessions.get(session).free_cache()
    events = drain(service.speak_again(session, 2, SPOKEN))
    assert isinstance(events[-1], TurnFinished)
    record = service.transcript(session)[1]
    assert record.voice == "Chelsie" and record.wav.exists()
    send(service, session, "four")
    assert state_ids(engine)[: len(before) - 1] == before[:-1]
    fresh = service.open(None, "").session_id
    whole = state_ids(engine)
    send(service, fresh, "one", "two", "three", "four")
    assert state_ids(engine) == whole


def test_stopped_or_failed_speech_leaves_the_take_that_was(start):  # noqa: F811
    service, engine, session = start()
    drain(service.submit(session, said("one"), SPOKEN))
    (before,) = service.transcript(session)
    engine.script = Script(words=("one",), fail_at_step=0)
    assert isinstance(drain(service.speak_again(session, 1, SPOKEN))[-1], TurnFailed)
    assert service.transcript(session) == (before,)
    engine.script = Script(words=("one", "two"), hold_at_step=1)
    stream = service.speak_again(session, 1, SPOKEN)
    assert engine.reached.wait(10)
    assert service.transcript(session) == (before,)
    with pytest.raises(SessionBusy):
        service.submit(session, said("two"), SILENT)
    service.stop(session, 1, 0)
    assert isinstance(drain(stream)[-1], TurnInterrupted)
    assert service.transcript(session) == (before,)
    engine.script = SHORT
    send(service, session, "two")


def test_who_stops_a_take_that_is_still_played_takes_nothing_of_the_reply_back(start):  # noqa: F811
    service, engine, session = start()
    drain(service.submit(session, said("one"), SPOKEN))
    drain(service.speak_again(session, 1, SPOKEN))
    before, ids = service.transcript(session), state_ids(engine)
    assert service.stop(session, 1, 100) is None
    assert service.transcript(session) == before and state_ids(engine) == ids


def test_what_cannot_be_spoken_again_gets_a_sentence(start):  # noqa: F811
    service, _, session = start()
    with pytest.raises(BadInput, match="not in the conversation"):
        service.speak_again(session, 1, SPOKEN)
    send(service, session, "one")
    failed = drain(service.speak_again(session, 1, TurnSettings(voice="Nobody")))[-1]
    assert isinstance(failed, TurnFailed) and "no such voice" in failed.message
    service.reset(session)
    with pytest.raises(BadInput, match="not in the conversation"):
        service.speak_again(session, 1, SPOKEN)


def test_a_sentence_of_ones_own_is_spoken_and_the_conversation_knows_nothing_of_it(start):  # noqa: F811
    service, engine, session = start()
    send(service, session, "one")
    ids, before = state_ids(engine), service.transcript(session)
    events = drain(service.speak_aside(session, "the weather is fine", TurnSettings(voice="Ethan")))
    assert isinstance(events[-1], TurnFinished) and any(isinstance(event, AudioChunk) for event in events)
    assert service.transcript(session) == before and engine.states[-1].is_closed
    assert state_ids(engine) == ids
    for text in ("", " \n"):
        with pytest.raises(BadInput, match="nothing to say"):
            service.speak_aside(session, text, SPOKEN)
    failed = drain(service.speak_aside(session, "x" * 100_000, SPOKEN))[-1]
    assert isinstance(failed, TurnFailed) and failed.code == "bad_input"
    engine.script = HOLD
    stream = service.speak_aside(session, "a b c", SPOKEN)
    assert engine.reached.wait(10)
    with pytest.raises(SessionBusy):
        service.submit(session, said("two"), SILENT)
    service.interrupt(session)
    assert isinstance(drain(stream)[-1], TurnInterrupted)
    engine.script = SHORT
    send(service, session, "two")
    assert [text for _, text, _ in shown(service, session)] == ["one", "two"]


def test_a_vote_keeps_its_take_and_counts_for_its_browser_alone(start):  # noqa: F811
    service, _, _ = start()
    session = service.open(None, "", "browser").session_id
    drain(service.submit(session, said("one"), SPOKEN))
    drain(service.speak_again(session, 1, TurnSettings(voice="Ethan", seed=3)))
    first, second = service.transcript(session)[0].takes
    assert service.vote(session, 1, (1, 0), 0, True, "", "browser").wav == first.wav
    assert [one.voice for one in service.standings("", "browser")] == ["Chelsie", "Ethan"]
    assert service.standings("", "other") == [] == service.standings("", "")
    path = service.votes_csv(session, "", "browser")
    assert path.parent == second.wav.parent and "Ethan|Chelsie,Chelsie,1" in path.read_text()
    for turn, places, best in ((2, (0, 1), 0), (1, (0, 2), 0), (1, (0, 1), 2), (1, (0, -1), 0)):
        with pytest.raises(BadInput, match="compare the voices again"):
            service.vote(session, turn, places, best, False, "", "browser")
    assert sum(one.num_wins for one in service.standings("", "browser")) == 1
