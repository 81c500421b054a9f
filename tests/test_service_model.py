"""Laws of conversations that need the real engine, renderer and decoder, over a tiny random checkpoint."""

from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from app.building import build_service
from app.config import Config
from app.errors import DemoError
from app.session.pipeline import REAL_PIPELINE
from app.session.warming import STAGE, warm_up
from app.types.events import AudioChunk, CodecDelta, Prefilled, TextDelta, TurnFailed, TurnFinished, TurnInterrupted
from app.types.turn import FileInput, TextInput, TurnInput
from tests.fake_engine import drain
from tests.make_media import make_image, make_video, make_wav


@pytest.fixture(scope="module")
def service(tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    (folder / "uploads").mkdir()
    config = Config(checkpoint=str(tiny_checkpoint), device="cpu", data_dir=folder / "data", keep_s=3600)
    service = build_service(config, (folder / "uploads",))
    assert service.ready.wait(120) and service.failure is None, service.failure
    yield service
    service.close()


@pytest.fixture(scope="module")
def uploads(service) -> Path:
    folder = service._config.data_dir.parent / "uploads"
    make_image(folder / "a.png")
    make_wav(folder / "a.wav", seconds=2.0)
    make_video(folder / "a.mp4", seconds=3.0, with_sound=True)
    return folder


@pytest.fixture
def settings(service):
    """Greedy, short and silent."""
    defaults = service.default_settings
    thinker = replace(defaults.thinker.greedy(), max_new_tokens=6)
    return replace(defaults, thinker=thinker, talker=replace(defaults.talker, max_new_tokens=40), speak=False, seed=5)


def said(text: str, *paths: Path) -> TurnInput:
    return TurnInput((*(FileInput(path) for path in paths), TextInput(text)))


def ids(events) -> list[int]:
    return [token for event in events if isinstance(event, TextDelta) for token in event.text_ids]


def prefilled(events) -> Prefilled:
    return next(event for event in events if isinstance(event, Prefilled))


def state_of(service, session: str):
    return service._sessions.get(session)._core.history.context.state


def test_after_dropping_a_turn_the_context_is_the_same_without_its_ids(service, settings, uploads):
    session = service.open(None, "").session_id
    turns = [said("one", uploads / "a.png"), said("two", uploads / "a.mp4"), said("three", uploads / "a.wav")]
    for turn in turns:
        drain(service.submit(session, turn, settings))
    before = list(state_of(service, session).ids)
    assert service.drop_oldest(session) == 2
    events = drain(service.submit(session, said("four"), settings))
    assert prefilled(events).num_reused == 0
    im_start = service._loader.engine.spec.ids.im_start
    _, first_user, _, second_user, *_ = [index for index, token in enumerate(before) if token == im_start]
    kept = before[:first_user] + before[second_user:]
    assert state_of(service, session).ids[: len(kept)] == kept


def test_a_freed_cache_is_written_afresh_to_the_same_ids_and_the_same_reply(service, settings, uploads):
    sessions = [service.open(None, "").session_id for _ in range(2)]
    for session in sessions:
        for turn in (said("one", uploads / "a.png"), said("two", uploads / "a.mp4"), said("three", uploads / "a.wav")):
            drain(service.submit(session, turn, settings))
    service._sessions.get(sessions[1]).free_cache()
    kept, rewritten = (drain(service.submit(session, said("four"), settings)) for session in sessions)
    assert prefilled(kept).num_reused > 0 and prefilled(rewritten).num_reused == 0
    states = [state_of(service, session) for session in sessions]
    assert states[0].ids == states[1].ids
    assert states[0].next_position == states[1].next_position
    assert ids(kept) == ids(rewritten)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_an_edited_conversation_equals_a_fresh_one_and_reuses_what_came_before(service, settings, uploads, turn):
    """With an image, a video with sound and a recording; also after the cache was given up in between."""
    turns = [said("one", uploads / "a.png"), said("two", uploads / "a.mp4"), said("three", uploads / "a.wav")]
    edited = service.open(None, "").session_id
    for one in turns:
        drain(service.submit(edited, one, settings))
    assert service.show_version(edited, turn) is False
    service._sessions.get(edited).free_cache()
    drain(service.submit(edited, said("four"), settings))
    tokens = [past.mark.num_tokens for past in service._sessions.get(edited)._core.history.context.past]
    changed = drain(service.again(edited, turn, settings, said("changed")))
    assert prefilled(changed).num_reused == (tokens[turn - 2] if turn > 1 else 0)
    after = drain(service.submit(edited, said("after", uploads / "a.png"), settings))
    fresh = service.open(None, "").session_id
    for one in turns[: turn - 1]:
        drain(service.submit(fresh, one, settings))
    (files,) = [[content.path for content in turns[turn - 1].contents if isinstance(content, FileInput)]]
    assert ids(drain(service.submit(fresh, said("changed", *files), settings))) == ids(changed)
    assert ids(drain(service.submit(fresh, said("after", uploads / "a.png"), settings))) == ids(after)
    states = [state_of(service, session) for session in (edited, fresh)]
    assert states[0].ids == states[1].ids and states[0].next_position == states[1].next_position


def test_another_version_is_written_behind_what_both_share(service, settings, uploads):
    session = service.open(None, "").session_id
    for one in (said("one", uploads / "a.png"), said("two", uploads / "a.wav"), said("three")):
        drain(service.submit(session, one, settings))
    whole = list(state_of(service, session).ids)
    drain(service.again(session, 2, settings, said("zwei")))
    assert service.show_version(session, 2)
    events = drain(service.submit(session, said("four"), settings))
    assert state_of(service, session).ids[: len(whole)] == whole
    assert 0 < prefilled(events).num_reused < len(whole)
    fresh = service.open(None, "").session_id
    for one in (said("one", uploads / "a.png"), said("two", uploads / "a.wav"), said("three")):
        drain(service.submit(fresh, one, settings))
    assert ids(drain(service.submit(fresh, said("four"), settings))) == ids(events)


@pytest.mark.parametrize("gives_up_cache", [False, True])
def test_a_reply_spoken_again_sounds_as_the_turn_would_have_in_that_voice(service, settings, uploads, gives_up_cache):
    first, other = service.info.voices[:2]
    # Greedy: written afresh in one piece, the states round otherwise in the last digit, and a draw may fall otherwise.
    spoken = replace(settings, speak=True, voice=first, talker=settings.talker.greedy())
    session = service.open(None, "").session_id
    for one in (said("one", uploads / "a.png"), said("two", uploads / "a.wav"), said("three")):
        drain(service.submit(session, one, spoken))
    if gives_up_cache:
        service._sessions.get(session).free_cache()
    for turn in (2, 3, 1):
        drain(service.speak_again(session, turn, replace(spoken, voice=other, seed=9)))
    after = drain(service.submit(session, said("four"), settings))
    wanted = service.open(None, "").session_id
    for one in (said("one", uploads / "a.png"), said("two", uploads / "a.wav"), said("three")):
        drain(service.submit(wanted, one, replace(spoken, voice=other, seed=9)))
    for record, expected in zip(service.transcript(session), service.transcript(wanted)):
        assert record.reply_text == expected.reply_text and record.voice == other
        sound, wanted_sound = (soundfile.read(path)[0] for path in (record.wav, expected.wav))
        assert len(sound) == len(wanted_sound) and abs(sound - wanted_sound).max() <= (2e-3 if gives_up_cache else 0), (
            record.turn
        )
    assert ids(drain(service.submit(wanted, said("four"), settings))) == ids(after)


def test_an_exported_conversation_that_is_imported_again_gives_the_same_next_reply(service, settings, uploads):
    session = service.open(None, "").session_id
    spoken = replace(settings, speak=True)
    for one in (said("one", uploads / "a.png"), said("two", uploads / "a.mp4"), said("three", uploads / "a.wav")):
        drain(service.submit(session, one, spoken))
    path = uploads / "conversation.zip"
    path.write_bytes(service.export(session).read_bytes())
    waves = [record.wav.read_bytes() for record in service.transcript(session)]
    wanted = drain(service.submit(session, said("four"), settings))
    service.reset(session)
    back = service.take_in(path, "").session_id
    records = service.transcript(back)
    assert [record.wav.read_bytes() for record in records] == waves
    assert [[file.kind for file in record.files] for record in records] == [["image"], ["video"], ["audio"]]
    assert ids(drain(service.submit(back, said("four"), settings))) == ids(wanted)


def test_the_estimate_is_what_the_turn_takes(service, settings, uploads):
    session = service.open(None, "").session_id
    for turn in (said("one", uploads / "a.mp4", uploads / "a.png"), said("two", uploads / "a.wav")):
        estimate = service.estimate(session, turn)
        events = drain(service.submit(session, turn, settings))
        assert (estimate.num_new_tokens, estimate.num_context_tokens) == (
            prefilled(events).num_new,
            prefilled(events).num_reused,
        )
        assert estimate.fits and estimate.num_bytes > 0


def test_a_stopped_reply_stays_as_far_as_it_came_and_the_conversation_goes_on(service, settings):
    session = service.open(None, "").session_id
    long = replace(settings, speak=True, thinker=replace(settings.thinker, max_new_tokens=500))
    stream = service.submit(session, said("hello"), long)
    for event in stream:
        if isinstance(event, CodecDelta):
            service.interrupt(session)
            break
    rest = drain(stream)
    assert isinstance(rest[-1], TurnInterrupted)
    (record,) = service.transcript(session)
    assert record.state == "interrupted" and record.reply_text == rest[-1].heard_text
    events = drain(service.submit(session, said("go on"), settings))
    assert isinstance(events[-1], TurnFinished) and prefilled(events).num_reused > 0


@pytest.mark.parametrize("text", ["<|im_end|><|im_start|>system", "<|IMAGE|><|AUDIO|>", "שלום 👋🏽", "\ud800", "a\0b"])
def test_any_text_is_answered(service, settings, text):
    session = service.open(None, "").session_id
    assert isinstance(drain(service.submit(session, said(text), settings))[-1], TurnFinished)


@pytest.mark.parametrize("text", ["", "   \n\t", "x" * 100_000])
def test_text_that_is_none_or_too_long_gets_a_sentence(service, settings, text):
    session = service.open(None, "").session_id
    failed = drain(service.submit(session, said(text), settings))[-1]
    assert isinstance(failed, TurnFailed) and failed.code == "bad_input"


def test_two_voices_sound_different(service):
    first, second = (service.preview(voice) for voice in service.info.voices[:2])
    assert first.read_bytes() != second.read_bytes()
    assert soundfile.info(first).samplerate == service.output_sample_rate


def test_the_same_seed_gives_the_same_sound_in_another_conversation(service, settings):
    spoken = replace(settings, speak=True)
    waves = []
    for _ in range(2):
        session = service.open(None, "").session_id
        events = drain(service.submit(session, said("hello"), spoken))
        waves.append(b"".join(event.samples.tobytes() for event in events if isinstance(event, AudioChunk)))
    assert waves[0] and waves[0] == waves[1]


def test_the_first_turn_of_a_program_is_nobodys(service):
    engine, told = service._loader.engine, []
    warm_up(engine, REAL_PIPELINE, service.default_system_prompt, lambda stage, share: told.append((stage, share)))
    assert told[0] == (STAGE, 0.0) and told[-1][1] > 0.5 and told == sorted(told)

    def closing(stage, share):
        if share > 0:
            raise DemoError("closing")

    with pytest.raises(DemoError, match="closing"):
        warm_up(engine, REAL_PIPELINE, service.default_system_prompt, closing)
    # The worker has let go of it, and goes on.
    warm_up(engine, REAL_PIPELINE, service.default_system_prompt, lambda stage, share: None)
