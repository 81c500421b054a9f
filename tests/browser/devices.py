"""Files that stand for a microphone and a camera; Chromium plays them in a loop."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile


def write_microphone(path: Path, duration_s: float = 6.0) -> Path:
    """48 kHz mono WAV: a voice-like tone of 220 Hz with harmonics that swells four times a second."""
    t = np.arange(int(duration_s * 48_000)) / 48_000
    tone = sum(np.sin(2 * np.pi * 220 * k * t) / k for k in range(1, 6))
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * t)
    soundfile.write(path, (0.2 * tone * swell).astype(np.float32), 48_000, subtype="PCM_16")
    return path


def write_camera(path: Path, num_frames: int = 60, width: int = 640, height: int = 480) -> Path:
    """MJPEG of a red square that moves over a grey gradient."""
    with av.open(str(path), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 30)
        gradient = np.linspace(40, 200, width, dtype=np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2)
        for index in range(num_frames):
            picture = gradient.copy()
            left = (index * 8) % (width - 80)
            picture[height // 2 - 40 : height // 2 + 40, left : left + 80] = (220, 30, 30)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
