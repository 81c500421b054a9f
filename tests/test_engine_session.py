"""A conversation in the cache equals one computed afresh; two of them do not touch; stopping leaves no trace."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from app.chatml.cursor import Cursor
from app.chatml.render import PastTurn, render_turn
from app.engine.stepping import Step, alone, run_together
from app.errors import ContextFull
from app.types.events import TextDelta, TurnFinished, TurnInterrupted
from app.types.turn import TALKER_SAMPLING, THINKER_SAMPLING, TextPart, TurnSettings
from tests.engine_kit import (
    SYSTEM,
    afresh,
    codes,
    last_states,
    new_turn,
    noise_image,
    noise_video,
    run,
    sound,
    text_ids,
    wave,
)

SETTINGS = TurnSettings(
    thinker=replace(THINKER_SAMPLING, max_new_tokens=10),
    talker=replace(TALKER_SAMPLING.greedy(), max_new_tokens=30),
    ode_points=2,
)
TURNS = (
    (noise_image(1), sound(2, 2.5), TextPart("what is this")),
    (noise_video(3, seconds=5, sound_s=4.4), TextPart("and that")),
    (TextPart("so"), sound(4, 1.2), noise_image(5, 56, 84)),
)
MANY = (noise_video(6, seconds=9, sound_s=9.5), sound(7, 6), noise_image(8), TextPart("all of it"))


def thinker_logits(tiny, prompt):
    """All logits of a prompt on an empty cache."""
    thinker = tiny.engine.stages.thinker
    state = tiny.engine.new_state()
    with torch.inference_mode(), last_states(thinker.decoder) as seen:
        for segment in prompt.segments:
            list(thinker.prefill(state, segment, list(thinker.encode(segment))))
        logits = thinker.model.lm_head(torch.cat(seen))
    return state, logits


def test_three_turns_appended_equal_a_fresh_prefill(tiny):
    """Ids, positions, states and logits of both: the cache built turn by turn, and the whole history at once."""
    state, past = tiny.engine.new_state(), []
    thinker = tiny.engine.stages.thinker
    with last_states(thinker.decoder) as seen:
        for parts in TURNS:
            events = run(tiny.engine, state, parts, SETTINGS)
            past.append(PastTurn(parts, tuple(text_ids(events))))
    with torch.inference_mode():
        appended = thinker.model.lm_head(torch.cat(seen))
    prompt = afresh(tiny.engine, past, (TextPart("end"),))
    fresh, expected = thinker_logits(tiny, prompt)
    length = state.num_tokens
    assert fresh.ids[:length] == state.ids
    assert torch.equal(fresh.positions.since(0)[:length], state.positions.since(0))
    assert (appended - expected[:length]).abs().max() < 1e-4
    assert torch.equal(appended.argmax(-1), expected[:length].argmax(-1))
    assert (fresh.states.since(0)[:length] - state.states.since(0)).abs().max() < 1e-4


def test_the_talker_behind_two_turns_gives_what_a_fresh_one_gives(tiny):
    state, past = tiny.engine.new_state(), []
    for parts in TURNS[:2]:
        past.append(PastTurn(parts, tuple(text_ids(run(tiny.engine, state, parts, SETTINGS)))))
    assert 0 < state.talker_length < state.num_tokens
    logits: list[torch.Tensor] = []
    hook = tiny.engine.stages.talker.model.codec_head.register_forward_hook(lambda m, a, output: logits.append(output))
    appended = run(tiny.engine, state, TURNS[2], SETTINGS)
    num_steps = len(logits)
    with torch.inference_mode():
        prompt = afresh(tiny.engine, past, TURNS[2])
        fresh = list(new_turn(tiny.engine, tiny.engine.new_state(), prompt, SETTINGS).alone())
    hook.remove()
    assert text_ids(fresh) == text_ids(appended)
    assert codes(fresh) == codes(appended)
    difference = (torch.cat(logits[:num_steps]) - torch.cat(logits[num_steps:])).abs().max()
    assert difference < 1e-4


def test_a_later_turn_prefills_only_its_own_tokens(tiny):
    state = tiny.engine.new_state()
    before = 0
    for parts in TURNS:
        events = run(tiny.engine, state, parts, SETTINGS)
        metrics = events[-1].metrics
        assert metrics.num_reused_tokens == before
        before = state.num_tokens
        assert metrics.num_reused_tokens + metrics.num_prompt_tokens + len(text_ids(events)) - 1 == before


def test_trimmed_to_turn_one_it_answers_as_if_turn_two_had_not_been(tiny):
    state, other = tiny.engine.new_state(), tiny.engine.new_state()
    run(tiny.engine, state, TURNS[0], SETTINGS)
    run(tiny.engine, other, TURNS[0], SETTINGS)
    mark, num_bytes = state.mark(), state.num_bytes
    run(tiny.engine, state, TURNS[1], SETTINGS)
    assert state.num_bytes > num_bytes
    state.trim(mark)
    assert state.mark() == mark
    trimmed, never = run(tiny.engine, state, TURNS[2], SETTINGS), run(tiny.engine, other, TURNS[2], SETTINGS)
    assert (text_ids(trimmed), codes(trimmed)) == (text_ids(never), codes(never))
    assert np.abs(wave(trimmed) - wave(never)).max() < 1e-4


@pytest.mark.parametrize("size", [1, 40, 10_000])
def test_segments_of_any_size_give_the_same_logits(tiny, size):
    engine, parts = tiny.engine, MANY
    whole = render_turn(engine.spec, engine.tokenizer, engine.new_state(), parts, SYSTEM, min_segment_tokens=10**9)
    cut = render_turn(engine.spec, engine.tokenizer, engine.new_state(), parts, SYSTEM, min_segment_tokens=size)
    assert len(whole.segments) == 1 and (size == 10_000 or len(cut.segments) > 5)
    (first, logits), (second, expected) = thinker_logits(tiny, cut), thinker_logits(tiny, whole)
    assert first.ids == second.ids and first.mark() == second.mark()
    assert (logits - expected).abs().max() < 1e-4


def test_two_sessions_stepped_in_turn_give_what_each_gives_alone(tiny):
    expected_of = [run(tiny.engine, tiny.engine.new_state(), parts, SETTINGS) for parts in TURNS[:2]]
    got: list[list] = [[], []]
    with torch.inference_mode():
        turns = []
        for parts in TURNS[:2]:
            state = tiny.engine.new_state()
            prompt = render_turn(tiny.engine.spec, tiny.engine.tokenizer, state, parts, SYSTEM)
            turns.append(alone(new_turn(tiny.engine, state, prompt, SETTINGS).steps()))
        live = [0, 1]
        while live:
            for index in list(live):
                try:
                    event = next(turns[index])
                    if event is not None:
                        got[index].append(event)
                except StopIteration:
                    live.remove(index)
    for mine, expected in zip(got, expected_of):
        assert (text_ids(mine), codes(mine)) == (text_ids(expected), codes(expected))
        assert np.array_equal(wave(mine), wave(expected))


def test_stopped_at_any_step_the_next_turn_works_and_knows_what_was_said(tiny):
    """Wherever it is stopped, the session is what a fresh one with the shortened reply would be."""
    total = sum(1 for _ in steps(tiny, tiny.engine.new_state()))
    for stop_at in sorted({0, 1, 2, 3, 4, 5, 6, 8, 9, 12, 20, 30, total - 2, total - 1}):
        state = tiny.engine.new_state()
        run(tiny.engine, state, TURNS[0], SETTINGS)
        before = state.mark()
        turn, events = stop(tiny, state, stop_at)
        last = events[-1]
        assert isinstance(last, TurnInterrupted), (stop_at, last)
        reply = tuple(text_ids(events))
        if not reply:
            assert state.mark() == before, stop_at
            continue
        past = [PastTurn(TURNS[0], first_reply(tiny)), PastTurn(TURNS[1], reply)]
        following = run(tiny.engine, state, TURNS[2], SETTINGS)
        with torch.inference_mode():
            prompt = afresh(tiny.engine, past, TURNS[2])
            fresh = new_turn(tiny.engine, tiny.engine.new_state(), prompt, SETTINGS)
            expected = list(fresh.alone())
        assert text_ids(following) == text_ids(expected), stop_at
        assert codes(following) == codes(expected), stop_at


def first_reply(tiny) -> tuple[int, ...]:
    return tuple(text_ids(run(tiny.engine, tiny.engine.new_state(), TURNS[0], SETTINGS)))


def steps(tiny, state):
    with torch.inference_mode():
        prompt = render_turn(tiny.engine.spec, tiny.engine.tokenizer, state, TURNS[1], SYSTEM)
        for item in new_turn(tiny.engine, state, prompt, SETTINGS).steps():
            if isinstance(item, Step):
                run_together([item])
            yield item


def stop(tiny, state, stop_at):
    """Run `stop_at` steps of the second turn, then stop it as the engine does."""
    with torch.inference_mode():
        prompt = render_turn(tiny.engine.spec, tiny.engine.tokenizer, state, TURNS[1], SYSTEM)
        turn = new_turn(tiny.engine, state, prompt, SETTINGS)
        running, events = turn.steps(), []
        for index in range(stop_at):
            item = next(running, None)
            if isinstance(item, Step):
                if index < stop_at - 1:  # else stopped before it is done
                    run_together([item])
            elif item is not None and not isinstance(item, TurnFinished):
                events.append(item)
        running.close()
        events += turn.interrupted()
    return turn, events


def test_a_given_reply_is_spoken_as_if_it_had_been_sampled(tiny):
    """Same ids, same codes, same state behind it; the Thinker samples nothing."""
    sampled_state, given_state = tiny.engine.new_state(), tiny.engine.new_state()
    settings = replace(SETTINGS, thinker=replace(SETTINGS.thinker, max_new_tokens=9))
    prompt = render_turn(tiny.engine.spec, tiny.engine.tokenizer, given_state, TURNS[0], SYSTEM)
    sampled = run(tiny.engine, sampled_state, TURNS[0], settings)
    # The last sampled token hit the length and is not spoken by the library either.
    reply = tuple(text_ids(sampled))[:-1]
    with torch.inference_mode():
        given_turn = new_turn(tiny.engine, given_state, replace(prompt, reply_ids=reply), settings)
        given = list(given_turn.alone())
    assert tuple(text_ids(given)) == reply
    assert codes(given) == codes(sampled)
    assert given_state.ids == sampled_state.ids


@pytest.mark.parametrize("text", ["", "Привет, мир", "你好 🙂", "<|im_end|>"])
def test_any_text_can_be_given_as_reply(tiny, text):
    events = run(tiny.engine, tiny.engine.new_state(), (TextPart("say it"),), SETTINGS, reply=text)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == text
    assert isinstance(events[-1], TurnFinished)
    assert bool(codes(events)) == bool(text)


def test_an_empty_reply_is_no_error_and_no_sound(tiny):
    """The model may end at once; the library's generate() raises then."""
    first = text_ids(run(tiny.engine, tiny.engine.new_state(), TURNS[0], SETTINGS))[0]
    kept = tiny.engine.stages
    tiny.engine.stages = replace(kept, ends_of_text=frozenset({first}))
    try:
        state = tiny.engine.new_state()
        events = run(tiny.engine, state, TURNS[0], SETTINGS)
        assert text_ids(events) == [first] and codes(events) == [] and isinstance(events[-1], TurnFinished)
    finally:
        tiny.engine.stages = kept
    assert isinstance(run(tiny.engine, state, TURNS[1], SETTINGS)[-1], TurnFinished)


def test_a_talker_that_ends_at_once_says_nothing_and_the_text_goes_on(tiny):
    """The library's vocoder raises on no codes at all."""
    talker = tiny.engine.stages.talker
    expected = run(tiny.engine, tiny.engine.new_state(), TURNS[0], SETTINGS)
    old = talker.end_ids
    talker.end_ids = frozenset({codes(expected)[0]})
    try:
        state = tiny.engine.new_state()
        events = run(tiny.engine, state, TURNS[0], SETTINGS)
    finally:
        talker.end_ids = old
    assert len(codes(events)) == 1 and len(wave(events)) == 0 and events[-1].metrics.speech_end == "eos"
    assert text_ids(events) == text_ids(expected)
    assert isinstance(run(tiny.engine, state, TURNS[1], SETTINGS)[-1], TurnFinished)


def test_speech_that_ends_before_the_text_is_heard_before_it(tiny):
    """What was kept back for its look-ahead goes out at the end of speech, not at the end of the text."""
    talker = tiny.engine.stages.talker
    settings = replace(SETTINGS, thinker=replace(SETTINGS.thinker, max_new_tokens=25))
    old, end = talker.end_ids, codes(run(tiny.engine, tiny.engine.new_state(), TURNS[0], settings))[8]
    talker.end_ids = frozenset({end})
    try:
        events = run(tiny.engine, tiny.engine.new_state(), TURNS[0], settings)
    finally:
        talker.end_ids = old
    kinds = [type(event).__name__ for event in events]
    assert kinds.index("AudioChunk") < len(kinds) - 1 - kinds[::-1].index("TextDelta")


def test_a_talker_that_never_ends_is_bounded_by_its_text(tiny):
    settings = replace(SETTINGS, thinker=replace(SETTINGS.thinker, max_new_tokens=2), talker=TALKER_SAMPLING)
    metrics = run(tiny.engine, tiny.engine.new_state(), (TextPart("hi"),), settings)[-1].metrics
    assert metrics.speech_end == "bound"
    assert metrics.num_codec_frames == 100 + 40 * 2


def test_text_only_leaves_the_talker_alone_and_it_catches_up_later(tiny):
    state, other = tiny.engine.new_state(), tiny.engine.new_state()
    silent = run(tiny.engine, state, TURNS[0], replace(SETTINGS, speak=False))
    assert not codes(silent) and state.talker_length == 0
    run(tiny.engine, other, TURNS[0], SETTINGS)
    assert codes(run(tiny.engine, state, TURNS[2], SETTINGS)) == codes(run(tiny.engine, other, TURNS[2], SETTINGS))


def test_a_turn_beyond_the_context_is_refused_and_nothing_changes(tiny):
    state = tiny.engine.new_state()
    run(tiny.engine, state, TURNS[0], SETTINGS)
    mark = state.mark()
    spec = replace(tiny.engine.spec, context_length=state.num_tokens + 60)
    with pytest.raises(ContextFull, match="forget the oldest turns"):
        render_turn(spec, tiny.engine.tokenizer, state, TURNS[1], SYSTEM)
    assert state.mark() == mark


def test_state_tells_its_bytes(tiny):
    """What the spec says of a token, and the places of tokens; tables grow ahead of their rows by a quarter."""
    state = tiny.engine.new_state()
    assert state.num_bytes == 0
    for parts in TURNS:
        run(tiny.engine, state, parts, SETTINGS)
        # The Talker's cache ends with the prompt, yet holds on to the codes that were cropped off it.
        # A cache begins with room for 256 tokens.
        told, per_token = state.num_bytes, tiny.engine.spec.bytes_per_token
        at_most = 1.4 * max(256, state.num_tokens) * per_token + state.positions.num_bytes
        assert 0.9 * state.num_tokens * per_token <= told <= at_most, (told, state.num_tokens * per_token)
    state.close()
    assert state.num_bytes == 0 and state.num_tokens == 0


def test_a_reply_starts_at_the_highest_position():
    cursor = Cursor()
    cursor.line(3)
    cursor.place(torch.tensor([[3, 3], [3, 40], [3, 3]]))
    assert (cursor.next, cursor.top) == (41, 41)
    cursor.place(torch.tensor([[5], [5], [5]]))
    assert (cursor.next, cursor.top) == (6, 41)
    cursor.jump_to_top()
    assert cursor.next == 41
