"""Turns that are stepped together: each says what it says alone, whoever comes, goes, fails or is stopped beside it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from app.chatml.render import render_turn
from app.engine.decoder import Decoder, KVCache
from app.engine.engine import Engine
from app.engine.stepping import Step, run_together
from app.types.events import TERMINAL, TurnFailed
from app.types.turn import TextPart
from tests.engine_kit import SYSTEM, codes, new_turn, noise_image, run, sound, text_ids, wave
from tests.test_engine_session import SETTINGS
from tests.test_engine_worker import submit

QUESTIONS = (
    (TextPart("hello"),),
    (sound(1), TextPart("what is that")),
    (TextPart("tell me more of it than that, please"),),
    (noise_image(2), TextPart("and this")),
    (TextPart("go on"),),
)
SAMPLED = replace(
    SETTINGS,
    thinker=replace(SETTINGS.thinker, do_sample=True, temperature=0.9, top_k=40, top_p=0.8),
    talker=replace(SETTINGS.talker, do_sample=True, temperature=0.9, top_k=40, top_p=0.8),
)


def started(tiny, parts, settings):
    state = tiny.engine.new_state()
    prompt = render_turn(tiny.engine.spec, tiny.engine.tokenizer, state, parts, SYSTEM)
    return new_turn(tiny.engine, state, prompt, settings), state


def together(turns):
    """All to their end, as the worker does it. Returns each one's events and how many steps were done at once."""
    events, live, sizes = [[] for _ in turns], {index: turn.steps() for index, turn in enumerate(turns)}, []
    asked = {}
    while live:
        for index in list(live):
            if index not in asked:
                advance(index, live, asked, events)
        steps = dict(asked)
        run_together(steps.values())
        sizes.append(len(steps))
        asked.clear()
        for index in steps:
            advance(index, live, asked, events)
    return events, sizes


def advance(index, live, asked, events):
    try:
        item = next(live[index])
    except StopIteration:
        del live[index]
        return
    if isinstance(item, Step):
        asked[index] = item
    elif item is not None:
        events[index].append(item)


@pytest.mark.parametrize("settings", [SETTINGS, SAMPLED], ids=["greedy", "sampled"])
def test_stepped_together_each_says_what_it_says_alone(tiny, settings):
    expected = [run(tiny.engine, tiny.engine.new_state(), parts, settings) for parts in QUESTIONS]
    with torch.inference_mode():
        found, sizes = together([started(tiny, parts, settings)[0] for parts in QUESTIONS])
    assert max(sizes) == len(QUESTIONS)
    for mine, wanted in zip(found, expected):
        assert (text_ids(mine), codes(mine)) == (text_ids(wanted), codes(wanted))
        assert np.abs(wave(mine) - wave(wanted)).max() < 1e-4


def test_states_of_caches_of_any_lengths_equal_those_of_each_alone(tiny):
    decoder = Decoder(tiny.model.thinker.model)
    width = tiny.model.thinker.model.layers[0].hidden_size
    generator = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        caches, pairs = [], []
        for length in (1, 300, 255, 256):
            embeds = torch.randn(length, width, generator=generator) * 0.1
            both = KVCache(), KVCache()
            for cache in both:
                decoder.forward(cache, embeds, torch.arange(length).expand(3, -1))
            caches.append(both[0])
            pairs.append(both[1])
        for round_ in range(4):
            embeds = torch.randn(len(caches), width, generator=generator) * 0.1
            places = torch.tensor([cache.length + 7 * round_ for cache in caches]).expand(3, -1)
            found = decoder.step(caches, embeds, places)
            for row, cache in enumerate(pairs):
                expected = decoder.forward(cache, embeds[row : row + 1], places[:, row : row + 1])
                assert (found[row] - expected[0]).abs().max() < 2e-5
    assert [cache.length for cache in caches] == [cache.length for cache in pairs] == [5, 304, 259, 260]


def test_a_step_that_fails_ends_its_own_turn_and_spoils_no_other(tiny, monkeypatch):
    """Done together they fail; then each is done by itself."""
    engine = Engine(tiny.engine.spec, tiny.engine.tokenizer, tiny.engine.stages, max_turns=3)
    words = [parts for parts in QUESTIONS if len(parts) == 1]
    states = [engine.new_state() for _ in words]
    decoder, sizes = tiny.engine.stages.thinker.decoder, []
    step, limit = decoder.step, 45

    def broken(caches, *args):
        sizes.append(len(caches))
        found = step(caches, *args)
        if any(cache is states[1].thinker_cache and cache.length > limit for cache in caches):
            raise torch.OutOfMemoryError("no memory")
        return found

    monkeypatch.setattr(decoder, "step", broken)
    listeners = [submit(engine, state, SETTINGS, parts[0].text)[1] for state, parts in zip(states, words)]
    ends = [listener.wait_for(*TERMINAL) for listener in listeners]
    monkeypatch.undo()
    engine.close()
    assert isinstance(ends[1], TurnFailed) and ends[1].code == "out_of_memory" and max(sizes) > 1
    assert states[1].num_tokens == states[1].thinker_cache.length == 0
    for index in (0, 2):
        expected = run(tiny.engine, tiny.engine.new_state(), words[index], SETTINGS)
        found = listeners[index].events
        assert (text_ids(found), codes(found)) == (text_ids(expected), codes(expected))
