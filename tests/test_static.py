"""Decoding on tables that stay where they are, as a GPU records it: every law of a session holds there too.

The tables are small, so that conversations outgrow their seats and take each other's.
"""

import logging
import random

import pytest
import torch
from transformers import Qwen2_5OmniForConditionalGeneration

from app.chatml.render import render_turn
from app.config import MICRO_CHECKPOINT
from app.engine import static
from app.engine.decoding import DecodeRunner
from app.engine.engine import Engine
from app.engine.loader import EngineOptions, build_engine, load_engine
from app.engine.sampling import TokenSampler
from app.engine.static import StaticRunner
from app.engine.stepping import run_together
from app.types.events import TERMINAL, TurnFinished
from app.types.turn import TextPart
from tests.engine_kit import SYSTEM, Tiny, codes, new_turn, run, text_ids
from tests.test_engine_again import (  # noqa: F401
    no_thinking,
    test_every_turn_spoken_again_equals_the_turn_in_that_voice,
)
from tests.test_engine_feed import (  # noqa: F401
    engine,
    test_an_answer_begun_too_early_is_taken_back_and_the_person_goes_on,
    test_two_people_who_speak_at_once_are_answered_as_if_alone,
)
from tests.test_engine_parity import test_greedy_text_and_codes_equal_generate  # noqa: F401
from tests.test_engine_session import (  # noqa: F401
    SETTINGS,
    TURNS,
    test_stopped_at_any_step_the_next_turn_works_and_knows_what_was_said,
    test_trimmed_to_turn_one_it_answers_as_if_turn_two_had_not_been,
    test_two_sessions_stepped_in_turn_give_what_each_gives_alone,
)
from tests.test_engine_worker import submit
from tests.test_stepping import (
    QUESTIONS,
    test_stepped_together_each_says_what_it_says_alone,  # noqa: F401
    together,
)
from training.domain.exchange import exchange

SMALL = {32: 4, 128: 4, 512: 2, 1024: 1}


@pytest.fixture(scope="module")
def eager(tiny):
    return tiny


@pytest.fixture(scope="module")
def tiny(tiny, tiny_checkpoint):
    """The same checkpoint behind a static engine."""
    patch = pytest.MonkeyPatch()
    patch.setattr(static, "TABLES", SMALL)
    model = Qwen2_5OmniForConditionalGeneration.from_pretrained(tiny_checkpoint).eval()
    made = build_engine(model, tiny.engine.tokenizer, tiny.engine.spec, 4, records=True)
    yield Tiny(made, tiny.model, tiny.processor)
    assert not made.stages.thinker.runner.is_broken and not made.stages.talker.runner.is_broken
    made.close()
    patch.undo()


def turn_of(tiny, parts):
    state = tiny.engine.new_state()
    prompt = render_turn(tiny.engine.spec, tiny.engine.tokenizer, state, parts, SYSTEM)
    return new_turn(tiny.engine, state, prompt, SETTINGS)


def test_tokens_are_decoded_at_tables_and_moved_from_one_to_the_next(tiny):
    """Else nothing of the above were a test of them."""
    seen = set()
    runner = tiny.engine.stages.thinker.runner
    forward = runner._forward

    def noted(table, steps):
        seen.add((table.rows.shape[4], len(steps)))
        return forward(table, steps)

    runner._forward = noted
    try:
        state = tiny.engine.new_state()
        for parts in TURNS:
            run(tiny.engine, state, parts, SETTINGS)
        with torch.inference_mode():
            together([turn_of(tiny, parts) for parts in QUESTIONS])
    finally:
        del runner._forward
    assert len({capacity for capacity, _ in seen}) > 1 and {size for _, size in seen} >= {1, 2}, seen


def test_more_conversations_than_seats_take_turns_and_lose_nothing(tiny, eager):
    """Seven take turns at tables of four, two and one seat."""
    words = [QUESTIONS[index % len(QUESTIONS)] for index in range(7)]
    expected = [run(eager.engine, eager.engine.new_state(), parts, SETTINGS) for parts in words]
    with torch.inference_mode():
        found, sizes = together([turn_of(tiny, parts) for parts in words])
    assert max(sizes) == 7
    for mine, wanted in zip(found, expected):
        assert (text_ids(mine), codes(mine)) == (text_ids(wanted), codes(wanted))


def test_a_conversation_beyond_all_tables_is_decoded_without(tiny, eager, monkeypatch):
    monkeypatch.setattr(static, "TABLES", {32: 4})
    expected = run(eager.engine, eager.engine.new_state(), TURNS[1], SETTINGS)
    found = run(tiny.engine, tiny.engine.new_state(), TURNS[1], SETTINGS)
    assert (text_ids(found), codes(found)) == (text_ids(expected), codes(expected))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no memory"), RuntimeError("cannot be recorded")])
def test_where_recording_fails_the_turn_goes_on_without_it(tiny, eager, monkeypatch, caplog, error):
    stage = tiny.engine.stages.thinker
    broken = StaticRunner(stage.decoder, stage.runner.head)

    def fails(*args):
        raise error

    monkeypatch.setattr(broken, "_pass", fails)
    monkeypatch.setattr(stage, "runner", broken)
    own = Engine(tiny.engine.spec, tiny.engine.tokenizer, tiny.engine.stages, max_turns=1)
    with caplog.at_level(logging.WARNING):
        with torch.inference_mode():
            broken.prepare(stage.input_width)
        assert broken.is_broken == (type(error) is RuntimeError)
        _, listener = submit(own, own.new_state(), SETTINGS)
        assert isinstance(listener.wait_for(*TERMINAL), TurnFinished)
    own.close()
    expected = run(eager.engine, eager.engine.new_state(), QUESTIONS[0], SETTINGS)
    assert text_ids(listener.events) == text_ids(expected)
    is_for_good = not isinstance(error, torch.OutOfMemoryError)
    assert broken.is_broken == is_for_good
    assert caplog.text.count("Recorded decoding failed") == int(is_for_good)


def test_one_pass_serves_all_sizes_of_a_table(tiny):
    """What a GPU records before the first turn: so many passes and no more."""
    stage = tiny.engine.stages.thinker
    runner = StaticRunner(stage.decoder, stage.runner.head)
    with torch.inference_mode():
        runner.prepare(stage.input_width)
    assert set(runner._tables) == {min(SMALL)} and set(runner._tables[min(SMALL)].passes) == set(static.SIZES)
    assert runner.num_bytes and isinstance(runner, DecodeRunner)


@pytest.mark.skipif(not (MICRO_CHECKPOINT / "config.json").is_file(), reason="assets/micro is not there")
def test_in_16_bits_both_ways_choose_the_same_tokens():
    """Teacher forcing on held-out questions: the right reply is given to both, however they choose."""
    generator = random.Random(5)
    asked = [exchange(generator, "test", spoken=False) for _ in range(40)]
    options = EngineOptions(str(MICRO_CHECKPOINT), device="cpu", dtype="bfloat16", text_only=True)
    micro = load_engine(options, lambda *_: None)
    thinker, chosen = micro.stages.thinker, []
    with torch.inference_mode():
        for kind in (DecodeRunner, StaticRunner):
            thinker.runner = kind(thinker.decoder, thinker.model.lm_head)
            chosen.append([])
            for one in asked:
                state = micro.new_state()
                prompt = render_turn(micro.spec, micro.tokenizer, state, (TextPart(one.user),), SYSTEM)
                for segment in prompt.segments:
                    *_, hidden = thinker.prefill(state, segment)
                sampler = TokenSampler(micro.spec.defaults.thinker.greedy(), 0, torch.device("cpu"), state.ids)
                forced = micro.tokenizer(one.reply, add_special_tokens=False)["input_ids"]
                chosen[-1].append(sampler.pick(thinker.logits(hidden)))
                for token_id in forced:
                    step = thinker.step(state, token_id, sampler)
                    run_together([step])
                    chosen[-1].append(step.next_id)
    micro.close()
    same = sum(one == other for one, other in zip(*chosen))
    assert len(chosen[0]) > 300 and same >= 0.995 * len(chosen[0]), (same, len(chosen[0]))
