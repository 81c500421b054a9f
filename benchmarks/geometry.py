"""A model of the published 7B size with random weights, made in place on its device: real costs, no download, no sense.

Its tokenizer is the tiny checkpoint's, so every token id but the codec's differs from the published one.
"""

import torch
from transformers import PreTrainedTokenizerFast, Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration

from app.engine.describe import model_spec
from app.engine.random_weights import (
    build_speaker_map,
    prefer_readable,
    randomize,
    randomize_vocoder,
    set_ends,
    set_loudness,
)
from app.engine.spec import MelRules, ModelSpec, PixelRules
from app.engine.tiny import build_config as tiny_config
from app.engine.tiny import media_token_ids, talker_token_ids, thinker_token_ids
from app.engine.tokenizer_parts import build_tokenizer
from app.types.media import MediaRules, VisionRules

ROPE = {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [16, 24, 24]}
# About three seconds; the reference is pooled to one vector, so its length hardly matters.
NUM_REF_MEL_FRAMES = 300
# The speaker, codec and text ends never come: every run is as long as it is told to be.
END_GAIN = 0.0


def config_7b(tokenizer: PreTrainedTokenizerFast, num_layers: int | None = None) -> Qwen2_5OmniConfig:
    """The published geometry with the ids of `tokenizer`. `num_layers`: at most so many layers in each stack."""

    def depth(published: int) -> int:
        return published if num_layers is None else min(published, num_layers)

    media_ids = media_token_ids(tokenizer)
    thinker = {
        "text_config": {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": depth(28),
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32768,
            "rope_parameters": ROPE,
            "tie_word_embeddings": False,
        },
        "audio_config": {
            "d_model": 1280,
            "encoder_layers": depth(32),
            "encoder_attention_heads": 20,
            "encoder_ffn_dim": 5120,
            "n_window": 100,
            "num_mel_bins": 128,
            "output_dim": 3584,
        },
        # The class default is 3584, as wide as the text model; the published tower has 1280.
        "vision_config": {
            "depth": depth(32),
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "window_size": 112,
            "out_hidden_size": 3584,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        **media_ids,
        **thinker_token_ids(tokenizer),
    }
    talker = {
        "vocab_size": 8448,
        "embedding_size": 3584,
        "hidden_size": 896,
        "intermediate_size": 18944,
        "num_hidden_layers": depth(24),
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "rope_parameters": ROPE,
        **media_ids,
        **talker_token_ids(tokenizer),
    }
    # Both parts of token2wav are the class defaults.
    token2wav = {"dit_config": {"num_hidden_layers": depth(22)}, "bigvgan_config": {}}
    return Qwen2_5OmniConfig(thinker_config=thinker, talker_config=talker, token2wav_config=token2wav, babbles=True)


def config_200m(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5OmniConfig:
    """The tiny checkpoint's Talker and vocoder behind a Thinker of some 200 million parameters, whose encoding and
    prefill take their time on a laptop too."""
    config = tiny_config(tokenizer).to_dict()
    thinker, width = config["thinker_config"], 768
    rope = {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [8, 12, 12]}
    thinker["text_config"] |= {
        "hidden_size": width,
        "intermediate_size": 2560,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "rope_parameters": rope,
        "layer_types": None,
    }
    thinker["audio_config"] |= {
        "d_model": 640,
        "encoder_layers": 12,
        "encoder_attention_heads": 10,
        "encoder_ffn_dim": 2560,
        "output_dim": width,
    }
    thinker["vision_config"] |= {
        "depth": 12,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_heads": 8,
        "window_size": 112,
        "out_hidden_size": width,
        "fullatt_block_indexes": [3, 7, 11],
    }
    config["talker_config"]["embedding_size"] = width
    parts = {name: config[name] for name in ("thinker_config", "talker_config", "token2wav_config")}
    return Qwen2_5OmniConfig(**parts, babbles=True)


def build_200m(device: torch.device | str, dtype: torch.dtype) -> Qwen2_5OmniForConditionalGeneration:
    """Random weights of `config_200m`; see `build_7b`."""
    tokenizer = build_tokenizer()
    return _build(config_200m(tokenizer), tokenizer, device, dtype, "sdpa", 0)


def build_7b(
    device: torch.device | str,
    dtype: torch.dtype = torch.bfloat16,
    *,
    attention: str = "sdpa",
    num_layers: int | None = None,
    seed: int = 0,
) -> Qwen2_5OmniForConditionalGeneration:
    """The model with random weights and voices, token2wav in float32 as the library wants it, the rest in `dtype`.

    Nothing is made on the CPU first. On the meta device there are shapes only. Its tokenizer is `build_tokenizer()`.
    """
    tokenizer = build_tokenizer()
    return _build(config_7b(tokenizer, num_layers), tokenizer, device, dtype, attention, seed)


@torch.no_grad()
def _build(
    config: Qwen2_5OmniConfig,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str,
    dtype: torch.dtype,
    attention: str,
    seed: int,
) -> Qwen2_5OmniForConditionalGeneration:
    device = torch.device(device)
    with torch.random.fork_rng(enabled=device.type != "meta"), device:
        torch.manual_seed(seed)
        model = Qwen2_5OmniForConditionalGeneration._from_config(config, dtype=dtype, attn_implementation=attention)
        model.eval()
        model.speaker_map = build_speaker_map(tokenizer, config, NUM_REF_MEL_FRAMES)
        if device.type != "meta":
            _fill(model, tokenizer)
    return model


def _fill(model: Qwen2_5OmniForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> None:
    randomize(model.thinker, gain=1.0)
    randomize(model.talker, gain=1.0)
    randomize(model.token2wav.code2wav_dit_model, gain=0.6)
    randomize_vocoder(model.token2wav.code2wav_bigvgan_model)
    prefer_readable(model, tokenizer)
    set_ends(model, END_GAIN)
    # The solver's table has no rows for the ids above the codec's own.
    model.talker.codec_head.weight[model.config.token2wav_config.dit_config.num_embeds :] = 0
    set_loudness(model, num_codes=24)


def spec_7b(
    model: Qwen2_5OmniForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    attention: str = "sdpa",
    name: str = "random-7B",
) -> ModelSpec:
    """What a loader would read from the published checkpoint's preprocessor files, without needing them."""
    vision = VisionRules(
        patch_size=14,
        merge_size=2,
        temporal_patch_size=2,
        image_min_pixels=4 * 28 * 28,
        image_max_pixels=16384 * 28 * 28,
        video_min_pixels=128 * 28 * 28,
        video_max_pixels=768 * 28 * 28,
        fps=2.0,
        min_frames=4,
        max_frames=768,
    )
    return model_spec(
        model,
        tokenizer,
        name=name,
        attention=attention,
        media=MediaRules(16_000, vision),
        mel=MelRules(num_mel_bins=128, sample_rate=16_000, n_fft=400, hop=160, block_frames=200),
        pixels=PixelRules((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    )


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
