"""Writes a complete tiny Qwen2.5-Omni checkpoint with random weights, for tests and first tries; it only babbles."""

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)

from app.engine.progress import counted_bars
from app.engine.random_weights import (
    build_speaker_map,
    prefer_readable,
    randomize,
    randomize_vocoder,
    set_ends,
    set_loudness,
)
from app.engine.tokenizer_parts import CHAT_TEMPLATE, build_tokenizer

THINKER_SIZE = 64
TALKER_SIZE = 32
NUM_REF_MEL_FRAMES = 60
PIXEL_LIMITS = {"shortest_edge": 4 * 28 * 28, "longest_edge": 16 * 28 * 28}
# Gain of the mel solver: with more, its 36 evaluations carry a code's influence over many blocks, as trained weights do
# not, and streamed speech could not be compared with speech made in one piece.
DIT_GAIN = 0.6
# Settings of a turn, named as `generate()` names them: short replies, and a solver that a laptop can afford.
DEFAULTS = {"thinker_max_new_tokens": 64, "talker_max_new_tokens": 512, "token2wav_num_steps": 4}
# An `end_gain` that ends most replies after some dozens of tokens.
BRIEF = 1.6


def write_tiny_checkpoint(folder: Path, seed: int = 0, gain: float = 1.3, end_gain: float = 0.0) -> None:
    """Writes configuration, processor, random weights of all three parts and the speaker map to `folder`.

    The same seed gives the same weights. `gain`: standard deviation of the weights in units of 1/sqrt(fan in); near 1.3
    a greedy reply does not get stuck on one token. `end_gain`: size of the end tokens' logits, of text and of speech,
    next to other tokens; 0 never ends a reply before it must, `BRIEF` ends most after some dozens of tokens. `folder`
    appears whole or not at all; raises FileExistsError when it exists and holds something.
    """
    with written_whole(Path(folder)) as partial:
        processor = build_processor()
        model = build_model(processor.tokenizer, seed, gain, end_gain)
        save(model, processor, DEFAULTS, partial)
        torch.save(model.speaker_map, partial / "spk_dict.pt")


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Gives a folder to write to, which becomes `folder` at the end and vanishes when it is not reached.

    Raises FileExistsError when `folder` exists and holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield partial
        partial.chmod(0o755)
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def save(model: PreTrainedModel, processor: ProcessorMixin, defaults: dict[str, int], folder: Path) -> None:
    """Writes both; `defaults` are the checkpoint's own settings of a turn."""
    for name, value in defaults.items():
        setattr(model.generation_config, name, value)
    with counted_bars(lambda share: None):
        model.save_pretrained(folder)
    processor.save_pretrained(folder)


def build_processor(
    tokenizer: PreTrainedTokenizerFast | None = None,
    image_pixels: dict[str, int] = PIXEL_LIMITS,
    video_pixels: dict[str, int] = PIXEL_LIMITS,
    max_frames: int = 768,
) -> Qwen2_5OmniProcessor:
    """Feature extractors as published, but for small pictures; `tokenizer`: None for the tiny one."""
    return Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(size=image_pixels),
        video_processor=Qwen2VLVideoProcessor(size=video_pixels, max_frames=max_frames, do_sample_frames=False),
        feature_extractor=WhisperFeatureExtractor(
            feature_size=128, n_fft=400, hop_length=160, chunk_length=300, return_attention_mask=True
        ),
        tokenizer=tokenizer or build_tokenizer(),
        chat_template=CHAT_TEMPLATE,
    )


def build_config(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5OmniConfig:
    """Every structure of the published model, a few units wide; the media and text ids are the tokenizer's."""
    # Only these two are not taken over from the class defaults: the library reads mrope_section without a default.
    rope = {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [2, 3, 3]}
    media_ids = media_token_ids(tokenizer)
    thinker = {
        "audio_config": {
            "num_mel_bins": 128,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "d_model": 32,
            "max_source_positions": 1500,
            "n_window": 100,
            "output_dim": THINKER_SIZE,
        },
        "vision_config": {
            "depth": 4,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "window_size": 56,
            "out_hidden_size": THINKER_SIZE,
            "fullatt_block_indexes": [1, 3],
        },
        "text_config": {
            "vocab_size": math.ceil(len(tokenizer) / 64) * 64,
            "hidden_size": THINKER_SIZE,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "rope_parameters": rope,
            "tie_word_embeddings": False,
        },
        **media_ids,
        **thinker_token_ids(tokenizer),
    }
    talker = {
        # The codec ids of the class defaults are the published ones.
        "vocab_size": 8448,
        "embedding_size": THINKER_SIZE,
        "hidden_size": TALKER_SIZE,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "rope_parameters": rope,
        **media_ids,
        **talker_token_ids(tokenizer),
    }
    dit = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "head_dim": 16,
        "ff_mult": 2,
        "emb_dim": 24,
        "block_size": 24,
        "look_ahead_layers": [1],
        "look_backward_layers": [0, 2],
        # A random Talker samples any id, the end tokens apart; each needs a row here.
        "num_embeds": 8448,
        "mel_dim": 80,
        "enc_emb_dim": 12,
        "enc_dim": 8,
        "enc_channels": [16, 16, 16],
        "enc_kernel_sizes": [5, 3, 1],
        "enc_dilations": [1, 2, 1],
        "enc_attention_channels": 8,
        "enc_se_channels": 8,
    }
    # The published rates: 240 samples per mel frame. Six halvings leave one channel. The widest published kernel stays,
    # so that a mel frame reaches as far as in the published model.
    bigvgan = {
        "mel_dim": 80,
        "upsample_initial_channel": 64,
        "resblock_kernel_sizes": [3, 11],
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]],
    }
    return Qwen2_5OmniConfig(
        thinker_config=thinker,
        talker_config=talker,
        token2wav_config={"dit_config": dit, "bigvgan_config": bigvgan},
        babbles=True,
    )


def media_token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Ids that the Thinker's and the Talker's configuration both hold."""
    token_id = tokenizer.convert_tokens_to_ids
    return {
        "audio_token_index": token_id("<|AUDIO|>"),
        "image_token_index": token_id("<|IMAGE|>"),
        "video_token_index": token_id("<|VIDEO|>"),
        "audio_start_token_id": token_id("<|audio_bos|>"),
        "audio_end_token_id": token_id("<|audio_eos|>"),
        "vision_start_token_id": token_id("<|vision_bos|>"),
        "vision_end_token_id": token_id("<|vision_eos|>"),
    }


def thinker_token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    token_id = tokenizer.convert_tokens_to_ids
    return {
        "vision_token_id": token_id("<|vision_pad|>"),
        "user_token_id": tokenizer.encode("user")[0],
        "bos_token_id": token_id("<|im_start|>"),
        "eos_token_id": token_id("<|im_end|>"),
        "pad_token_id": token_id("<|endoftext|>"),
    }


def talker_token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    token_id = tokenizer.convert_tokens_to_ids
    return {
        "tts_text_start_token_id": token_id("<tts_text_bos>"),
        "tts_text_end_token_id": token_id("<tts_text_eod>"),
        "tts_text_pad_token_id": token_id("<tts_pad>"),
    }


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Seeds inside and leaves the caller's random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def build_model(
    tokenizer: PreTrainedTokenizerFast, seed: int = 0, gain: float = 1.3, end_gain: float = 0.0
) -> Qwen2_5OmniForConditionalGeneration:
    """The model with its speaker map, float32, on the CPU."""
    with own_random_state(seed):
        model = Qwen2_5OmniForConditionalGeneration(build_config(tokenizer)).eval()
        randomize(model.thinker, gain)
        randomize(model.talker, gain)
        randomize(model.token2wav.code2wav_dit_model, DIT_GAIN)
        randomize_vocoder(model.token2wav.code2wav_bigvgan_model)
        prefer_readable(model, tokenizer)
        set_ends(model, end_gain)
        model.speaker_map = build_speaker_map(tokenizer, model.config, NUM_REF_MEL_FRAMES)
        set_loudness(model)
    return model
