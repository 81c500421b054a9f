"""The worker thread: every turn ends with exactly one terminal event, whatever is stopped, queued or thrown."""

import json
import threading
import time
from dataclasses import replace

import pytest
import torch

from app.chatml.render import render_turn
from app.engine.engine import Engine
from app.engine.loader import EngineOptions, can_import, load_engine
from app.errors import BadCheckpoint, BadConfig
from app.types.events import (
    TERMINAL,
    CodecDelta,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    TurnQueued,
    TurnStarted,
)
from app.types.turn import TALKER_SAMPLING, THINKER_SAMPLING, TextPart, TurnSettings
from tests.engine_kit import SYSTEM, codes, run, text_ids

WAIT_S = 60
SETTINGS = TurnSettings(
    thinker=replace(THINKER_SAMPLING, max_new_tokens=6),
    talker=replace(TALKER_SAMPLING.greedy(), max_new_tokens=30),
    ode_points=2,
)
ENDLESS = replace(
    SETTINGS,
    thinker=replace(SETTINGS.thinker, max_new_tokens=4000),
    talker=replace(SETTINGS.talker, max_new_tokens=100_000),
)


class Listener:
    """Collects one turn's events; `wait_for` returns when an event of a kind is there."""

    def __init__(self) -> None:
        self.events = []
        self._changed = threading.Condition()

    def __call__(self, event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait_for(self, *kinds, count=1):
        with self._changed:
            found = self._changed.wait_for(
                lambda: sum(isinstance(event, kinds) for event in self.events) >= count, WAIT_S
            )
        assert found, [type(event).__name__ for event in self.events]
        return self.events[-1]


@pytest.fixture
def engine(tiny):
    """An engine of its own over the shared weights, so that a test may close it."""
    made = Engine(tiny.engine.spec, tiny.engine.tokenizer, tiny.engine.stages, max_turns=2)
    yield made
    if not made._is_closed:
        made.close()


def submit(engine, state, settings=SETTINGS, text="hello", number=1):
    prompt = render_turn(engine.spec, engine.tokenizer, state, (TextPart(text),), SYSTEM)
    listener = Listener()
    return engine.submit(state, prompt, settings, number, listener), listener


def assert_grammar(events):
    body = [event for event in events if not isinstance(event, TurnQueued)]
    assert [isinstance(event, TERMINAL) for event in body].count(True) == 1 and isinstance(body[-1], TERMINAL)
    assert isinstance(body[0], (TurnStarted, *TERMINAL))
    times = [event.t_s for event in events]
    assert times == sorted(times)


def test_a_submitted_turn_gives_what_the_steps_give(tiny, engine):
    _, listener = submit(engine, engine.new_state())
    listener.wait_for(*TERMINAL)
    expected = run(tiny.engine, tiny.engine.new_state(), (TextPart("hello"),), SETTINGS)
    assert_grammar(listener.events)
    assert (text_ids(listener.events), codes(listener.events)) == (text_ids(expected), codes(expected))


def test_more_turns_than_places_wait_in_order_and_are_told(engine):
    both = [submit(engine, engine.new_state(), ENDLESS, number=index) for index in range(4)]
    both[3][1].wait_for(TurnQueued)
    assert [event.num_ahead for event in both[3][1].events] == [3]
    both[0][1].wait_for(CodecDelta, count=3)
    both[0][0].stop()
    both[2][1].wait_for(TurnStarted)
    for handle, _ in both:
        handle.stop()
    for _, listener in both:
        assert isinstance(listener.wait_for(*TERMINAL), TurnInterrupted)
        assert_grammar(listener.events)


def test_stop_ends_a_turn_that_still_waits_and_leaves_its_state_alone(engine):
    running = [submit(engine, engine.new_state(), ENDLESS) for _ in range(2)]
    state = engine.new_state()
    handle, listener = submit(engine, state)
    listener.wait_for(TurnQueued)
    handle.stop()
    assert isinstance(listener.wait_for(*TERMINAL), TurnInterrupted)
    assert state.num_tokens == 0
    for handle, listener in running:
        handle.stop()
        listener.wait_for(*TERMINAL)


def test_nothing_follows_a_stop_but_its_own_account(engine):
    handle, listener = submit(engine, engine.new_state(), ENDLESS)
    listener.wait_for(CodecDelta, count=5)
    handle.stop()
    listener.wait_for(*TERMINAL)
    handle.stop()
    _, second = submit(engine, engine.new_state())
    second.wait_for(*TERMINAL)
    assert_grammar(listener.events)


def test_a_failing_step_ends_its_own_turn_and_no_other(engine, monkeypatch):
    state = engine.new_state()
    submit(engine, state)[1].wait_for(TurnFinished)
    mark = state.mark()
    other_handle, other = submit(engine, engine.new_state(), ENDLESS)
    other.wait_for(CodecDelta)

    def broken(*args):
        raise ValueError("a broken kernel")

    monkeypatch.setattr(engine.stages.thinker, "prefill", broken)
    _, listener = submit(engine, state, number=2)
    failed = listener.wait_for(*TERMINAL)
    monkeypatch.undo()
    assert isinstance(failed, TurnFailed) and failed.code == "internal" and "kernel" not in failed.message
    assert state.mark() == mark
    other.wait_for(CodecDelta, count=10)
    other_handle.stop()
    assert isinstance(other.wait_for(*TERMINAL), TurnInterrupted)
    _, again = submit(engine, state, number=3)
    assert isinstance(again.wait_for(*TERMINAL), TurnFinished)


def test_a_turn_that_cannot_even_be_made_fails_alone(engine):
    """A voice that the checkpoint does not have; the service never lets it come this far."""
    state = engine.new_state()
    _, listener = submit(engine, state, replace(SETTINGS, voice="nobody"))
    assert isinstance(listener.wait_for(*TERMINAL), TurnFailed) and state.num_tokens == 0


def test_out_of_memory_has_its_own_code_and_nothing_is_lost(engine, monkeypatch):
    state = engine.new_state()
    submit(engine, state)[1].wait_for(TurnFinished)
    mark = state.mark()

    def exhausted(*args):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(engine.stages.thinker, "prefill", exhausted)
    failed = submit(engine, state)[1].wait_for(*TERMINAL)
    assert isinstance(failed, TurnFailed) and failed.code == "out_of_memory"
    assert state.mark() == mark


@pytest.mark.parametrize("stage", ["thinker", "talker"])
def test_a_pass_that_fails_between_two_layers_leaves_the_caches_as_they_were(engine, stage):
    """As memory does when it runs out: the first layers have the new tokens already, the last ones have not."""
    state, never = engine.new_state(), engine.new_state()
    for one in (state, never):
        submit(engine, one)[1].wait_for(TurnFinished)
    calls, last = [], getattr(engine.stages, stage).decoder.layers[-1]

    def exhausted(hidden, *turn):
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("no memory")
        return type(last).heads(last, hidden, *turn)

    last.heads = exhausted
    failed = submit(engine, state, text="what else", number=2)[1].wait_for(*TERMINAL)
    del last.heads
    assert isinstance(failed, TurnFailed) and len(calls) == 3
    after, expected = (submit(engine, one, text="and now", number=3)[1] for one in (state, never))
    assert isinstance(after.wait_for(*TERMINAL), TurnFinished), after.events[-1]
    expected.wait_for(*TERMINAL)
    assert (text_ids(after.events), codes(after.events)) == (text_ids(expected.events), codes(expected.events))


def test_close_stops_all_turns_and_joins(engine):
    listeners = [submit(engine, engine.new_state(), ENDLESS)[1] for _ in range(4)]
    listeners[0].wait_for(CodecDelta)
    engine.close()
    assert all(isinstance(listener.events[-1], TurnInterrupted) for listener in listeners)
    assert not engine._worker.is_alive()


def test_times_count_from_the_users_submit(engine):
    listener = Listener()
    state = engine.new_state()
    prompt = render_turn(engine.spec, engine.tokenizer, state, (TextPart("hello"),), SYSTEM)
    engine.submit(state, prompt, SETTINGS, 1, listener, submitted_at=time.monotonic() - 100)
    assert listener.wait_for(*TERMINAL).metrics.ttft_s > 100


def test_the_loader_reads_everything_from_the_checkpoint(tiny, tiny_checkpoint):
    spec, model = tiny.engine.spec, tiny.model
    assert spec.voices == tuple(model.speaker_map) and spec.has_talker and spec.is_random
    assert not spec.is_micro
    assert spec.codec_frame_s == 0.02 and spec.output_sample_rate == 24_000
    assert spec.context_length == model.config.thinker_config.text_config.max_position_embeddings
    assert spec.media.vision.image_max_pixels == tiny.processor.image_processor.size["longest_edge"]
    named = json.loads((tiny_checkpoint / "generation_config.json").read_text())
    assert spec.defaults.thinker.max_new_tokens == named["thinker_max_new_tokens"]
    assert spec.defaults.ode_points == named["token2wav_num_steps"]


def test_text_only_loads_no_talker(tiny_checkpoint):
    seen = []
    engine = load_engine(
        EngineOptions(str(tiny_checkpoint), device="cpu", text_only=True), lambda *step: seen.append(step)
    )
    try:
        assert not engine.spec.has_talker and engine.spec.voices == () and engine.stages.token2wav is None
        _, listener = submit(engine, engine.new_state())
        assert isinstance(listener.wait_for(*TERMINAL), TurnFinished) and not codes(listener.events)
    finally:
        engine.close()
    shares = [share for stage, share in seen if stage == "weights"]
    assert shares == sorted(shares) and len(shares) > 10 and shares[-1] == 1.0


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"checkpoint": "no/such/folder"}, BadCheckpoint, "no/such/folder"),
        ({"checkpoint": "nobody/none-of-that"}, BadCheckpoint, "fetched from the hub.*network"),
        ({"checkpoint": "/home/anna/nothing"}, BadCheckpoint, "^nothing cannot be loaded"),
        ({"checkpoint": ""}, BadCheckpoint, "checkpoint"),
        ({"device": "abacus"}, BadConfig, "abacus"),
        ({"dtype": "int3"}, BadConfig, "int3"),
        ({"engine": "steam"}, BadConfig, "steam"),
        ({"engine": "graphs"}, BadConfig, "NVIDIA"),
        ({"attention": "full"}, BadConfig, "full"),
        ({"attention": "flash_attention_2"}, BadConfig, "flash-attn"),
    ],
)
def test_what_cannot_be_loaded_is_told_in_one_sentence(tiny_checkpoint, options, error, word):
    with pytest.raises(error, match=word) as caught:
        load_engine(EngineOptions(**{"checkpoint": str(tiny_checkpoint), "device": "cpu", **options}), lambda *_: None)
    assert "\n" not in caught.value.message and caught.value.message.endswith(".")


@pytest.mark.parametrize("damage", ["no weights", "cut weights", "no voices", "bad config", "other model", "pickle"])
def test_a_damaged_checkpoint_is_refused(tiny_checkpoint, tmp_path, damage):
    for file in tiny_checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    match damage:
        case "no weights":
            weights.unlink()
        case "cut weights":
            weights.write_bytes(weights.read_bytes()[:100_000])
        case "no voices":
            (tmp_path / "spk_dict.pt").unlink()
        case "bad config":
            (tmp_path / "config.json").write_text("{")
        case "other model":
            (tmp_path / "config.json").write_text('{"model_type": "llama"}')
        case "pickle":
            torch.save({"Eve": threading.Event}, tmp_path / "spk_dict.pt")
    with pytest.raises(BadCheckpoint) as caught:
        load_engine(EngineOptions(str(tmp_path), device="cpu"), lambda *_: None).close()
    assert "\n" not in caught.value.message


def test_a_compiled_package_of_another_build_counts_as_absent(tmp_path, monkeypatch):
    (tmp_path / "built_for_another_torch.py").write_text('raise ImportError("undefined symbol: _ZN3c104cuda")')
    monkeypatch.syspath_prepend(tmp_path)
    assert can_import("json") and not can_import("built_for_another_torch") and not can_import("never_installed")
