"""Videos to the few frames that a model sees and the sound track it hears; keeps only those frames in memory."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np
import torch
from qwen_omni_utils.v2_5.vision_process import FRAME_FACTOR, MODEL_SEQ_LEN, VIDEO_MAX_TOKEN_NUM, smart_nframes

from app.errors import BadInput
from app.media.audio import MIN_DURATION_S, TooLong, too_long, track_samples
from app.media.container import BROKEN, audio_stream, frames, header_duration_s, open_container, packets, video_stream
from app.media.image import fitted_size, resize
from app.media.limits import GRACE_S, MediaInfo, MediaLimits
from app.media.source import Source, unreadable
from app.types.media import Audio, MediaRules, Video, VisionRules

# Share of the context that the published reader gives to one video (`total_pixels` of fetch_video).
_CONTEXT_SHARE = 0.9
# A live picture takes at most so many tokens: 10 s at two a second are then 1,280, of which each pair is one group.
LIVE_TOKENS = 128
# The header's rate is taken when it is this close to that of the time stamps; browsers write none or a wrong one.
_RATE_TOLERANCE = 0.02
_ASSUMED_FPS = 25.0
# Sound that starts this much before or after the picture is shifted into place.
_MIN_SHIFT_S = 0.02


@dataclass(frozen=True)
class Timeline:
    """When the pictures of a file are shown.

    `times`: one per frame, rising; `end_s`: of picture and sound; `shift_s`: start of the sound less the picture's.
    """

    times: tuple[float, ...]
    header_fps: float
    end_s: float
    shift_s: float

    @property
    def fps(self) -> float:
        num_gaps, span = len(self.times) - 1, self.times[-1] - self.times[0]
        measured = num_gaps / span if span > 0 else 0.0
        if self.header_fps and (not measured or abs(self.header_fps - measured) <= _RATE_TOLERANCE * measured):
            return self.header_fps
        return measured or _ASSUMED_FPS

    @property
    def duration_s(self) -> float:
        return max(self.end_s, self.times[-1] + 1 / self.fps) - self.times[0]


@dataclass(frozen=True)
class Picks:
    """Which frames of the file the model sees, in order; a frame may come twice. `fps`: of this sampling."""

    indices: tuple[int, ...]
    fps: float


def probe_video(source: Source, limits: MediaLimits) -> MediaInfo:
    """Reads all packets but decodes only the first frame; raises BadInput."""
    timeline = read_timeline(source, limits)
    with open_container(source, limits.max_pixels) as container:
        has_sound = audio_stream(container) is not None
        first = next(frames(container, video_stream(container)), None)
        if first is None:
            raise _no_frames(source)
        sideways = first.rotation % 180 != 0
        width, height = (first.height, first.width) if sideways else (first.width, first.height)
    return MediaInfo("video", timeline.duration_s, has_sound, width, height, len(timeline.times), timeline.fps)


def decode_video(source: Source, rules: MediaRules, limits: MediaLimits, use_sound: bool) -> Video:
    """Frames by the published rules, upright and resized, and the sound track if there is one; raises BadInput."""
    timeline = read_timeline(source, limits)
    picks = pick_frames(timeline, rules.vision)
    pictures, times = _read_frames(source, picks, rules.vision, limits)
    if times and len(times) <= max(picks.indices):
        # Fewer frames than packets: some are broken or never shown. The rule is asked again, with what there is.
        shown = Timeline(tuple(times), timeline.header_fps, times[-1], timeline.shift_s)
        picks = pick_frames(shown, rules.vision)
        pictures, times = _read_frames(source, picks, rules.vision, limits)
    if not pictures:
        raise _no_frames(source)
    # A decoder that answers differently the second time leaves holes: the nearest earlier picture stands.
    found = sorted(pictures)
    stacked = np.stack([pictures[found[max(0, bisect_left(found, index + 1) - 1)]] for index in picks.indices])
    return Video(stacked, picks.fps, _read_sound(source, rules, limits, timeline.shift_s) if use_sound else None)


def read_timeline(source: Source, limits: MediaLimits) -> Timeline:
    """The time stamps of all packets, without decoding: headers lie, and browsers' recordings have no duration."""
    shown: list[float | None] = []
    stored: list[float | None] = []
    first: dict[int, float] = {}
    end_s = 0.0
    with open_container(source, limits.max_pixels) as container:
        video, audio = video_stream(container), audio_stream(container)
        if video is None or video.codec_context is None:
            raise unreadable(source)
        _check_pixels(source, video.codec_context.width, video.codec_context.height, limits)
        header_fps = float(video.average_rate or 0)
        video_index, audio_index = video.index, audio.index if audio is not None else -1
        for packet in packets(container, *filter(None, (video, audio))):
            if packet.is_discard:
                continue
            shown_at, stored_at = _seconds(packet.pts, packet), _seconds(packet.dts, packet)
            if packet.stream_index == video_index:
                shown.append(shown_at)
                stored.append(stored_at)
            time = shown_at if shown_at is not None else stored_at
            if time is not None:
                first[packet.stream_index] = min(time, first.get(packet.stream_index, time))
                end_s = max(end_s, time + (_seconds(packet.duration, packet) or 0.0))
            length_s = end_s - min(first.values(), default=0.0)
            if length_s > limits.max_video_s + GRACE_S or len(shown) > limits.max_video_frames:
                raise too_long(source, header_duration_s(container), limits.max_video_s)
    if not shown:
        raise _no_frames(source)
    counted = [index / (header_fps or _ASSUMED_FPS) for index in range(len(shown))]
    # AVI stores the order of decoding only, at an even rate.
    times = tuple(sorted(next(row for row in (shown, stored, counted) if None not in row)))
    shift_s = first[audio_index] - first[video_index] if {audio_index, video_index} <= first.keys() else 0.0
    return Timeline(times, header_fps, end_s, shift_s)


def pick_frames(timeline: Timeline, rules: VisionRules) -> Picks:
    """As many as `smart_nframes` says, evenly from the first to the last frame as the published reader takes them.

    A single frame, which that rule refuses, is shown for as long as one temporal patch takes.
    """
    times, fps = timeline.times, timeline.fps
    patch = rules.temporal_patch_size
    if len(times) < FRAME_FACTOR:
        return Picks((0,) * patch, rules.fps)
    wanted = {"fps": rules.fps, "min_frames": rules.min_frames, "max_frames": rules.max_frames}
    num_frames = smart_nframes(wanted, total_frames=len(times), video_fps=fps)
    indices = torch.linspace(0, len(times) - 1, num_frames).round().long().tolist()
    if not _is_regular(times):
        # Cameras slow down in the dark and screens stand still: even in time, since the model is told even times.
        indices = [_nearest(times, moment) for moment in np.linspace(times[0], times[-1], num_frames)]
    indices += indices[-1:] * (-num_frames % patch)
    return Picks(tuple(indices), num_frames / len(times) * fps)


def _nearest(times: Sequence[float], moment: float) -> int:
    after = min(bisect_left(times, moment), len(times) - 1)
    before = max(0, after - 1)
    return before if moment - times[before] <= times[after] - moment else after


def _is_regular(times: Sequence[float]) -> bool:
    """True when every frame is nearer to its place in an even row than to its neighbours' places."""
    even = np.linspace(times[0], times[-1], len(times))
    step = (times[-1] - times[0]) / (len(times) - 1)
    return bool(np.abs(even - np.asarray(times)).max() <= 0.75 * step)


def _read_frames(
    source: Source, picks: Picks, rules: VisionRules, limits: MediaLimits
) -> tuple[dict[int, np.ndarray], list[float]]:
    """The picked frames by index, resized, and the times of all frames decoded; stops after the last pick."""
    wanted, last = set(picks.indices), max(picks.indices)
    pictures: dict[int, np.ndarray] = {}
    times: list[float] = []
    size = None
    with open_container(source, limits.max_pixels) as container:
        stream = video_stream(container)
        stream.thread_type = "AUTO"
        for index, frame in enumerate(frames(container, stream)):
            times.append(frame.time if frame.time is not None else index / _ASSUMED_FPS)
            if index in wanted:
                _check_pixels(source, frame.width, frame.height, limits)
                try:
                    pixels = _upright(frame)
                except BROKEN:  # of a pixel format that cannot be converted: the picture before it stands
                    continue
                if size is None:
                    size = _fitted_video_size(pixels.shape[0], pixels.shape[1], len(picks.indices), rules, source.name)
                pictures[index] = resize(pixels, size)
            if index == last:
                break
    return pictures, times


def fit_frame(pixels: np.ndarray, rules: VisionRules, max_tokens: int = LIVE_TOKENS) -> np.ndarray:
    """A frame of a live camera, uint8 `[height, width, 3]`, as a frame of a video of unknown length is seen."""
    height, width = pixels.shape[:2]
    max_pixels = min(rules.video_max_pixels, max(max_tokens * rules.factor**2, rules.video_min_pixels))
    size = fitted_size(height, width, rules.factor, rules.video_min_pixels, max_pixels, "The camera's picture")
    return resize(pixels, size)


def _fitted_video_size(height: int, width: int, num_frames: int, rules: VisionRules, name: str) -> tuple[int, int]:
    """`max_pixels` as fetch_video computes it: the more frames, the fewer pixels each may have."""
    factor, min_pixels = rules.factor, rules.video_min_pixels
    total_pixels = MODEL_SEQ_LEN * factor**2 * _CONTEXT_SHARE
    share = min(VIDEO_MAX_TOKEN_NUM * factor**2, total_pixels / num_frames * FRAME_FACTOR)
    max_pixels = min(rules.video_max_pixels, max(share, int(min_pixels * 1.05)))
    return fitted_size(height, width, factor, min_pixels, max_pixels, name)


def _seconds(ticks: int | None, packet: av.Packet) -> float | None:
    return None if ticks is None or packet.time_base is None else float(ticks * packet.time_base)


def _upright(frame: av.VideoFrame) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24")
    num_quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, num_quarters)) if num_quarters else pixels


def _read_sound(source: Source, rules: MediaRules, limits: MediaLimits, shift_s: float) -> Audio | None:
    """The sound track moved to where the picture starts; None when there is none to speak of."""
    try:
        with open_container(source, limits.max_pixels) as container:
            samples = track_samples(container, rules.sample_rate, limits.max_video_s)
    except TooLong:
        raise too_long(source, None, limits.max_video_s) from None
    if len(samples) and abs(shift_s) >= _MIN_SHIFT_S:
        num_shift = round(shift_s * rules.sample_rate)
        samples = np.pad(samples, (num_shift, 0)) if num_shift > 0 else samples[-num_shift:]
    if len(samples) < MIN_DURATION_S * rules.sample_rate:
        return None
    return Audio(samples, rules.sample_rate)


def _check_pixels(source: Source, width: int, height: int, limits: MediaLimits) -> None:
    if width * height > limits.max_pixels:
        raise BadInput(
            f"{source.name} has frames of {width} x {height} pixels and at most {limits.max_pixels / 1e6:g} million "
            "can be sent; make it smaller first."
        )


def _no_frames(source: Source) -> BadInput:
    return BadInput(f"{source.name} holds no picture that can be decoded; save it as MP4 (H.264) and upload that.")
