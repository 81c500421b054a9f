"""Pieces of recordings for training: a wave and its spectrogram, or a code run and its spectrogram, batch by batch."""

import random

import numpy as np
import torch

from training.speech.mel import HOP, LogMel, to_model_domain
from training.speech.voices_out import Recordings

# Frames on both sides from which a frame's window reads: with them a piece's mel equals that of the whole recording.
MARGIN = 3


def cut(recordings: Recordings, index: int, first_frame: int, num_frames: int) -> np.ndarray:
    """Samples [(num_frames + 2 * MARGIN) * 240] in [-1, 1] around the piece; silence beyond the recording's ends."""
    start, end = (first_frame - MARGIN) * HOP, (first_frame + num_frames + MARGIN) * HOP
    wave = recordings.wave(index)
    samples = wave[max(0, start) : end].astype(np.float32) / 32767
    return np.pad(samples, (max(0, -start), max(0, end - len(wave))))


def whole_mel(recordings: Recordings, index: int, log_mel: LogMel) -> torch.Tensor:
    """ln-mel [num_frames, 80] of a whole recording, on the device of `log_mel`."""
    samples = cut(recordings, index, 0, recordings.num_samples[index] // HOP)
    return log_mel(torch.from_numpy(samples).to(log_mel.window.device)[None])[0, :, MARGIN:-MARGIN].T


class Cutter:
    """Draws pieces of `num_frames` mel frames, starting on a code, from the recordings that are long enough."""

    def __init__(self, recordings: Recordings, num_frames: int, held_out: bool, device: torch.device) -> None:
        self._recordings = recordings
        self._num_frames = num_frames
        self._device = device
        self._log_mel = LogMel().to(device)
        self._by_voice: dict[int, list[int]] = {}
        for index, length in enumerate(recordings.num_samples):
            if length >= num_frames * HOP and recordings.held_out[index] == held_out:
                self._by_voice.setdefault(recordings.voice[index], []).append(index)

    def draw(self, generator: random.Random, size: int) -> list[tuple[int, int]]:
        """`size` pairs (recording, first frame), the voices in turn."""
        voices = sorted(self._by_voice)
        places = []
        for number in range(size):
            index = generator.choice(self._by_voice[voices[number % len(voices)]])
            last = self._recordings.num_samples[index] // HOP - self._num_frames
            places.append((index, generator.randint(0, last // 2) * 2))
        return places

    def cut(self, places: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Mel in the model's domain [piece, 80, num_frames] and wave [piece, num_frames * 240]."""
        waves = np.stack([cut(self._recordings, index, first, self._num_frames) for index, first in places])
        samples = torch.from_numpy(waves).to(self._device)
        mel = to_model_domain(self._log_mel(samples)[..., MARGIN:-MARGIN])
        return mel, samples[:, MARGIN * HOP : -MARGIN * HOP]
