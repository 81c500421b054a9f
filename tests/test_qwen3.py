"""Qwen3-Omni behind the same engine: it says what `generate()` says, and every law of a session holds there too."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3OmniMoeForConditionalGeneration, Qwen3OmniMoeProcessor

from app.engine.experts import FEW_ROWS, Experts
from app.engine.loader import EngineOptions, load_engine
from app.errors import BadConfig
from app.types.turn import TextPart
from tests import test_engine_again, test_engine_feed, test_engine_parity, test_engine_session, test_stepping
from tests.engine_kit import SYSTEM, Tiny, codes, noise_image, noise_video, run, sound, text_ids, wave
from tests.test_decoder import (  # noqa: F401
    pair,
    test_positions_far_out_turn_as_the_librarys_do,
    test_states_equal_the_librarys_in_one_pass_in_pieces_and_behind_a_crop,
)
from tests.test_engine_again import (  # noqa: F401
    no_thinking,
    test_after_it_the_conversation_goes_on_as_if_nothing_had_been,
    test_every_turn_spoken_again_equals_the_turn_in_that_voice,
    test_what_the_caches_lack_is_written_first,
)
from tests.test_engine_feed import (  # noqa: F401
    engine,
    test_a_message_that_is_taken_back_leaves_no_trace,
    test_an_answer_begun_too_early_is_taken_back_and_the_person_goes_on,
    test_two_people_who_speak_at_once_are_answered_as_if_alone,
    test_what_is_fed_while_it_is_spoken_is_answered_like_the_whole_clip,
)
from tests.test_engine_parity import (  # noqa: F401
    GREEDY,
    test_greedy_text_and_codes_equal_generate,
    test_sampled_codes_equal_generate_with_the_same_seed,
    test_text_and_codec_tokens_interleave_from_the_second_text_token,
)
from tests.test_engine_session import (  # noqa: F401
    test_a_given_reply_is_spoken_as_if_it_had_been_sampled,
    test_a_later_turn_prefills_only_its_own_tokens,
    test_segments_of_any_size_give_the_same_logits,
    test_stopped_at_any_step_the_next_turn_works_and_knows_what_was_said,
    test_text_only_leaves_the_talker_alone_and_it_catches_up_later,
    test_the_talker_behind_two_turns_gives_what_a_fresh_one_gives,
    test_three_turns_appended_equal_a_fresh_prefill,
    test_trimmed_to_turn_one_it_answers_as_if_turn_two_had_not_been,
    test_two_sessions_stepped_in_turn_give_what_each_gives_alone,
)
from tests.test_stepping import started, test_stepped_together_each_says_what_it_says_alone  # noqa: F401

SIZE = (64, 96)
CASES = {
    "text": (TextPart("hello there"),),
    "image": (noise_image(1, *SIZE), TextPart("what is it")),
    "audio": (sound(2, 5.3), TextPart("what")),
    "audio alone": (sound(3, 2.02),),
    "video": (noise_video(4, size=SIZE), TextPart("what happens")),
    "video with sound": (noise_video(5, seconds=5, sound_s=5.2, size=SIZE), TextPart("what happens")),
    "video with a longer sound": (noise_video(6, seconds=2, sound_s=9.1, size=SIZE),),
    "video with a short sound": (noise_video(7, seconds=6, sound_s=1.5, size=SIZE), TextPart("so")),
    "two images and a sound": (noise_image(8, *SIZE), TextPart("and"), noise_image(9, 32, 160), sound(10, 1.0)),
}
TURNS = (
    (noise_image(1, *SIZE), sound(2, 2.5), TextPart("what is this")),
    (noise_video(3, seconds=5, sound_s=4.4, size=SIZE), TextPart("and that")),
    (TextPart("so"), sound(4, 1.2), noise_image(5, 32, 64)),
)
MANY = (
    noise_video(6, seconds=17, sound_s=17.5, size=SIZE),
    sound(7, 25),
    noise_image(8, *SIZE),
    noise_image(9, *SIZE),
    TextPart("all of it"),
)
QUESTIONS = (
    (TextPart("hello"),),
    (sound(1), TextPart("what is that")),
    (TextPart("tell me more of it than that, please"),),
    (noise_image(2, *SIZE), TextPart("and this")),
    (TextPart("go on"),),
)


@pytest.fixture(scope="module")
def tiny(tiny_qwen3_checkpoint: Path) -> Iterator[Tiny]:
    """The tiny Qwen3-Omni, with pictures of the sizes that it takes, and messages longer than its blocks of
    sound."""
    patch = pytest.MonkeyPatch()
    patch.setattr(test_engine_feed, "FIRST_S", 9.3)
    patch.setattr(test_engine_feed, "SECOND_S", 8.5)
    patch.setattr(test_stepping, "QUESTIONS", QUESTIONS)
    patch.setattr(test_engine_parity, "CASES", CASES)
    patch.setattr(test_engine_session, "MANY", MANY)
    for module in (test_engine_session, test_engine_again):
        patch.setattr(module, "TURNS", TURNS)
    made = load_engine(EngineOptions(str(tiny_qwen3_checkpoint), device="cpu"), lambda stage, share: None)
    model = Qwen3OmniMoeForConditionalGeneration.from_pretrained(tiny_qwen3_checkpoint).eval()
    yield Tiny(made, model, Qwen3OmniMoeProcessor.from_pretrained(tiny_qwen3_checkpoint))
    made.close()
    patch.undo()


def test_first_packet_comes_after_two_frames(tiny):
    events = run(tiny.engine, tiny.engine.new_state(), CASES["text"], GREEDY)
    names = [type(event).__name__ for event in events]
    assert names[: names.index("AudioChunk")].count("CodecDelta") == 2
    assert np.abs(wave(events)).max() > 0.01
    assert len(codes(events)) == GREEDY.talker.max_new_tokens * tiny.model.config.talker_config.num_code_groups


def test_what_a_speaker_map_and_narrow_weights_are_for_is_refused_with_a_sentence(tiny_qwen3_checkpoint, tmp_path):
    for options in ({"voices": (tmp_path / "more.pt",)}, {"quantize": "int8"}):
        with pytest.raises(BadConfig, match="Qwen3-Omni"):
            load_engine(EngineOptions(str(tiny_qwen3_checkpoint), device="cpu", **options), lambda stage, share: None)


def test_without_its_talker_it_answers_the_same_text(tiny, tiny_qwen3_checkpoint):
    options = EngineOptions(str(tiny_qwen3_checkpoint), device="cpu", text_only=True)
    mute = load_engine(options, lambda stage, share: None)
    try:
        assert not mute.spec.has_talker and mute.spec.voices == ()
        for parts in (CASES["image"], CASES["video with sound"]):
            expected = text_ids(run(tiny.engine, tiny.engine.new_state(), parts, GREEDY))
            assert text_ids(run(mute, mute.new_state(), parts, GREEDY)) == expected
    finally:
        mute.close()


@torch.inference_mode()
def test_few_rows_and_many_take_the_same_experts(tiny):
    for model in (tiny.model.thinker, tiny.model.talker):
        block = model.model.layers[0].mlp
        rows = torch.randn(11, model.model.layers[0].hidden_size, generator=torch.Generator().manual_seed(0))
        many, expected = Experts(block)(rows), block(rows[None])[0]
        few = torch.cat([Experts(block)(part) for part in rows.split(FEW_ROWS)])
        assert (many - expected).abs().max() < 1e-5 and (few - expected).abs().max() < 1e-5


def test_the_talker_reads_what_users_said_and_nothing_else(tiny):
    talker, state = tiny.engine.stages.talker, tiny.engine.new_state()
    for parts in TURNS:
        run(tiny.engine, state, parts, GREEDY)
    ids = tiny.engine.tokenizer.decode(
        [id_ for id_, read in zip(state.ids, talker.placed(state, state.num_tokens)[0]) if read]
    )
    assert ids.count("<|im_start|>user") == 3 == ids.count("<|im_start|>") and SYSTEM not in ids
    assert state.talker_cache.length == talker.num_read(state.ids, state.talker_length)


@pytest.mark.parametrize("talker", ["greedy", "sampled"])
def test_frames_that_fail_together_are_completed_one_by_one_and_stay_what_they_were(tiny, monkeypatch, talker):
    sampling = tiny.engine.spec.defaults.talker
    sampling = replace(sampling.greedy() if talker == "greedy" else sampling, max_new_tokens=20)
    settings = replace(GREEDY, talker=sampling)
    alone = [run(tiny.engine, tiny.engine.new_state(), parts, settings) for parts in QUESTIONS[:3]]
    predictor, failed = tiny.engine.stages.talker.predictor, []
    complete = type(predictor).complete

    def broken(states, hidden, first):
        completed = complete(predictor, states, hidden, first)
        if len(states) > 1 and len(failed) < 3:
            failed.append(len(states))
            raise torch.OutOfMemoryError("no memory")
        return completed

    monkeypatch.setattr(predictor, "complete", broken)
    with torch.inference_mode():
        found, _ = test_stepping.together([started(tiny, parts, settings)[0] for parts in QUESTIONS[:3]])
    assert failed and [codes(events) for events in found] == [codes(events) for events in alone]
