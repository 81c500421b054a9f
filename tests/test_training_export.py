"""The exported folder is a checkpoint like any other: the engine and the library's generate() say the same with it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import Qwen2_5OmniForConditionalGeneration, Qwen2_5OmniProcessor

from app.engine.loader import EngineOptions, load_engine
from app.engine.random_weights import randomize
from app.engine.tokenizer_parts import build_tokenizer
from app.types.turn import TextPart, TurnSettings
from tests import library
from tests.engine_kit import SYSTEM, Tiny, codes, noise_image, noise_video, run, sound, text_ids
from training import export
from training.speech import flow
from training.talker.quiet import QUIETER
from training.workspace import Workspace

NUM_TEXT, NUM_CODES, NUM_EMBEDS = 12, 16, 8400


def save_random_parts(workspace: Workspace) -> None:
    """What the stages would have left: tokenizer, weights of each part, speakers."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|spk_c_bos|>"]}, replace_extra_special_tokens=False)
    tokenizer.save_pretrained(workspace.stage("tokenizer"))
    # A random Talker says any code, and the library gives each to the DiT.
    model = Qwen2_5OmniForConditionalGeneration(export.build_config(tokenizer, NUM_EMBEDS))
    with torch.no_grad():
        for part in (model.thinker, model.talker, model.token2wav.code2wav_dit_model):
            randomize(part, 1.3 if part is not model.token2wav.code2wav_dit_model else 0.6)
        model.talker.codec_head.weight[NUM_EMBEDS:] = 0
        # With the head tied to it, a large embedding would repeat the token that was read.
        model.thinker.get_input_embeddings().weight *= 0.1
    thinker = model.thinker.state_dict()
    del thinker["lm_head.weight"]
    workspace.save_weights("joint", thinker)
    workspace.save_weights("talker", model.talker.state_dict())
    workspace.save_weights("flow", model.token2wav.code2wav_dit_model.state_dict())
    workspace.save_weights("vocoder", model.token2wav.code2wav_bigvgan_model.state_dict())
    speakers = {}
    for voice in range(3):
        speakers |= {f"cond.{voice}": torch.randn(1, flow.SPEAKER_SIZE), f"ref_mel.{voice}": torch.randn(1, 60, 80)}
    workspace.save_weights("flow", speakers, "speakers.safetensors")
    for stage, file in export.TEACHERS:
        if not (workspace.stage(stage) / file).exists():
            workspace.save_weights(stage, {"numbers": torch.randn(4)}, file)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Workspace(tmp_path_factory.mktemp("run"), quick=True)
    save_random_parts(workspace)
    export.run(workspace)
    return workspace.stage(export.NAME)


@pytest.fixture(scope="module")
def loaded(exported: Path) -> Tiny:
    engine = load_engine(EngineOptions(str(exported), device="cpu"), lambda stage, share: None)
    model = Qwen2_5OmniForConditionalGeneration.from_pretrained(exported, dtype=torch.float32).eval()
    yield Tiny(engine, model, Qwen2_5OmniProcessor.from_pretrained(exported))
    engine.close()


CASES = {
    "text": (TextPart("hello there"),),
    "image and sound": (noise_image(1, 112, 140), TextPart("what is it"), sound(2, 2.3)),
    "video with sound": (noise_video(5, seconds=4, sound_s=4.1), TextPart("what happens")),
}


@pytest.mark.parametrize("name", CASES)
def test_the_engine_says_what_generate_says(loaded: Tiny, name: str) -> None:
    parts = CASES[name]
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": library.content(parts)}]
    made = library.inputs(loaded.processor, messages, parts)
    text, expected, wave = library.generate(
        loaded.model,
        made,
        library.uses_sound_of_video(parts),
        speaker="Angus",
        thinker_max_new_tokens=NUM_TEXT,
        talker_max_new_tokens=NUM_CODES,
        thinker_do_sample=False,
        talker_do_sample=False,
        talker_repetition_penalty=1.0,
        token2wav_num_steps=2,
    )
    defaults = loaded.engine.spec.defaults
    settings = replace(
        defaults,
        voice="Angus",
        thinker=replace(defaults.thinker.greedy(), max_new_tokens=NUM_TEXT),
        talker=replace(defaults.talker.greedy(), max_new_tokens=NUM_CODES, repetition_penalty=1.0),
        ode_points=2,
    )
    events = run(loaded.engine, loaded.engine.new_state(), parts, settings)
    assert text_ids(events) == text and len(set(text)) > 3
    assert codes(events) == expected and len(set(expected)) > 3
    assert wave.shape == (NUM_CODES * 480,)


def test_what_is_stored_fits_and_holds_no_code(exported: Path) -> None:
    assert export.size_mb(exported) < export.MAX_SIZE_MB
    names = {path.name for path in exported.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "spk_dict.pt", "README.md"} <= names
    voices = torch.load(exported / "spk_dict.pt", weights_only=True)
    assert list(voices) == ["Stella", "Ross", "Angus"]
    assert len({voice["bos_token"] for voice in voices.values()}) == 3


def test_the_page_reads_limits_and_settings(loaded: Tiny) -> None:
    spec = loaded.engine.spec
    vision = spec.media.vision
    assert (vision.image_min_pixels, vision.image_max_pixels) == (16 * 784, 32 * 784)
    assert vision.video_max_pixels == 15680 and vision.fps == 2.0
    assert spec.defaults.ode_points == export.GENERATION["token2wav_num_steps"]
    assert spec.defaults.talker.repetition_penalty == export.GENERATION["talker_repetition_penalty"]
    assert spec.voices == ("Stella", "Ross", "Angus") and spec.is_micro and not spec.is_random
    assert isinstance(spec.defaults, TurnSettings) and spec.codec_frame_s == 0.02


def test_the_head_is_the_embedding_but_louder(loaded: Tiny) -> None:
    thinker = loaded.model.thinker
    assert torch.equal(thinker.lm_head.weight, QUIETER * thinker.get_input_embeddings().weight)


def test_what_is_stored_is_all_that_the_model_has(exported: Path, loaded: Tiny) -> None:
    with safe_open(exported / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(loaded.model.state_dict())
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}
