"""Laws of messages that are spoken live, over the real engine: equal to the same sound as a file, taken back whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from app.building import build_service
from app.config import Config
from app.errors import SessionBusy, SessionGone
from app.service import Service
from app.session.listening import Listening
from app.types.events import Prefilled, TextDelta, TurnFinished
from app.types.turn import FileInput, TextInput, TurnInput, TurnSettings
from tests.engine_kit import noise_audio
from tests.fake_engine import drain
from tests.test_live_prompt import PIECE_S

WAIT_S = 60


@contextmanager
def real_service(checkpoint: Path, folder: Path) -> Iterator[Service]:
    """The service over a checkpoint, loaded."""
    (folder / "uploads").mkdir()
    config = Config(checkpoint=str(checkpoint), device="cpu", data_dir=folder / "data", keep_s=3600)
    service = build_service(config, (folder / "uploads",))
    assert service.ready.wait(120) and service.failure is None, service.failure
    yield service
    service.close()


def brief(defaults: TurnSettings) -> TurnSettings:
    """Greedy, short and silent."""
    thinker = replace(defaults.thinker.greedy(), max_new_tokens=6)
    return replace(defaults, thinker=thinker, speak=False, seed=5)


@pytest.fixture(scope="module")
def service(tiny_checkpoint, tmp_path_factory):
    with real_service(tiny_checkpoint, tmp_path_factory.mktemp("listening")) as started:
        yield started


@pytest.fixture
def settings(service):
    return brief(service.default_settings)


@pytest.fixture
def session(service) -> str:
    return service.open(None, "").session_id


def spoken(seed: int, seconds: float) -> np.ndarray:
    """Loudest at its beginning, and of values that a 16-bit file holds."""
    samples = noise_audio(seed, seconds).samples
    samples[:800] *= 5
    return (np.round(samples.clip(-0.99, 0.99) * 32767) / 32767).astype(np.float32)


def say(listening: Listening, samples: np.ndarray) -> None:
    size = int(16_000 * PIECE_S)
    for start in range(0, len(samples), size):
        listening.hear(samples[start : start + size])


def listen(service, session, settings, samples) -> Listening:
    listening = service.listen(session, settings, lambda num_tokens: None)
    say(listening, samples)
    return listening


def ids(events) -> list[int]:
    assert isinstance(events[-1], TurnFinished), events[-1]
    return [token for event in events if isinstance(event, TextDelta) for token in event.text_ids]


def uploaded(service, settings, tmp: Path, *clips: np.ndarray) -> list[list[int]]:
    """The answers of a fresh session to these sounds as files."""
    session = service.open(None, "").session_id
    answers = []
    for number, samples in enumerate(clips):
        path = service._gate._upload_dirs[0] / f"{tmp.name}_{number}.wav"
        soundfile.write(path, samples, 16_000, subtype="PCM_16")
        answers.append(ids(drain(service.submit(session, TurnInput((FileInput(path),)), settings))))
    return answers


def test_what_is_spoken_live_is_answered_and_remembered_like_the_file(service, session, settings, tmp_path):
    clips = [spoken(1, 4.7), spoken(2, 3.3)]
    expected = uploaded(service, settings, tmp_path, *clips)
    for samples, answer in zip(clips, expected):
        events = drain(listen(service, session, settings, samples).answer())
        assert ids(events) == answer
    records = service.transcript(session)
    assert [record.state for record in records] == ["done", "done"]
    for record, samples in zip(records, clips):
        (file,) = record.files
        assert file.kind == "audio" and np.abs(soundfile.read(file.path)[0] - samples).max() < 1e-4


def test_after_the_cache_was_given_up_a_spoken_message_finds_all_older_turns(service, session, settings, tmp_path):
    clips = [spoken(3, 2.5), spoken(4, 2.2)]
    expected = uploaded(service, settings, tmp_path, *clips)
    assert ids(drain(listen(service, session, settings, clips[0]).answer())) == expected[0]
    assert service._sessions.get(session).free_cache()
    assert ids(drain(listen(service, session, settings, clips[1]).answer())) == expected[1]


def test_a_message_that_was_none_leaves_nothing(service, session, settings, tmp_path):
    first, second = spoken(5, 2.4), spoken(6, 2.6)
    expected = uploaded(service, settings, tmp_path, first, second)
    drain(listen(service, session, settings, first).answer())
    listening = listen(service, session, settings, spoken(7, 5.0))
    listening.cancel()
    listening.cancel()
    assert len(service.transcript(session)) == 1
    events = drain(listen(service, session, settings, second).answer())
    assert ids(events) == expected[1]
    with pytest.raises(SessionGone):
        listening.answer()


@pytest.mark.parametrize("pause_s", [1, 3])
@pytest.mark.parametrize("is_finished", [False, True], ids=["in mid-answer", "after the whole answer"])
def test_an_answer_begun_in_a_pause_is_forgotten_when_the_person_goes_on(
    service, session, settings, tmp_path, is_finished, pause_s
):
    """Also where the pause comes before the first whole block, so that nothing was in the model's memory yet."""
    samples = spoken(8, 6.4)
    (expected,) = uploaded(service, settings, tmp_path, samples)
    pause = 16_000 * pause_s
    listening = listen(service, session, settings, samples[:pause])
    for _ in range(2):
        listening.begin_answer()
        if is_finished:
            assert listening._begun.handle._over.wait(WAIT_S)
        listening.go_on()
    say(listening, samples[pause:])
    assert ids(drain(listening.answer())) == expected
    assert len(service.transcript(session)) == 1


def test_a_message_that_was_none_leaves_nothing_of_an_answer_that_was_begun(service, session, settings):
    drain(listen(service, session, settings, spoken(12, 2.4)).answer())
    state = service._sessions.get(session)._core.history.context.state
    mark, said = state.mark(), service.transcript(session)
    listening = listen(service, session, settings, spoken(13, 1.0))
    listening.begin_answer()
    assert listening._begun.handle._over.wait(WAIT_S)
    listening.cancel()
    assert (state.mark(), service.transcript(session)) == (mark, said)


def test_an_answer_begun_in_a_pause_is_the_answer_when_nothing_follows(service, session, settings, tmp_path):
    samples = spoken(9, 2.9)
    (expected,) = uploaded(service, settings, tmp_path, samples)
    listening = listen(service, session, settings, samples)
    listening.begin_answer()
    assert listening._begun.handle._over.wait(WAIT_S)
    assert service.transcript(session) == ()
    assert ids(drain(listening.answer())) == expected
    assert [record.state for record in service.transcript(session)] == ["done"]


@pytest.mark.parametrize("seconds", [0.8, 2.9])
def test_all_pictures_of_a_message_are_kept_however_short_it_is(service, session, settings, seconds):
    listening = service.listen(session, settings, lambda num_tokens: None, fps=2.0)
    for shot in range(int(np.ceil(2 * seconds))):
        listening.see(np.full((84, 112, 3), 30 * shot, np.uint8), shot / 2)
    say(listening, spoken(20, seconds))
    listening.begin_answer()
    assert ids(drain(listening.answer()))
    (record,) = service.transcript(session)
    (file,) = record.files
    with av.open(str(file.path)) as clip:
        num_frames = sum(1 for _ in clip.decode(video=0))
    assert file.kind == "video" and num_frames == 2 * np.ceil(seconds), num_frames


def test_while_somebody_speaks_nothing_else_is_taken(service, session, settings):
    listening = listen(service, session, settings, spoken(10, 1.0))
    with pytest.raises(SessionBusy, match="listened to"):
        service.submit(session, TurnInput((TextInput("hi"),)), settings)
    with pytest.raises(SessionBusy):
        service.listen(session, settings, lambda num_tokens: None)
    service.interrupt(session)
    assert ids(drain(listening.answer()))


@pytest.mark.parametrize("way", ["reset", "leave and sweep"])
def test_a_conversation_that_is_cleared_while_somebody_speaks(service, session, settings, way):
    drain(service.submit(session, TurnInput((TextInput("hi"),)), settings))
    listening = listen(service, session, settings, spoken(11, 5.0))
    if way == "reset":
        service.reset(session)
    else:
        service._sessions.get(session).close()
    say(listening, spoken(12, 3.0))
    listening.begin_answer()
    with pytest.raises(SessionGone, match="say it again"):
        listening.answer()
    listening.cancel()
    assert service._sessions.get(session).num_bytes == 0
    if way == "reset":
        events = drain(service.submit(session, TurnInput((TextInput("hi"),)), settings))
        assert next(event for event in events if isinstance(event, Prefilled)).num_reused == 0


def test_a_message_that_fills_the_memory_says_so_before_it_overflows(service, session, settings, monkeypatch):
    engine = service._loader.engine
    monkeypatch.setattr(engine, "spec", replace(engine.spec, context_length=400))
    listening = service.listen(session, settings, lambda num_tokens: None)
    num_seconds = 0
    while not listening.is_full:
        say(listening, spoken(13, 2.0))
        num_seconds += 2
        assert num_seconds * 25 < 400
    assert num_seconds > 6
    assert ids(drain(listening.answer()))
    assert service._sessions.get(session).num_bytes


@pytest.mark.parametrize("context_length", [700, 800, 900])
def test_pictures_fill_the_memory_too_and_leave_room_for_an_answer(
    service, session, settings, monkeypatch, context_length
):
    engine = service._loader.engine
    monkeypatch.setattr(engine, "spec", replace(engine.spec, context_length=context_length))
    rules, num_shots = engine.spec.media.vision, 0
    side = int(rules.image_max_pixels**0.5) // rules.factor * rules.factor
    listening = service.listen(session, settings, lambda num_tokens: None, fps=2.0)
    while not listening.is_full:
        listening.see(np.full((side, side, 3), num_shots % 256, np.uint8), num_shots / 2)
        say(listening, spoken(14, 0.5))
        num_shots += 1
        assert num_shots < 200
    assert len(ids(drain(listening.answer()))) == 6
    assert service._sessions.get(session)._core.history.context.state.num_tokens <= context_length
