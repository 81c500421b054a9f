"""A reply spoken once more: what the turn itself would have said in that voice, without a step of the Thinker."""

from dataclasses import replace

import pytest
import torch

from app.chatml.render import PastTurn, render_past
from app.engine.again import SpeechAgain, Spoken
from app.engine.metrics import TurnClock
from app.engine.stepping import alone
from app.types.events import TurnFinished
from app.types.prompt import Prompt
from tests.engine_kit import SYSTEM, codes, run, text_ids, wave
from tests.test_engine_session import SETTINGS, TURNS

OTHER = replace(SETTINGS, voice="Ethan", seed=3)
NOTHING = Prompt(())
SAMPLED = replace(OTHER, talker=replace(SETTINGS.talker, do_sample=True, temperature=1.0, top_k=20))


def spoken_at(mark, ids) -> Spoken:
    num_states = len(ids) - len(mark.pending_ids)
    return Spoken(mark, num_states, num_states)


def again(tiny, state, spoken, settings, seed, prompt=NOTHING):
    engine = tiny.engine
    turn = SpeechAgain(spoken, engine.stages, engine.tokenizer, state, prompt, settings, seed, 1, TurnClock(0.0))
    with torch.inference_mode():
        return list(turn.alone())


@pytest.fixture
def no_thinking(tiny, monkeypatch):
    """The Thinker may not run."""

    def refuse(*_):
        raise AssertionError("the Thinker ran")

    thinker = tiny.engine.stages.thinker
    return lambda: [
        monkeypatch.setattr(thinker, name, refuse) for name in ("step", "prefill", "encode", "append_reply")
    ]


@pytest.mark.parametrize("settings", [OTHER, SAMPLED], ids=["greedy", "sampled"])
def test_every_turn_spoken_again_equals_the_turn_in_that_voice(tiny, no_thinking, settings):
    state, marks, replies, wanted = tiny.engine.new_state(), [], [], []
    for parts in TURNS:
        other = tiny.engine.new_state()
        for past in TURNS[: len(marks)]:
            run(tiny.engine, other, past, SETTINGS)
        wanted.append(run(tiny.engine, other, parts, settings, seed=7))
        replies.append(text_ids(run(tiny.engine, state, parts, SETTINGS)))
        marks.append(state.mark())
    ids, length = list(state.ids), state.talker_length
    no_thinking()
    for place in (1, 0, 2, 0):
        events = again(tiny, state, spoken_at(marks[place], replies[place]), settings, 7)
        assert isinstance(events[-1], TurnFinished) and codes(events) == codes(wanted[place]), place
        assert (wave(events) == wave(wanted[place])).all()
        assert events[-1].metrics.num_reused_tokens == 0 and text_ids(events) == []
    assert state.ids == ids and state.talker_length <= length


def test_after_it_the_conversation_goes_on_as_if_nothing_had_been(tiny):
    states = [tiny.engine.new_state() for _ in range(2)]
    for parts in TURNS[:2]:
        replies = [text_ids(run(tiny.engine, state, parts, SETTINGS)) for state in states]
    again(tiny, states[0], spoken_at(states[0].mark(), replies[0]), OTHER, 7)
    after = [run(tiny.engine, state, TURNS[2], SETTINGS) for state in states]
    assert text_ids(after[0]) == text_ids(after[1]) and codes(after[0]) == codes(after[1])


def test_what_the_caches_lack_is_written_first(tiny):
    state = tiny.engine.new_state()
    replies = [text_ids(run(tiny.engine, state, parts, SETTINGS)) for parts in TURNS[:2]]
    wanted = again(tiny, state, spoken_at(state.mark(), replies[1]), OTHER, 7)
    fresh = tiny.engine.new_state()
    past = [PastTurn(parts, tuple(ids)) for parts, ids in zip(TURNS, replies)]
    prompt = render_past(tiny.engine.spec, tiny.engine.tokenizer, fresh, past, SYSTEM)
    num_states = len(replies[1]) - len(state.pending_ids)
    end = fresh.mark_at(prompt.boundaries[-1])
    num_cached = end.num_tokens - (state.num_tokens - num_states)
    events = again(tiny, fresh, Spoken(end, num_cached, num_states), OTHER, 7, prompt)
    assert codes(events) == codes(wanted)
    after = [run(tiny.engine, one, TURNS[2], SETTINGS) for one in (state, fresh)]
    assert text_ids(after[0]) == text_ids(after[1])


def test_stopping_it_leaves_the_conversation_as_it_was(tiny):
    state = tiny.engine.new_state()
    reply = text_ids(run(tiny.engine, state, TURNS[0], SETTINGS))
    before, ids = state.mark(), list(state.ids)
    engine, spoken = tiny.engine, spoken_at(before, reply)
    turn = SpeechAgain(spoken, engine.stages, engine.tokenizer, state, Prompt(()), OTHER, 7, 1, TurnClock(0.0))
    with torch.inference_mode():
        steps = alone(turn.steps())
        for _ in range(8):
            next(steps)
        steps.close()
        list(turn.interrupted())
    assert state.mark() == before and state.ids == ids
    assert state.talker_length == state.talker_cache.length
