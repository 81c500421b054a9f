"""What decoded media look like between `app.media` and `app.chatml`; knows no file and no model."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Audio:
    """Mono sound. `samples`: float32 `[num_samples]` in [-1, 1]; `sample_rate` in Hz."""

    samples: np.ndarray
    sample_rate: int

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True, eq=False)
class Image:
    """One picture. `pixels`: uint8 RGB `[height, width, 3]`, already resized to multiples of patch * merge."""

    pixels: np.ndarray


@dataclass(frozen=True, eq=False)
class Video:
    """Sampled frames and, if it is to be heard, the sound track.

    `frames`: uint8 RGB `[num_frames, height, width, 3]`, resized as for `Image`; `num_frames` is a multiple of the
    checkpoint's temporal patch. `fps`: frames per second *of this sampling*. `audio`: None when there is no sound
    track or it is not to be used.
    """

    frames: np.ndarray
    fps: float
    audio: Audio | None


@dataclass(frozen=True)
class VisionRules:
    """Pixel and frame rules of a checkpoint, from its own preprocessor config. Pixels are counted per frame."""

    patch_size: int
    merge_size: int
    temporal_patch_size: int
    image_min_pixels: int
    image_max_pixels: int
    video_min_pixels: int
    video_max_pixels: int
    fps: float
    min_frames: int
    max_frames: int

    @property
    def factor(self) -> int:
        """Heights and widths are multiples of this many pixels."""
        return self.patch_size * self.merge_size


@dataclass(frozen=True)
class MediaRules:
    """All that `app.media` must know of a checkpoint: sample rate of the sound it hears, and its vision rules."""

    sample_rate: int
    vision: VisionRules
