"""The one entry of the media stage: a user's texts and files to parts that a model can read; knows no model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from app.errors import BadInput
from app.media.audio import decode_audio, duration_s, is_plain_sound
from app.media.container import audio_stream, open_container, video_stream
from app.media.image import decode_image, find_format, probe_image, refuse_heic
from app.media.limits import GRACE_S, MediaInfo, MediaLimits
from app.media.source import Source, open_source, refuse_text, unreadable
from app.media.text import check_length, clean_text, is_blank
from app.media.video import decode_video, probe_video
from app.types.media import MediaRules
from app.types.turn import AudioPart, FileInput, ImagePart, Part, TextInput, TextPart, TurnInput, VideoPart

__all__ = ["MediaInfo", "MediaLimits", "decode_turn", "probe"]

_DEFAULT_LIMITS = MediaLimits()
_NOUNS = {"image": "picture", "audio": "sound", "video": "video"}


def decode_turn(turn_input: TurnInput, rules: MediaRules, limits: MediaLimits) -> tuple[Part, ...]:
    """All contents in their order; blank texts are dropped. Raises BadInput."""
    contents = [
        TextInput(clean_text(content.text)) if isinstance(content, TextInput) else content
        for content in turn_input.contents
    ]
    check_length([content.text for content in contents if isinstance(content, TextInput)], limits)
    files = [content for content in contents if isinstance(content, FileInput)]
    _check_files(files, limits)
    contents = [content for content in contents if isinstance(content, FileInput) or not is_blank(content.text)]
    if not contents:
        raise BadInput("The message is empty; type something or add a picture, a sound or a video.")
    parts: list[Part] = []
    for content in contents:
        if isinstance(content, TextInput):
            parts.append(TextPart(content.text))
        else:
            parts.append(_decode_file(content, rules, limits, turn_input.use_video_sound))
            _check_seconds(parts, limits)
    return tuple(parts)


def probe(path: Path, limits: MediaLimits = _DEFAULT_LIMITS) -> MediaInfo:
    """What a file holds, from its content, without decoding it all; raises BadInput."""
    with open_source(Path(path), limits) as source:
        kind = _find_kind(source, limits)
        if kind == "image":
            return probe_image(source, limits)
        if kind == "video":
            return probe_video(source, limits)
        return MediaInfo("audio", duration_s(source, limits), True, None, None)


def _decode_file(content: FileInput, rules: MediaRules, limits: MediaLimits, use_video_sound: bool) -> Part:
    with open_source(Path(content.path), limits) as source:
        found = _find_kind(source, limits)
        kind = content.kind or found
        assert kind in _NOUNS, kind
        # The sound of a video can be sent alone; nothing else can be taken for another kind.
        if kind != found and (found, kind) != ("video", "audio"):
            raise BadInput(f"{source.name} is a {_NOUNS[found]} and not a {_NOUNS[kind]}; choose another file.")
        if kind == "image":
            return ImagePart(decode_image(source, rules.vision, limits))
        if kind == "video":
            return VideoPart(decode_video(source, rules, limits, use_video_sound))
        return AudioPart(decode_audio(source, rules.sample_rate, limits))


def _find_kind(source: Source, limits: MediaLimits) -> str:
    """By content alone: a name says nothing that can be relied on."""
    if find_format(source.head) is not None:
        return "image"
    if is_plain_sound(source.head):
        return "audio"
    refuse_heic(source)
    refuse_text(source)
    with open_container(source, limits.max_pixels) as container:
        if video_stream(container) is not None:
            return "video"
        if audio_stream(container) is not None:
            return "audio"
    raise unreadable(source)


def _check_files(files: Sequence[FileInput], limits: MediaLimits) -> None:
    if len(files) > limits.max_files:
        raise BadInput(
            f"The message has {len(files)} files and at most {limits.max_files} can be sent; "
            "send the rest in the next one."
        )
    unlimited = replace(limits, max_file_mb=float("inf"))
    total_mb = 0.0
    for file in files:
        if len(files) == 1:
            break
        with open_source(Path(file.path), unlimited) as source:
            total_mb += source.num_bytes / 1e6
    if total_mb > limits.max_total_mb:
        raise BadInput(
            f"The files have {total_mb:.0f} MB together and at most {limits.max_total_mb:g} MB can be sent; "
            "send some of them in the next message."
        )


def _check_seconds(parts: Sequence[Part], limits: MediaLimits) -> None:
    """The limits of a single file were checked while it was decoded; these are those of all together."""
    audio_s = sum(part.audio.duration_s for part in parts if isinstance(part, AudioPart))
    video_s = sum(len(part.video.frames) / part.video.fps for part in parts if isinstance(part, VideoPart))
    for noun, seconds, max_s in (("sounds", audio_s, limits.max_audio_s), ("videos", video_s, limits.max_video_s)):
        if seconds > max_s + GRACE_S:
            raise BadInput(
                f"The {noun} last {seconds:.0f} s together and at most {max_s:g} s can be sent; "
                "send some of them in the next message."
            )
