"""Writes a complete tiny Qwen3-Omni checkpoint with random weights, the twin of `app.engine.tiny`; it only babbles."""

import math
from pathlib import Path

import torch
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeForConditionalGeneration,
    Qwen3OmniMoeProcessor,
    WhisperFeatureExtractor,
)

from app.engine.random_weights import (
    prefer_readable,
    randomize,
    randomize_code2wav,
    set_qwen3_ends,
    set_qwen3_loudness,
    vary_scales,
)
from app.engine.tiny import own_random_state, save, written_whole
from app.engine.tokenizer_parts import QWEN3_CHAT_TEMPLATE, build_qwen3_tokenizer

THINKER_SIZE = 64
TALKER_SIZE = 32
# As published: ids of the Talker's table, behind the codes.
VOICES = {"chelsie": 2301, "ethan": 2302, "aiden": 2303}
NUM_CODEBOOKS = 4
CODEBOOK_SIZE = 2048
PATCHES = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
PIXELS = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
PIXEL_LIMITS = {"shortest_edge": 4 * 32 * 32, "longest_edge": 16 * 32 * 32}
# Settings of a turn, named as `generate()` names them: short replies.
DEFAULTS = {"thinker_max_new_tokens": 64, "talker_max_new_tokens": 128}
ROPE = {"rope_type": "default", "rope_theta": 1_000_000.0}
MROPE = {**ROPE, "mrope_section": [2, 3, 3], "mrope_interleaved": True}


def write_tiny_qwen3_checkpoint(folder: Path, seed: int = 0, gain: float = 1.3, end_gain: float = 0.0) -> None:
    """Writes configuration, processor and random weights of all three parts to `folder`.

    The arguments and what is promised are those of `app.engine.tiny.write_tiny_checkpoint`.
    """
    with written_whole(Path(folder)) as partial:
        processor = build_processor()
        model = build_model(processor.tokenizer, seed, gain, end_gain)
        save(model, processor, DEFAULTS, partial)


def build_processor(
    tokenizer: PreTrainedTokenizerFast | None = None,
    image_pixels: dict[str, int] = PIXEL_LIMITS,
    video_pixels: dict[str, int] = PIXEL_LIMITS,
    max_frames: int = 768,
) -> Qwen3OmniMoeProcessor:
    """Feature extractors as published, but for small pictures; `tokenizer`: None for the tiny one."""
    return Qwen3OmniMoeProcessor(
        image_processor=Qwen2VLImageProcessor(size=image_pixels, **PATCHES, **PIXELS),
        video_processor=Qwen2VLVideoProcessor(
            size=video_pixels, max_frames=max_frames, do_sample_frames=False, **PATCHES, **PIXELS
        ),
        feature_extractor=WhisperFeatureExtractor(
            feature_size=128, n_fft=400, hop_length=160, chunk_length=300, return_attention_mask=True
        ),
        tokenizer=tokenizer or build_qwen3_tokenizer(),
        chat_template=QWEN3_CHAT_TEMPLATE,
    )


def build_config(tokenizer: PreTrainedTokenizerFast) -> Qwen3OmniMoeConfig:
    """Every structure of the published model, a few units wide; the media and text ids are the tokenizer's.

    What is not a size is as published, also where the class defaults are not.
    """
    media_ids = media_token_ids(tokenizer)
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": True}
    thinker = {
        "audio_config": {
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "d_model": 32,
            "n_window": 50,
            "n_window_infer": 800,
            "downsample_hidden_size": 8,
            "output_dim": THINKER_SIZE,
        },
        "vision_config": {
            "depth": 4,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "num_position_embeddings": 144,
            "out_hidden_size": THINKER_SIZE,
            "deepstack_visual_indexes": [0, 1],
        },
        "text_config": {
            "vocab_size": math.ceil(len(tokenizer) / 64) * 64,
            "hidden_size": THINKER_SIZE,
            "intermediate_size": 32,
            "moe_intermediate_size": 32,
            # More than the Talker listens to and deepstack reaches.
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "rope_parameters": MROPE,
            **experts,
            **text_token_ids(tokenizer),
        },
        **media_ids,
    }
    talker = {
        "text_config": {
            # As published: a code in each of the first 2048 ids, control ids and voices in the rest.
            "vocab_size": 3072,
            "hidden_size": TALKER_SIZE,
            "intermediate_size": 64,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "rope_parameters": MROPE,
            **experts,
        },
        "code_predictor_config": {
            "vocab_size": CODEBOOK_SIZE,
            "hidden_size": TALKER_SIZE,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "num_code_groups": NUM_CODEBOOKS,
            "rope_parameters": ROPE,
        },
        "num_code_groups": NUM_CODEBOOKS,
        "thinker_hidden_size": THINKER_SIZE,
        # Behind the layers to which deepstack adds.
        "accept_hidden_layer": 3,
        "spatial_merge_size": 2,
        "codec_pad_id": 2148,
        "codec_bos_id": 2149,
        "codec_eos_token_id": 2150,
        "codec_nothink_id": 2155,
        "codec_think_bos_id": 2156,
        "codec_think_eos_id": 2157,
        "speaker_id": VOICES,
        **media_ids,
    }
    code2wav = {
        # The published rates are the class defaults: 1920 samples per frame. Four halvings leave four channels.
        "codebook_size": CODEBOOK_SIZE,
        "num_quantizers": NUM_CODEBOOKS,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "sliding_window": 72,
        "decoder_dim": 64,
    }
    return Qwen3OmniMoeConfig(
        thinker_config=thinker,
        talker_config=talker,
        code2wav_config=code2wav,
        babbles=True,
        **control_token_ids(tokenizer),
    )


def media_token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """What the Thinker's and the Talker's configuration both hold: ids, and the time scale of positions."""
    token_id = tokenizer.convert_tokens_to_ids
    return {
        "audio_token_id": token_id("<|audio_pad|>"),
        "image_token_id": token_id("<|image_pad|>"),
        "video_token_id": token_id("<|video_pad|>"),
        "audio_start_token_id": token_id("<|audio_start|>"),
        "audio_end_token_id": token_id("<|audio_end|>"),
        "vision_start_token_id": token_id("<|vision_start|>"),
        "vision_end_token_id": token_id("<|vision_end|>"),
        "user_token_id": token_id("user"),
        "position_id_per_seconds": 13,
        "seconds_per_chunk": 2,
    }


def text_token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    token_id = tokenizer.convert_tokens_to_ids
    return {
        "bos_token_id": token_id("<|im_start|>"),
        "eos_token_id": token_id("<|im_end|>"),
        "pad_token_id": token_id("<|endoftext|>"),
    }


def control_token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Ids by which a prompt is taken apart for the Talker."""
    token_id = tokenizer.convert_tokens_to_ids
    return {
        "im_start_token_id": token_id("<|im_start|>"),
        "im_end_token_id": token_id("<|im_end|>"),
        "tts_pad_token_id": token_id("<tts_pad>"),
        "tts_bos_token_id": token_id("<tts_text_bos>"),
        "tts_eos_token_id": token_id("<tts_text_eod>"),
        "system_token_id": token_id("system"),
        "user_token_id": token_id("user"),
        "assistant_token_id": token_id("assistant"),
    }


@torch.no_grad()
def build_model(
    tokenizer: PreTrainedTokenizerFast, seed: int = 0, gain: float = 1.3, end_gain: float = 0.0
) -> Qwen3OmniMoeForConditionalGeneration:
    """The model, float32, on the CPU."""
    with own_random_state(seed):
        model = Qwen3OmniMoeForConditionalGeneration(build_config(tokenizer)).eval()
        for part in (model.thinker, model.talker):
            randomize(part, gain)
            vary_scales(part)
        randomize_code2wav(model.code2wav)
        prefer_readable(model, tokenizer)
        set_qwen3_ends(model, end_gain)
        set_qwen3_loudness(model)
    return model
