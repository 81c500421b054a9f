"""Writes what was seen and said live as a clip that browsers play; knows no session."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

# Nearly without loss: the clip is read again when a conversation is written afresh.
_CRF = "10"


def write_clip(path: Path, frames: np.ndarray, fps: float, samples: np.ndarray, sample_rate: int) -> None:
    """MP4 of H.264 and AAC. `frames`: uint8 `[frame, height, width, 3]`, even sides; `samples`: float32 mono.

    Complete or not at all. Raises OSError, or av's errors.
    """
    partial = path.with_name(path.name + ".part")
    with av.open(str(partial), "w", format="mp4", options={"movflags": "faststart"}) as output:
        video = output.add_stream("libx264", rate=Fraction(fps), options={"crf": _CRF, "preset": "veryfast"})
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
        audio = output.add_stream("aac", rate=sample_rate, layout="mono")
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = index, 1 / Fraction(fps)
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
        size = audio.frame_size or 1024
        for start in range(0, len(samples), size):
            sound = av.AudioFrame.from_ndarray(samples[None, start : start + size], format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = sample_rate, start, Fraction(1, sample_rate)
            output.mux(audio.encode(sound))
        output.mux(audio.encode(None))
    partial.replace(path)
