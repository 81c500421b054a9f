"""Reads a `ModelSpec` from a loaded model and its checkpoint's own files; loads no weights."""

import json
from dataclasses import replace
from pathlib import Path

from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoVideoProcessor,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2_5OmniForConditionalGeneration,
)
from transformers.utils import cached_file

from app.engine.quantize import wide_bytes
from app.engine.spec import QWEN2_5, TOKEN2WAV_SAMPLE_RATE, MelRules, ModelSpec, PixelRules, TokenIds
from app.types.media import MediaRules, VisionRules
from app.types.turn import Sampling, TurnSettings

FAMILY = "qwen2_5_omni"

# The limits that Qwen2_5OmniProcessor gives videos, whatever the image limits of the checkpoint are.
VIDEO_MIN_PIXELS, VIDEO_MAX_PIXELS = 128 * 28 * 28, 768 * 28 * 28


def read_spec(checkpoint: str, model, tokenizer: PreTrainedTokenizerBase, attention: str) -> ModelSpec:
    image = AutoImageProcessor.from_pretrained(checkpoint)
    video = AutoVideoProcessor.from_pretrained(checkpoint)
    sound = AutoFeatureExtractor.from_pretrained(checkpoint)
    low, high = int(video.size["shortest_edge"]), int(video.size["longest_edge"])
    if high > VIDEO_MIN_PIXELS:
        low, high = max(low, VIDEO_MIN_PIXELS), min(high, VIDEO_MAX_PIXELS)
    vision = VisionRules(
        patch_size=image.patch_size,
        merge_size=image.merge_size,
        temporal_patch_size=image.temporal_patch_size,
        image_min_pixels=int(image.size["shortest_edge"]),
        image_max_pixels=int(image.size["longest_edge"]),
        video_min_pixels=low,
        video_max_pixels=high,
        fps=float(getattr(video, "fps", None) or 2.0),
        min_frames=int(getattr(video, "min_frames", None) or 4),
        max_frames=int(getattr(video, "max_frames", None) or 768),
    )
    mel = MelRules(
        sound.feature_size, sound.sampling_rate, sound.n_fft, sound.hop_length, 2 * model.thinker.audio_tower.n_window
    )
    return model_spec(
        model,
        tokenizer,
        name=short_name(checkpoint),
        attention=attention,
        media=MediaRules(sound.sampling_rate, vision),
        mel=mel,
        pixels=PixelRules(tuple(image.image_mean), tuple(image.image_std)),
        generation=_generation_config(checkpoint),
    )


def model_spec(
    model: Qwen2_5OmniForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    *,
    name: str,
    attention: str,
    media: MediaRules,
    mel: MelRules,
    pixels: PixelRules,
    generation: dict | None = None,
) -> ModelSpec:
    """The spec of a model in memory; what a checkpoint's preprocessor says comes as arguments, and the contents of
    its generation_config.json as `generation`."""
    config = model.config.thinker_config
    weights = next(model.thinker.model.parameters())
    has_talker = model.has_talker
    output_rate, codec_frame_s = TOKEN2WAV_SAMPLE_RATE, 0.0
    if has_talker:
        bigvgan, dit = model.token2wav.config.bigvgan_config, model.token2wav.config.dit_config
        output_rate = int(getattr(bigvgan, "sample_rate", None) or TOKEN2WAV_SAMPLE_RATE)
        samples_per_frame = 1
        for rate in bigvgan.upsample_rates:
            samples_per_frame *= rate
        codec_frame_s = dit.repeats * samples_per_frame / output_rate
    return ModelSpec(
        family=QWEN2_5,
        name=name,
        device=weights.device.type,
        dtype=str(weights.dtype).removeprefix("torch."),
        attention=attention,
        has_talker=has_talker,
        voices=tuple(model.speaker_map) if has_talker else (),
        context_length=config.text_config.max_position_embeddings,
        ids=_token_ids(model, tokenizer),
        media=media,
        mel=mel,
        pixels=pixels,
        position_ids_per_s=config.position_id_per_seconds,
        s_per_chunk=config.seconds_per_chunk,
        output_sample_rate=output_rate,
        codec_frame_s=codec_frame_s,
        bytes_per_token=_bytes_per_token(model, weights.dtype.itemsize),
        wide_bytes=wide_bytes(model),
        is_random=bool(getattr(model.config, "babbles", False)),
        is_micro=bool(getattr(model.config, "is_micro", False)),
        defaults=_defaults(generation or {}),
    )


def short_name(checkpoint: str) -> str:
    """A folder's own name or the hub id; never a path of this machine, since visitors of the page see it."""
    path = Path(checkpoint)
    return path.resolve().name if path.is_absolute() or path.exists() else checkpoint


def _token_ids(model: Qwen2_5OmniForConditionalGeneration, tokenizer: PreTrainedTokenizerBase) -> TokenIds:
    config = model.config.thinker_config
    im_start, im_end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    ends = model.thinker.generation_config.eos_token_id
    ends = [im_end] if ends is None else ends if isinstance(ends, list) else [ends]
    return TokenIds(
        im_start=im_start,
        im_end=im_end,
        audio=config.audio_token_id,
        audio_start=config.audio_start_token_id,
        audio_end=config.audio_end_token_id,
        image=config.image_token_id,
        video=config.video_token_id,
        vision_start=config.vision_start_token_id,
        vision_end=config.vision_end_token_id,
        ends_of_text=tuple(ends),
    )


def _bytes_per_token(model: Qwen2_5OmniForConditionalGeneration, itemsize: int) -> int:
    def kv(config: PretrainedConfig) -> int:
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return 2 * config.num_hidden_layers * config.num_key_value_heads * head_dim

    text = model.config.thinker_config.text_config
    talker = kv(model.config.talker_config) if model.has_talker else 0
    return itemsize * (kv(text) + text.hidden_size + talker)


def _defaults(generation: dict) -> TurnSettings:
    """The library's defaults, with what the checkpoint's generation_config.json says in `generate()`'s own prefixes
    (`thinker_max_new_tokens`, `talker_top_k`, `token2wav_num_steps`, ...)."""
    plain = TurnSettings()

    def sampling(prefix: str, default: Sampling) -> Sampling:
        return replace(
            default, **{name: generation.get(f"{prefix}_{name}", old) for name, old in vars(default).items()}
        )

    return TurnSettings(
        thinker=sampling("thinker", plain.thinker),
        talker=sampling("talker", plain.talker),
        ode_points=generation.get("token2wav_num_steps", plain.ode_points),
        guidance=generation.get("token2wav_guidance_scale", plain.guidance),
    )


def _generation_config(checkpoint: str) -> dict:
    """Read as plain JSON: `GenerationConfig.from_pretrained` drops the names that it does not know."""
    path = cached_file(checkpoint, "generation_config.json", _raise_exceptions_for_missing_entries=False)
    return {} if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
