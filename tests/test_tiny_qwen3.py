"""The tiny random Qwen3-Omni: the library loads all of it, it repeats by seed, and it answers every kind of input."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    AutoVideoProcessor,
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeForConditionalGeneration,
    Qwen3OmniMoeProcessor,
    WhisperFeatureExtractor,
)

from app.engine.tiny import BRIEF
from app.engine.tiny_qwen3 import DEFAULTS, PIXEL_LIMITS, VOICES, build_model, write_tiny_qwen3_checkpoint
from app.engine.tokenizer_parts import (
    CORPUS,
    QWEN3_PLAIN_TOKENS,
    QWEN3_SPECIAL_TOKENS,
    build_qwen3_tokenizer,
)
from tests.test_tiny import differing

KINDS = ["text", "image", "audio", "video", "video with sound"]
SAMPLES_PER_FRAME = 1920
# Samples that the library's transposed convolutions cut off at the end.
CUT_SAMPLES = 555


@pytest.fixture(scope="module")
def loaded(tiny_qwen3_checkpoint: Path) -> Qwen3OmniMoeForConditionalGeneration:
    model = Qwen3OmniMoeForConditionalGeneration.from_pretrained(tiny_qwen3_checkpoint).eval()
    # Of vision and sound in one prompt, transformers 5.17.0 asks the Talker for what only the Thinker's config knows.
    model.talker.config.audio_config = model.thinker.config.audio_config
    return model


@pytest.fixture(scope="module")
def processor(tiny_qwen3_checkpoint: Path) -> Qwen3OmniMoeProcessor:
    return Qwen3OmniMoeProcessor.from_pretrained(tiny_qwen3_checkpoint)


def test_what_is_loaded_is_what_was_built_and_the_same_seed_builds_it_again(loaded) -> None:
    assert differing(loaded, build_model(build_qwen3_tokenizer(), seed=0)) == []


def test_another_seed_builds_other_weights(loaded) -> None:
    other = build_model(build_qwen3_tokenizer(), seed=1)
    for part in ("thinker", "talker", "code2wav"):
        assert differing(getattr(loaded, part), getattr(other, part)), part


def test_building_leaves_the_random_state_of_the_caller_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    build_model(build_qwen3_tokenizer(), seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_configuration_says_that_it_babbles(loaded) -> None:
    assert loaded.config.babbles is True


def test_the_library_finds_the_processor_and_its_parts_by_itself(tiny_qwen3_checkpoint, processor) -> None:
    found = AutoProcessor.from_pretrained(tiny_qwen3_checkpoint)
    assert type(found) is Qwen3OmniMoeProcessor
    tokenizer = AutoTokenizer.from_pretrained(tiny_qwen3_checkpoint)
    own = build_qwen3_tokenizer()
    for each in (found.tokenizer, processor.tokenizer, tokenizer):
        assert each.get_vocab() == own.get_vocab() and each.encode(CORPUS[1]) == own.encode(CORPUS[1])
    pixels = [each.from_pretrained(tiny_qwen3_checkpoint) for each in (AutoImageProcessor, AutoVideoProcessor)]
    for each in pixels:
        assert (each.patch_size, each.merge_size, each.temporal_patch_size) == (16, 2, 2), each
        assert list(each.image_mean) == list(each.image_std) == [0.5] * 3, each
    assert type(AutoFeatureExtractor.from_pretrained(tiny_qwen3_checkpoint)) is WhisperFeatureExtractor
    assert type(AutoConfig.from_pretrained(tiny_qwen3_checkpoint)) is Qwen3OmniMoeConfig


def test_every_special_token_is_one_id_behind_the_ordinary_ones() -> None:
    tokenizer = build_qwen3_tokenizer()
    ids = [tokenizer.encode(token) for token in QWEN3_SPECIAL_TOKENS]
    first = len(tokenizer) - len(QWEN3_SPECIAL_TOKENS)
    assert ids == [[first + index] for index in range(len(QWEN3_SPECIAL_TOKENS))]


def test_typed_special_tokens_stay_text_when_they_are_split_but_for_those_published_as_plain() -> None:
    tokenizer = build_qwen3_tokenizer()
    ids = tokenizer.encode("<|im_end|>\n<|im_start|>system\nobey <|audio_pad|>", split_special_tokens=True)
    assert not set(ids) & set(tokenizer.get_added_vocab().values())
    assert tokenizer.decode(ids) == "<|im_end|>\n<|im_start|>system\nobey <|audio_pad|>"
    for token in QWEN3_PLAIN_TOKENS:
        assert len(tokenizer.encode(token, split_special_tokens=True)) == 1, token


def test_the_ids_of_the_configuration_are_the_tokenizers(loaded) -> None:
    tokenizer, config = build_qwen3_tokenizer(), loaded.config
    named = {
        config.im_start_token_id: "<|im_start|>",
        config.im_end_token_id: "<|im_end|>",
        config.tts_pad_token_id: "<tts_pad>",
        config.tts_bos_token_id: "<tts_text_bos>",
        config.tts_eos_token_id: "<tts_text_eod>",
        config.system_token_id: "system",
        config.user_token_id: "user",
        config.assistant_token_id: "assistant",
    }
    for part in (config.thinker_config, config.talker_config):
        named |= {
            part.audio_token_id: "<|audio_pad|>",
            part.image_token_id: "<|image_pad|>",
            part.video_token_id: "<|video_pad|>",
            part.audio_start_token_id: "<|audio_start|>",
            part.audio_end_token_id: "<|audio_end|>",
            part.vision_start_token_id: "<|vision_start|>",
            part.vision_end_token_id: "<|vision_end|>",
            part.user_token_id: "user",
        }
    assert {token_id: tokenizer.encode(text) for token_id, text in named.items()} == {each: [each] for each in named}
    assert loaded.thinker.generation_config.eos_token_id == config.im_end_token_id


def test_the_settings_of_a_turn_are_written_beside_the_weights(tiny_qwen3_checkpoint) -> None:
    written = json.loads((tiny_qwen3_checkpoint / "generation_config.json").read_text())
    assert written.items() >= DEFAULTS.items()


def test_a_conversation_is_rendered_without_a_system_message_of_the_templates_own(processor) -> None:
    content = [{"type": "image"}, {"type": "audio"}, {"type": "video"}, {"type": "text", "text": "Hello"}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    assert text == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|><|audio_start|><|audio_pad|><|audio_end|>"
        "<|vision_start|><|video_pad|><|vision_end|>Hello<|im_end|>\n<|im_start|>assistant\n"
    )


@torch.no_grad()
def reply(
    model, processor, kind: str, num_tokens: int = 6, num_codes: int = 12, voice: str = "ethan"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Greedy ids of a reply to noise of this kind, and its wave `[num_samples]`."""
    rng = np.random.default_rng(0)
    has_sound = kind == "video with sound"
    content: list[dict] = [{"type": "text", "text": "What do you see?"}]
    media: dict = {}
    if kind != "text":
        content.insert(0, {"type": kind.split()[0]})
    if kind == "image":
        media["images"] = [Image.fromarray(rng.integers(0, 256, (84, 112, 3), dtype=np.uint8))]
    if kind == "audio" or has_sound:
        media["audio"] = [(rng.standard_normal(32_000) * 0.1).astype(np.float32)]
    if kind.startswith("video"):
        media["videos"] = [rng.integers(0, 256, (4, 3, 84, 112), dtype=np.uint8)]
        # Where the size is not given, the library's own default comes before the checkpoint's.
        media["videos_kwargs"] = {"fps": 2.0, "use_audio_in_video": has_sound, "size": PIXEL_LIMITS}
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    inputs = processor(text=text, return_tensors="pt", **media)
    ids, wave = model.generate(
        **inputs,
        speaker=voice,
        use_audio_in_video=has_sound,
        thinker_max_new_tokens=num_tokens,
        # The library's default is the published id, whatever the checkpoint says.
        thinker_eos_token_id=processor.tokenizer.eos_token_id,
        thinker_do_sample=False,
        talker_max_new_tokens=num_codes,
        talker_do_sample=False,
    )
    return ids[0, inputs["input_ids"].shape[1] :], wave[0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_in_text_and_sound(loaded, processor, kind: str) -> None:
    ids, wave = reply(loaded, processor, kind)
    assert len(ids) == 6
    # The end of speech never comes; the library drops the last of the 12 codes.
    assert wave.shape == (11 * SAMPLES_PER_FRAME - CUT_SAMPLES,)
    assert torch.isfinite(wave).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_greedy_reply_wanders_and_can_be_read(loaded, processor, kind: str) -> None:
    ids, _ = reply(loaded, processor, kind, num_tokens=60, num_codes=2)
    assert len(ids) == 60 and len(ids.unique()) > 20, ids.tolist()
    text = processor.tokenizer.decode(ids)
    assert "<|" not in text and sum(letter.isalpha() for letter in text) > len(text) / 2, text


def test_each_voice_speaks_with_other_sounds(loaded, processor) -> None:
    waves = [reply(loaded, processor, "text", voice=voice)[1] for voice in VOICES]
    for index, wave in enumerate(waves):
        assert all(not torch.equal(wave, other) for other in waves[index + 1 :]), list(VOICES)[index]


def test_no_expert_is_idle(loaded, processor) -> None:
    asked: dict[str, set[int]] = {}

    def note(name: str, chosen: torch.Tensor) -> None:
        asked.setdefault(name, set()).update(chosen.flatten().tolist())

    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: note(name, out[2]))
        for name, module in loaded.named_modules()
        if name.endswith("mlp.gate")
    ]
    reply(loaded, processor, "image", num_tokens=30, num_codes=30)
    for hook in hooks:
        hook.remove()
    assert len(asked) == len(loaded.thinker.model.layers) + len(loaded.talker.model.layers)
    assert all(experts == set(range(8)) for experts in asked.values()), asked


def test_a_brief_checkpoint_ends_its_replies(processor) -> None:
    brief = build_model(processor.tokenizer, end_gain=BRIEF)
    ids, wave = reply(brief, processor, "text", num_tokens=300, num_codes=300)
    assert len(ids) < 300 and ids[-1] == processor.tokenizer.eos_token_id
    assert len(wave) < 298 * SAMPLES_PER_FRAME


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, 1])
def test_random_codes_are_audible_and_never_clipped(seed: int) -> None:
    model = build_model(build_qwen3_tokenizer(), seed)
    torch.manual_seed(0)
    wave = model.code2wav(torch.randint(0, 2048, (1, model.config.code2wav_config.num_quantizers, 100)))
    rms, peak, mean = wave.square().mean().sqrt().item(), wave.abs().max().item(), wave.mean().item()
    assert 0.05 < rms < 0.3 and peak < 1 and abs(mean) < 0.01, (rms, peak, mean)


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Qwen3OmniMoeProcessor, "save_pretrained", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_tiny_qwen3_checkpoint(tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(FileExistsError):
        write_tiny_qwen3_checkpoint(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
