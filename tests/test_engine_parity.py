"""The engine says what the library's `generate()` says, token for token, and sounds as it sounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from app.types.turn import TALKER_SAMPLING, THINKER_SAMPLING, TextPart, TurnSettings
from tests import library
from tests.engine_kit import (
    SYSTEM,
    codes,
    noise_image,
    noise_video,
    run,
    sound,
    text_ids,
    wave,
)

NUM_TEXT, NUM_CODES = 24, 40
GREEDY = TurnSettings(
    thinker=replace(THINKER_SAMPLING, max_new_tokens=NUM_TEXT),
    talker=replace(TALKER_SAMPLING.greedy(), max_new_tokens=NUM_CODES),
    ode_points=2,
)
CASES = {
    "text": (TextPart("hello there"),),
    "image": (noise_image(1), TextPart("what is it")),
    "audio": (sound(2, 5.3), TextPart("what")),
    "audio alone": (sound(3, 2.02),),
    "video": (noise_video(4), TextPart("what happens")),
    "video with sound": (noise_video(5, seconds=5, sound_s=5.2), TextPart("what happens")),
    "video with a longer sound": (noise_video(6, seconds=2, sound_s=7.1),),
    "video with a short sound": (noise_video(7, seconds=6, sound_s=0.5), TextPart("so")),
    "two images and a sound": (noise_image(8), TextPart("and"), noise_image(9, 56, 140), sound(10, 1.0)),
}


def reference(tiny, parts, **options):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": library.content(parts)}]
    made = library.inputs(tiny.processor, messages, parts)
    return made, library.generate(tiny.model, made, library.uses_sound_of_video(parts), speaker="Chelsie", **options)


@pytest.mark.parametrize("name", CASES)
def test_greedy_text_and_codes_equal_generate(tiny, name):
    parts = CASES[name]
    made, (text, expected, expected_wave) = reference(
        tiny,
        parts,
        thinker_max_new_tokens=NUM_TEXT,
        talker_max_new_tokens=NUM_CODES,
        thinker_do_sample=False,
        talker_do_sample=False,
        token2wav_num_steps=2,
    )
    state = tiny.engine.new_state()
    events = run(tiny.engine, state, parts, GREEDY)
    assert state.ids[: made["input_ids"].shape[1]] == made["input_ids"][0].tolist()
    assert text_ids(events) == text and len(set(text)) > 3
    assert codes(events) == expected and len(set(expected)) > 3
    assert wave(events).shape == tuple(expected_wave.shape)


def test_both_stages_end_where_generate_ends(tiny):
    """End ids are moved to tokens that this reply contains, since a random model never says its own."""
    parts = CASES["image"]
    end_text = text_ids(run(tiny.engine, tiny.engine.new_state(), parts, GREEDY))[7]
    config, talker, kept = tiny.model.thinker.generation_config, tiny.engine.stages.talker, tiny.engine.stages
    old = config.eos_token_id, talker.end_ids
    config.eos_token_id = end_text
    tiny.engine.stages = replace(kept, ends_of_text=frozenset({end_text}))
    try:
        end_code = codes(run(tiny.engine, tiny.engine.new_state(), parts, GREEDY))[20]
        talker.end_ids = frozenset({end_code})
        _, (text, expected, expected_wave) = reference(
            tiny,
            parts,
            thinker_max_new_tokens=NUM_TEXT,
            talker_max_new_tokens=NUM_CODES,
            thinker_do_sample=False,
            talker_do_sample=False,
            talker_eos_token_id=[end_code],
            token2wav_num_steps=2,
        )
        events = run(tiny.engine, tiny.engine.new_state(), parts, GREEDY)
    finally:
        config.eos_token_id, talker.end_ids = old
        tiny.engine.stages = kept
    assert text_ids(events) == text and text[-1] == end_text
    assert codes(events) == expected and expected[-1] == end_code
    assert wave(events).shape == tuple(expected_wave.shape)
    assert (events[-1].metrics.text_end, events[-1].metrics.speech_end) == ("eos", "eos")


@pytest.mark.parametrize("seed", [5, 6])
def test_sampled_codes_equal_generate_with_the_same_seed(tiny, seed):
    parts = CASES["video with sound"]
    settings = replace(GREEDY, talker=replace(tiny.engine.spec.defaults.talker, max_new_tokens=NUM_CODES))
    torch.manual_seed(seed)
    _, (text, expected, _) = reference(
        tiny,
        parts,
        thinker_max_new_tokens=NUM_TEXT,
        talker_max_new_tokens=NUM_CODES,
        thinker_do_sample=False,
        token2wav_num_steps=2,
    )
    events = run(tiny.engine, tiny.engine.new_state(), parts, settings, seed=seed)
    assert text_ids(events) == text
    assert codes(events) == expected and len(set(expected)) > 3


@pytest.mark.parametrize("seed", [5, 6])
def test_sampled_text_equals_generate_with_the_same_seed(tiny, seed):
    parts = CASES["audio"]
    sampling = replace(
        THINKER_SAMPLING,
        do_sample=True,
        temperature=0.8,
        top_k=20,
        top_p=0.9,
        repetition_penalty=1.1,
        max_new_tokens=NUM_TEXT,
    )
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": library.content(parts)}]
    made = library.inputs(tiny.processor, messages, parts)
    torch.manual_seed(seed)
    sequences = tiny.model.generate(
        **made,
        speaker="Chelsie",
        generation_mode="text",
        thinker_max_new_tokens=NUM_TEXT,
        thinker_do_sample=True,
        thinker_temperature=0.8,
        thinker_top_k=20,
        thinker_top_p=0.9,
        thinker_repetition_penalty=1.1,
    )
    settings = TurnSettings(speak=False, thinker=sampling)
    events = run(tiny.engine, tiny.engine.new_state(), parts, settings, seed=seed)
    assert text_ids(events) == sequences[0, made["input_ids"].shape[1] :].tolist()


def test_text_and_codec_tokens_interleave_from_the_second_text_token(tiny):
    events = run(tiny.engine, tiny.engine.new_state(), CASES["text"], GREEDY)
    kinds = [type(event).__name__[0] for event in events if type(event).__name__ in ("TextDelta", "CodecDelta")]
    assert "".join(kinds[:9]) == "TTCTCTCTC"


def test_first_packet_comes_after_24_codes(tiny):
    settings = replace(GREEDY, talker=replace(GREEDY.talker, max_new_tokens=60))
    events = run(tiny.engine, tiny.engine.new_state(), CASES["text"], settings)
    names = [type(event).__name__ for event in events]
    assert names[: names.index("AudioChunk")].count("CodecDelta") == 24
    assert np.abs(wave(events)).max() > 0.01
