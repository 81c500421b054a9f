"""Writes small media files for the tests: sounds, pictures and videos of any format that they ask for."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import soundfile

Colour = tuple[int, int, int]
NUM_STRIPES = 8


def tone(seconds: float, sample_rate: int, channels: int = 1, frequency: float = 440.0) -> np.ndarray:
    """A sine of half the full scale, float32 `[num_samples, channels]`."""
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    wave = (0.5 * np.sin(2 * np.pi * frequency * times)).astype(np.float32)
    return np.repeat(wave[:, None], channels, axis=1)


def make_wav(
    path: Path,
    seconds: float = 1.0,
    sample_rate: int = 16_000,
    channels: int = 1,
    subtype: str = "PCM_16",
    frequency: float = 440.0,
) -> Path:
    """A sine; the container follows the name's end (wav, flac, aiff, ogg, mp3), `subtype` is soundfile's."""
    soundfile.write(path, tone(seconds, sample_rate, channels, frequency), sample_rate, subtype=subtype)
    return path


def make_sound(
    path: Path,
    seconds: float = 1.0,
    sample_rate: int = 48_000,
    channels: int = 1,
    codec: str = "libopus",
    container: str | None = None,
    frequency: float = 440.0,
) -> Path:
    """A sine through FFmpeg, for what soundfile cannot write: webm and ogg with opus, m4a with aac, and so on."""
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=sample_rate, layout="stereo" if channels == 2 else "mono")
        _encode_sound(output, stream, tone(seconds, sample_rate, channels, frequency))
    return path


def make_image(path: Path, width: int = 64, height: int = 48, colour: Colour = (200, 30, 30)) -> Path:
    """One colour; the format follows the name's end."""
    PIL.Image.new("RGB", (width, height), colour).save(path)
    return path


def make_video(
    path: Path,
    seconds: float = 2.0,
    fps: float = 10,
    width: int = 96,
    height: int = 64,
    with_sound: bool = False,
    video_codec: str = "libx264",
    audio_codec: str = "aac",
    sound_seconds: float | None = None,
    sound_start_s: float = 0.0,
    frequency: float = 440.0,
    container: str | None = None,
    options: dict[str, str] | None = None,
    frame_times: list[float] | None = None,
    picture: np.ndarray | None = None,
) -> Path:
    """Frames are `numbered_frame`s, or each is `picture` (RGB `[height, width, 3]`); the sound is a sine.

    `frame_times`: when each frame is shown, instead of an even row. `options`: of the container. WebM wants
    `libvpx` and `libopus`.
    """
    rate = Fraction(fps).limit_denominator(1001)
    times = frame_times if frame_times is not None else [float(i / rate) for i in range(round(seconds * rate))]
    with av.open(str(path), "w", format=container, options=options or {}) as output:
        video = output.add_stream(video_codec, rate=rate)
        video.width, video.height, video.pix_fmt = width, height, "yuvj420p" if video_codec == "mjpeg" else "yuv420p"
        # AVI knows an even row of frames only; uneven times need a finer clock.
        clock = 1 / rate if frame_times is None else Fraction(1, 90_000)
        video.codec_context.time_base = clock
        if video_codec == "libx264":
            video.options = {"preset": "ultrafast", "crf": "10"}
        elif video_codec == "libvpx":
            video.options = {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "1M"}
        audio = output.add_stream(audio_codec, rate=48_000, layout="mono") if with_sound else None
        for index, time in enumerate(times):
            pixels = numbered_frame(index, width, height) if picture is None else picture
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time / clock), clock
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if audio is not None:
            sound_seconds = seconds if sound_seconds is None else sound_seconds
            _encode_sound(output, audio, tone(sound_seconds, 48_000, 1, frequency), sound_start_s)
    return path


def numbered_frame(index: int, width: int, height: int) -> np.ndarray:
    """RGB pixels that carry the low eight bits of a number as upright stripes, black or white."""
    bits = np.array([(index >> bit) & 1 for bit in range(NUM_STRIPES)])
    row = np.where(bits[np.arange(width) * NUM_STRIPES // width], 225, 30).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def number_of(pixels: np.ndarray) -> int:
    """The number of a frame of `make_video`, coded and resized however it was."""
    stripes = np.array_split(pixels.mean(axis=(0, 2)), NUM_STRIPES)
    return sum(int(stripe.mean() > 128) << bit for bit, stripe in enumerate(stripes))


def _encode_sound(
    output: av.container.OutputContainer, stream: av.AudioStream, samples: np.ndarray, start_s: float = 0.0
) -> None:
    num_channels = samples.shape[1]
    resampler = av.AudioResampler(stream.format, stream.layout, stream.rate, frame_size=stream.frame_size or None)
    frame = av.AudioFrame.from_ndarray(
        samples.reshape(1, -1), format="flt", layout="stereo" if num_channels == 2 else "mono"
    )
    frame.sample_rate, frame.pts, frame.time_base = stream.rate, round(start_s * stream.rate), Fraction(1, stream.rate)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        output.mux(stream.encode(piece))
    output.mux(stream.encode(None))


def rotate_mp4(path: Path, degrees: int) -> Path:
    """Write the rotation (clockwise, as a phone does) into the header of an MP4 made by `make_video`."""
    data = bytearray(path.read_bytes())
    quarter = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (value << 16 for value in quarter)
    # Matrix of a version 0 track header: 40 bytes of other fields follow the box's name.
    at = data.index(b"tkhd") + 4 + 40
    matrix = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)
    return path
