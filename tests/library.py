"""The reference for parity tests: the library's own processor and `generate()` on the same checkpoint and media."""

import numpy as np
import torch
from PIL import Image as PillowImage

from app.types.turn import AudioPart, ImagePart, Part, TextPart, VideoPart

USER_KINDS = {TextPart: "text", ImagePart: "image", AudioPart: "audio", VideoPart: "video"}


def content(parts: tuple[Part, ...]) -> list[dict]:
    """A user message as the chat template takes it."""
    return [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": USER_KINDS[type(part)]}
        for part in parts
    ]


def inputs(processor, messages: list[dict], parts: tuple[Part, ...], dtype=torch.float32) -> dict[str, torch.Tensor]:
    """What the library's processor makes of messages whose media are `parts`, in order."""
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    images = [PillowImage.fromarray(part.image.pixels) for part in parts if isinstance(part, ImagePart)]
    videos = [
        np.ascontiguousarray(part.video.frames.transpose(0, 3, 1, 2)) for part in parts if isinstance(part, VideoPart)
    ]
    sounds = [
        part.audio.samples if isinstance(part, AudioPart) else part.video.audio.samples
        for part in parts
        if isinstance(part, AudioPart) or (isinstance(part, VideoPart) and part.video.audio is not None)
    ]
    options = {}
    if videos:
        fps = next(part.video.fps for part in parts if isinstance(part, VideoPart))
        options |= {"videos": videos, "fps": fps, "size": dict(processor.video_processor.size)}
    if uses_sound_of_video(parts):
        options["use_audio_in_video"] = True
    made = processor(text=text, images=images or None, audio=sounds or None, return_tensors="pt", **options)
    return dict(made)


def uses_sound_of_video(parts: tuple[Part, ...]) -> bool:
    return any(isinstance(part, VideoPart) and part.video.audio is not None for part in parts)


def generate(model, made: dict, use_sound: bool, **options) -> tuple[list[int], list[int], torch.Tensor]:
    """Text ids, codes (with the end) and wave of the library's `generate()`."""
    if hasattr(model, "code2wav"):
        return _generate_qwen3(model, made, use_sound, **options)
    recorded = {}
    talker_generate = model.talker.generate

    def recording(*args, **kwargs):
        result = talker_generate(*args, **kwargs)
        recorded["codes"] = result[0, kwargs["input_ids"].shape[1] :].tolist()
        return result

    # `pixel_values` reach the Talker's generate() as a shared argument and raise there; prefixed they do not.
    named = {f"thinker_{key}" if key.startswith("pixel") else key: value for key, value in made.items()}
    model.talker.generate = recording
    try:
        sequences, wave = model.generate(**named, use_audio_in_video=use_sound, **options)
    finally:
        del model.talker.generate
    return sequences[0, made["input_ids"].shape[1] :].tolist(), recorded["codes"], wave


def _generate_qwen3(model, made: dict, use_sound: bool, **options) -> tuple[list[int], list[int], torch.Tensor]:
    """Codes frame by frame.

    The library never completes the last frame that it may make, so it may make one more. Its Talker reads a
    configuration that it lacks where there are pictures and sound, and is not told that a video is heard; both are
    mended here, since its Thinker would otherwise see other positions than it.
    """
    recorded = {}
    model.talker.config.audio_config = model.thinker.config.audio_config
    if use_sound:
        options["talker_use_audio_in_video"] = True
    options["thinker_eos_token_id"] = model.config.im_end_token_id
    talker_generate, decode = model.talker.generate, model.code2wav.chunked_decode

    def generating(*args, **kwargs):
        result = talker_generate(*args, **kwargs)
        recorded["first"] = result.sequences[0].tolist()
        return result

    def decoding(codes, **kwargs):
        recorded["frames"] = codes[0].T.tolist()
        return decode(codes, **kwargs)

    options["talker_max_new_tokens"] += 1
    model.talker.generate, model.code2wav.chunked_decode = generating, decoding
    try:
        sequences, wave = model.generate(**made, use_audio_in_video=use_sound, **options)
    finally:
        del model.talker.generate, model.code2wav.chunked_decode
    ends = [code for code in recorded["first"] if code == model.config.talker_config.codec_eos_token_id]
    codes = [code for frame in recorded["frames"] for code in frame] + ends
    return sequences[0, made["input_ids"].shape[1] :].tolist(), codes, wave[0, 0]
