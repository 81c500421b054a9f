"""Sizes of the micro Thinker, and the same as the library's own configuration; knows no weights."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase, Qwen2_5OmniThinkerConfig

from app.engine.spec import TokenIds
from app.engine.tiny import media_token_ids, thinker_token_ids

PATCH_SIZE = 14
MERGE_SIZE = 2
TEMPORAL_PATCH_SIZE = 2
NUM_MEL_BINS = 128
VIDEO_FPS = 2.0
POSITION_IDS_PER_S = 25
S_PER_CHUNK = 2
# Sound tokens per second; one takes four frames of the log-mel.
SOUND_TOKENS_PER_S = 25


@dataclass(frozen=True)
class TowerSizes:
    """A tower's width, depth, number of heads and feed-forward width."""

    hidden: int
    num_layers: int
    num_heads: int
    ffn: int


@dataclass(frozen=True)
class ThinkerSizes:
    """`mrope_section`: rotary frequencies of time, height and width; twice their sum is the head's width."""

    hidden: int = 192
    num_layers: int = 6
    num_heads: int = 6
    num_kv_heads: int = 3
    ffn: int = 512
    mrope_section: tuple[int, int, int] = (4, 6, 6)
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    audio: TowerSizes = TowerSizes(144, 4, 4, 432)
    vision: TowerSizes = TowerSizes(128, 4, 4, 352)
    # Half of the sound tower's block, in frames of the log-mel: blocks of 2 s.
    num_window_frames: int = 100

    @property
    def head_width(self) -> int:
        return self.hidden // self.num_heads


def vocabulary_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """Rows of the embedding table: the tokenizer's, padded to whole blocks of 64."""
    return -(-len(tokenizer) // 64) * 64


def token_ids(tokenizer: PreTrainedTokenizerBase) -> TokenIds:
    """The control tokens as the engine will read them from the checkpoint."""
    media = media_token_ids(tokenizer)
    im_start, im_end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    return TokenIds(
        im_start=im_start,
        im_end=im_end,
        audio=media["audio_token_index"],
        audio_start=media["audio_start_token_id"],
        audio_end=media["audio_end_token_id"],
        image=media["image_token_index"],
        video=media["video_token_index"],
        vision_start=media["vision_start_token_id"],
        vision_end=media["vision_end_token_id"],
        ends_of_text=(im_end,),
    )


def library_config(
    tokenizer: PreTrainedTokenizerBase, sizes: ThinkerSizes | None = None, num_rows: int | None = None
) -> Qwen2_5OmniThinkerConfig:
    """The configuration with which plain transformers builds this Thinker.

    `num_rows`: rows of the embedding table, where it is not `vocabulary_size(tokenizer)`.
    """
    sizes = sizes or ThinkerSizes()
    return Qwen2_5OmniThinkerConfig(
        audio_config={
            "num_mel_bins": NUM_MEL_BINS,
            "encoder_layers": sizes.audio.num_layers,
            "encoder_attention_heads": sizes.audio.num_heads,
            "encoder_ffn_dim": sizes.audio.ffn,
            "d_model": sizes.audio.hidden,
            "max_source_positions": 1500,
            "n_window": sizes.num_window_frames,
            "output_dim": sizes.hidden,
        },
        vision_config={
            "depth": sizes.vision.num_layers,
            "hidden_size": sizes.vision.hidden,
            "intermediate_size": sizes.vision.ffn,
            "num_heads": sizes.vision.num_heads,
            "patch_size": PATCH_SIZE,
            "spatial_merge_size": MERGE_SIZE,
            "temporal_patch_size": TEMPORAL_PATCH_SIZE,
            "window_size": 112,
            "out_hidden_size": sizes.hidden,
            # Pictures are small: every block sees the whole of one.
            "fullatt_block_indexes": list(range(sizes.vision.num_layers)),
        },
        text_config={
            "vocab_size": num_rows or vocabulary_size(tokenizer),
            "hidden_size": sizes.hidden,
            "intermediate_size": sizes.ffn,
            "num_hidden_layers": sizes.num_layers,
            "num_attention_heads": sizes.num_heads,
            "num_key_value_heads": sizes.num_kv_heads,
            "max_position_embeddings": 32768,
            "rms_norm_eps": sizes.norm_eps,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": sizes.rope_theta,
                "mrope_section": list(sizes.mrope_section),
            },
            "tie_word_embeddings": True,
        },
        tie_word_embeddings=True,
        position_id_per_seconds=POSITION_IDS_PER_S,
        seconds_per_chunk=S_PER_CHUNK,
        **media_token_ids(tokenizer),
        **thinker_token_ids(tokenizer),
    )
