"""Reads a `ModelSpec` from a loaded model and its checkpoint's own files; loads no weights."""

import json
import math
from dataclasses import replace
from pathlib import Path

from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoVideoProcessor,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file

from app.engine.quantize import wide_bytes
from app.engine.spec import QWEN3, TOKEN2WAV_SAMPLE_RATE, MelRules, ModelSpec, PixelRules, TokenIds
from app.types.media import MediaRules, VisionRules
from app.types.turn import TALKER_SAMPLING, Sampling, TurnSettings

FAMILY = "qwen2_5_omni"

# The limits in tokens that the processors of both families give a video's frames, whatever the image limits of the
# checkpoint are.
VIDEO_MIN_TOKENS, VIDEO_MAX_TOKENS = 128, 768
# Where `generate()` of Qwen3-Omni has other defaults than that of Qwen2.5-Omni.
QWEN3_TALKER_SAMPLING = replace(TALKER_SAMPLING, top_k=50, top_p=1.0)


def read_spec(checkpoint: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, attention: str) -> ModelSpec:
    image = AutoImageProcessor.from_pretrained(checkpoint)
    video = AutoVideoProcessor.from_pretrained(checkpoint)
    sound = AutoFeatureExtractor.from_pretrained(checkpoint)
    low, high = int(video.size["shortest_edge"]), int(video.size["longest_edge"])
    token_pixels = (image.patch_size * image.merge_size) ** 2
    if high > VIDEO_MIN_TOKENS * token_pixels:
        low, high = max(low, VIDEO_MIN_TOKENS * token_pixels), min(high, VIDEO_MAX_TOKENS * token_pixels)
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
    tower = model.thinker.audio_tower
    window = 2 * tower.n_window
    frames = (tower.n_window_infer, window) if model.config.model_type == QWEN3 else (window, 0)
    mel = MelRules(sound.feature_size, sound.sampling_rate, sound.n_fft, sound.hop_length, *frames)
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
    model: PreTrainedModel,
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
    family = model.config.model_type
    output_rate, codec_frame_s, voices = TOKEN2WAV_SAMPLE_RATE, 0.0, ()
    if has_talker:
        output_rate, codec_frame_s, voices = (_sound_qwen3 if family == QWEN3 else _sound_qwen2_5)(model)
    return ModelSpec(
        family=family,
        name=name,
        device=weights.device.type,
        dtype=str(weights.dtype).removeprefix("torch."),
        attention=attention,
        has_talker=has_talker,
        voices=voices,
        context_length=config.text_config.max_position_embeddings,
        ids=_token_ids(model, tokenizer),
        media=media,
        mel=mel,
        pixels=pixels,
        position_ids_per_s=config.position_id_per_seconds,
        # Qwen3-Omni has no chunks, whatever its configuration says.
        s_per_chunk=getattr(config, "seconds_per_chunk", 0.0),
        output_sample_rate=output_rate,
        codec_frame_s=codec_frame_s,
        bytes_per_token=_bytes_per_token(model, weights.dtype.itemsize),
        wide_bytes=wide_bytes(model),
        is_random=bool(getattr(model.config, "babbles", False)),
        is_micro=bool(getattr(model.config, "is_micro", False)),
        defaults=_defaults(generation or {}, QWEN3_TALKER_SAMPLING if family == QWEN3 else TALKER_SAMPLING),
    )


def _sound_qwen2_5(model: PreTrainedModel) -> tuple[int, float, tuple[str, ...]]:
    """The wave's rate, speech per codec frame, and the voices."""
    bigvgan, dit = model.token2wav.config.bigvgan_config, model.token2wav.config.dit_config
    rate = int(getattr(bigvgan, "sample_rate", None) or TOKEN2WAV_SAMPLE_RATE)
    return rate, dit.repeats * math.prod(bigvgan.upsample_rates) / rate, tuple(model.speaker_map)


def _sound_qwen3(model: PreTrainedModel) -> tuple[int, float, tuple[str, ...]]:
    code2wav = model.code2wav
    rate = int(getattr(code2wav.config, "sample_rate", None) or TOKEN2WAV_SAMPLE_RATE)
    return rate, int(code2wav.total_upsample) / rate, tuple(speaker_codes(model))


def speaker_codes(model: PreTrainedModel) -> dict[str, int]:
    """Qwen3's voices and their codes, in the order of these; a configuration that was saved has them in another."""
    speakers = model.config.talker_config.speaker_id
    # There they are in small letters.
    return {name.title(): speakers[name] for name in sorted(speakers, key=speakers.get)}


def short_name(checkpoint: str) -> str:
    """A folder's own name or the hub id; never a path of this machine, since visitors of the page see it."""
    path = Path(checkpoint)
    return path.resolve().name if path.is_absolute() or path.exists() else checkpoint


def _token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> TokenIds:
    config = model.config.thinker_config

    def named(name: str, token: str) -> int:
        """A published configuration of Qwen3-Omni need not have all ids; its tokenizer has."""
        found = getattr(config, name, None)
        return tokenizer.convert_tokens_to_ids(getattr(tokenizer, token)) if found is None else found

    im_start, im_end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    ends = model.thinker.generation_config.eos_token_id
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    if not ends or model.config.model_type == QWEN3:
        # There `generate()` has it as a default of its own, whatever the configuration says.
        ends = [*ends, im_end]
    return TokenIds(
        im_start=im_start,
        im_end=im_end,
        audio=config.audio_token_id,
        audio_start=config.audio_start_token_id,
        audio_end=named("audio_end_token_id", "audio_eos_token"),
        image=config.image_token_id,
        video=config.video_token_id,
        vision_start=named("vision_start_token_id", "vision_bos_token"),
        vision_end=named("vision_end_token_id", "vision_eos_token"),
        ends_of_text=tuple(dict.fromkeys(ends)),
    )


def _bytes_per_token(model: PreTrainedModel, itemsize: int) -> int:
    def kv(config: PretrainedConfig) -> int:
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return 2 * config.num_hidden_layers * config.num_key_value_heads * head_dim

    text = model.config.thinker_config.text_config
    talker_config = model.config.talker_config
    talker = kv(getattr(talker_config, "text_config", talker_config)) if model.has_talker else 0
    return itemsize * (kv(text) + text.hidden_size + talker)


def _defaults(generation: dict, talker: Sampling) -> TurnSettings:
    """The library's defaults, with what the checkpoint's generation_config.json says in `generate()`'s own prefixes
    (`thinker_max_new_tokens`, `talker_top_k`, `token2wav_num_steps`, ...)."""
    plain = TurnSettings()

    def sampling(prefix: str, default: Sampling) -> Sampling:
        given = {name: generation.get(f"{prefix}_{name}") for name in vars(default)}
        return replace(default, **{name: value for name, value in given.items() if value is not None})

    return TurnSettings(
        thinker=sampling("thinker", plain.thinker),
        talker=sampling("talker", talker),
        ode_points=generation.get("token2wav_num_steps", plain.ode_points),
        guidance=generation.get("token2wav_guidance_scale", plain.guidance),
    )


def _generation_config(checkpoint: str) -> dict:
    """Read as plain JSON: `GenerationConfig.from_pretrained` drops the names that it does not know."""
    path = cached_file(checkpoint, "generation_config.json", _raise_exceptions_for_missing_entries=False)
    return {} if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
