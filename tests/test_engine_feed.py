"""A message that is fed while it is spoken: answered like the whole clip, taken back without a trace."""

import copy
import threading

import numpy as np
import pytest
import torch

from app.chatml.cursor import Cursor
from app.chatml.live import LivePrompt
from app.chatml.render import render_turn
from app.engine.engine import Engine
from app.errors import DemoError
from app.types.events import TERMINAL, Prefilled, TextDelta, TurnFailed, TurnFinished, TurnInterrupted
from app.types.media import Audio
from app.types.turn import AudioPart, TextPart
from tests.engine_kit import SYSTEM, codes, noise_audio, run, text_ids
from tests.test_engine_worker import ENDLESS, SETTINGS, WAIT_S, Listener

# Each as long as some blocks of sound and a little longer.
FIRST_S, SECOND_S = 5.3, 4.5


@pytest.fixture
def engine(tiny):
    made = Engine(tiny.engine.spec, tiny.engine.tokenizer, tiny.engine.stages, max_turns=2)
    yield made
    if not made._is_closed:
        made.close()


class Speaker:
    """Somebody who speaks to one state; `fed` tells what the cache holds of it."""

    def __init__(self, engine: Engine, state) -> None:
        self._changed = threading.Condition()
        self.fed = 0
        self.live = LivePrompt(engine.spec, engine.tokenizer, Cursor(state.next_position, state.top_position))
        if state.num_tokens:
            self.live.begin(None, state.pending_ids)
        else:
            self.live.begin(SYSTEM)
        self.feed = engine.listen(state, self._on_fed)

    def _on_fed(self, num_tokens: int) -> None:
        with self._changed:
            self.fed = num_tokens
            self._changed.notify_all()

    def say(self, samples: np.ndarray) -> None:
        append = self.live.hear(samples)
        if append.segments:
            self.feed.put(append)

    def wait_fed(self, num_tokens: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.fed >= num_tokens, WAIT_S), self.fed

    def answer(self, engine, state, settings=SETTINGS, number=1):
        append, prompt = self.live.finish()
        if append.segments:
            self.feed.put(append)
        listener = Listener()
        return engine.submit(state, prompt, settings, number, listener, feed=self.feed), listener


def clip(seed: int, seconds: float = 0.0) -> Audio:
    audio = noise_audio(seed, seconds or FIRST_S)
    audio.samples[:800] *= 8
    return audio


def answered(tiny, *turns):
    """What a fresh state answers to these turns one after the other: ids and codes of the last."""
    state = tiny.engine.new_state()
    for parts in turns:
        events = run(tiny.engine, state, parts, SETTINGS)
    return text_ids(events), codes(events)


def test_what_is_fed_while_it_is_spoken_is_answered_like_the_whole_clip(tiny, engine):
    state, first, second = engine.new_state(), clip(1), clip(2, SECOND_S)
    for number, audio in ((1, first), (2, second)):
        speaker = Speaker(engine, state)
        for start in range(0, len(audio.samples), 640):
            speaker.say(audio.samples[start : start + 640])
        speaker.wait_fed(100)
        num_cached = state.num_tokens
        assert state.talker_length == num_cached, "the Talker has not read what is there"
        _, listener = speaker.answer(engine, state, number=number)
        assert isinstance(listener.wait_for(*TERMINAL), TurnFinished)
        prefilled = next(event for event in listener.events if isinstance(event, Prefilled))
        assert prefilled.num_reused == num_cached and prefilled.num_new < 60
        assert speaker.feed.wait_over(WAIT_S)
        turns = [(AudioPart(first),), (AudioPart(second),)][:number]
        assert (text_ids(listener.events), codes(listener.events)) == answered(tiny, *turns)


def test_a_message_that_is_taken_back_leaves_no_trace(tiny, engine):
    state = engine.new_state()
    run_listener = Listener()
    prompt = render_turn(engine.spec, engine.tokenizer, state, (TextPart("hello"),), SYSTEM)
    engine.submit(state, prompt, SETTINGS, 1, run_listener)
    run_listener.wait_for(*TERMINAL)
    mark, num_bytes = state.mark(), state.num_tokens
    speaker = Speaker(engine, state)
    speaker.say(clip(3).samples)
    speaker.wait_fed(100)
    assert state.num_tokens > num_bytes
    speaker.feed.cancel()
    assert speaker.feed.wait_over(WAIT_S)
    assert state.mark() == mark
    speaker = Speaker(engine, state)
    speaker.say(clip(4).samples)
    _, listener = speaker.answer(engine, state, number=2)
    listener.wait_for(*TERMINAL)
    expected = answered(tiny, (TextPart("hello"),), (AudioPart(clip(4)),))
    assert (text_ids(listener.events), codes(listener.events)) == expected


def test_an_answer_begun_too_early_is_taken_back_and_the_person_goes_on(tiny, engine):
    """The first answer is begun at a pause; more is said; the second answer is that to all of it."""
    state, audio = engine.new_state(), clip(5, 7.1)
    speaker = Speaker(engine, state)
    pause = 16_000 * 4 + 5_000
    speaker.say(audio.samples[:pause])
    whole = speaker.live
    speaker.live = copy.deepcopy(whole)
    handle, listener = speaker.answer(engine, state, ENDLESS)
    listener.wait_for(TextDelta, count=3)
    handle.take_back()
    assert isinstance(listener.wait_for(*TERMINAL), TurnInterrupted) and not speaker.feed.is_over
    speaker.live = whole
    speaker.say(audio.samples[pause:])
    _, listener = speaker.answer(engine, state, number=2)
    assert isinstance(listener.wait_for(*TERMINAL), TurnFinished)
    assert (text_ids(listener.events), codes(listener.events)) == answered(tiny, (AudioPart(audio),))


def test_two_people_who_speak_at_once_are_answered_as_if_alone(tiny, engine):
    states, clips = [engine.new_state(), engine.new_state()], [clip(6), clip(7)]
    speakers = [Speaker(engine, state) for state in states]
    for start in range(0, len(clips[0].samples), 8_000):
        for speaker, audio in zip(speakers, clips):
            speaker.say(audio.samples[start : start + 8_000])
    listeners = [speaker.answer(engine, state)[1] for speaker, state in zip(speakers, states)]
    for listener, audio in zip(listeners, clips):
        listener.wait_for(*TERMINAL)
        assert (text_ids(listener.events), codes(listener.events)) == answered(tiny, (AudioPart(audio),))


def test_what_fails_while_listening_fails_the_turn_with_a_sentence_and_leaves_no_trace(tiny, engine, monkeypatch):
    state = engine.new_state()
    speaker = Speaker(engine, state)

    def broken(segment):
        raise torch.OutOfMemoryError("no")

    with monkeypatch.context() as patch:
        patch.setattr(engine.stages.thinker, "encode", broken)
        speaker.say(clip(8).samples)
        _, listener = speaker.answer(engine, state)
        failed = listener.wait_for(*TERMINAL)
    assert isinstance(failed, TurnFailed) and "memory" in failed.message
    assert state.num_tokens == 0 and speaker.feed.is_over
    assert issubclass(type(speaker.feed.error), DemoError)


def test_the_engine_closes_while_somebody_speaks(engine):
    state = engine.new_state()
    speaker = Speaker(engine, state)
    speaker.say(clip(9).samples)
    engine.close()
    assert speaker.feed.wait_over(WAIT_S)
