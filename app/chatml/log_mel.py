"""The log-mel spectrogram of the sound tower, whole or as a stream; knows no file and no model.

Equal to `WhisperFeatureExtractor` of the pinned transformers without its padding of every clip to 300 s (for 7 s of
sound 6 ms instead of 499 ms). What that padding does to a clip is kept: zeros follow the last sample, and the frames
that only begin after it count for the maximum.

Qwen3-Omni's processor pads to the longest clip of its call instead, so a clip that it is given alone ends mirrored, as
it begins, and without the frame whose hop it does not fill. `mirrors_end` makes every clip so: what one sounds like
must not depend on which others are in the conversation. A shorter one beside it differs in its last two frames, and
may have one more. The library refuses a clip that is too short to be mirrored; here zeros follow it.
"""

from functools import lru_cache

import numpy as np
import torch
from transformers.audio_utils import mel_filter_bank

from app.engine.spec import MelRules

# Of WhisperFeatureExtractor: fixed there too, whatever the sample rate.
_MAX_FREQUENCY = 8000.0
_FLOOR = 1e-10
# Values further than this many decades below the loudest one are raised to it.
_RANGE = 8.0


def log_mel(samples: np.ndarray, rules: MelRules, mirrors_end: bool = False) -> torch.Tensor:
    """Float32 samples `[num_samples]` of a whole clip to `[num_mel_bins, num_frames]`, a frame per begun hop, or per
    full one where it `mirrors_end`."""
    stream = _Frames(rules, mirrors_end)
    stream.push(samples)
    stream.close()
    num_frames = stream.num_frames
    if num_frames == 0:
        return torch.zeros(rules.num_mel_bins, 0)
    decades = stream.take(num_frames + stream.num_tail_frames)
    return _scale(decades[:, :num_frames], decades.max())


class LogMelStream:
    """Log-mel of sound that is still coming in, in blocks of `rules.block_frames` frames.

    A block is ready 12.5 ms (half a window) after its last frame began. The range is cut below the loudest value so
    far, so blocks equal those of the whole clip unless the level rises later; `restated` gives those that came out
    before with the range of now.
    """

    def __init__(self, rules: MelRules, mirrors_end: bool = False) -> None:
        self._rules = rules
        self._frames = _Frames(rules, mirrors_end)
        self._num_out = 0
        self._loudest = torch.tensor(-torch.inf)
        self._decades: list[torch.Tensor] = []

    @property
    def loudest(self) -> float:
        """The highest value so far, in decades of power."""
        return float(self._loudest)

    def restated(self, index: int) -> torch.Tensor:
        """Block `index` cut below the loudest value so far."""
        return _scale(self._decades[index], self._loudest)

    def push(self, samples: np.ndarray) -> list[torch.Tensor]:
        """Add float32 samples `[num_samples]`; returns the blocks `[num_mel_bins, block_frames]` that they complete."""
        self._frames.push(samples)
        blocks = []
        while self._frames.num_ready >= self._num_out + self._rules.block_frames:
            blocks.append(self._emit(self._rules.block_frames, 0))
        return blocks

    def finish(self) -> list[torch.Tensor]:
        """The rest: no block, a partial one, or (when the clip ends within half a window of a block) a full one and a
        partial one. The stream takes nothing after it."""
        self._frames.close()
        blocks = []
        while num_left := self._frames.num_frames - self._num_out:
            num_frames = min(num_left, self._rules.block_frames)
            blocks.append(self._emit(num_frames, self._frames.num_tail_frames if num_frames == num_left else 0))
        return blocks

    def _emit(self, num_frames: int, num_tail_frames: int) -> torch.Tensor:
        decades = self._frames.take(num_frames + num_tail_frames)
        self._loudest = torch.maximum(self._loudest, decades.max())
        self._num_out += num_frames
        self._decades.append(decades[:, :num_frames])
        return self.restated(-1)


class _Frames:
    """Log-power mel frames of a growing clip. Owns the samples that the next frame still needs."""

    def __init__(self, rules: MelRules, mirrors_end: bool) -> None:
        self._rules = rules
        self._mirrors_end = mirrors_end
        self._half = rules.n_fft // 2
        self._opening = np.zeros(0, np.float32)
        self._ready = torch.zeros(0)
        self._is_open = False
        self._num_samples = 0
        self._num_taken = 0

    @property
    def num_frames(self) -> int:
        """Frames of the clip so far, those of the last half window included."""
        num_samples, hop = self._num_samples, self._rules.hop
        return num_samples // hop if self._mirrors_end else -(-num_samples // hop)

    @property
    def num_tail_frames(self) -> int:
        """Frames behind the last one whose window still reaches into the clip, where zeros follow it."""
        return 0 if self._mirrors_end else -(-self._half // self._rules.hop)

    @property
    def num_ready(self) -> int:
        """Frames, taken ones included, whose samples are all here."""
        return self._num_taken + max(0, (len(self._ready) - self._rules.n_fft) // self._rules.hop + 1)

    def push(self, samples: np.ndarray) -> None:
        assert samples.ndim == 1 and samples.dtype == np.float32, (samples.shape, samples.dtype)
        self._num_samples += len(samples)
        if self._is_open:
            self._ready = torch.cat([self._ready, torch.from_numpy(samples.copy())])
            return
        self._opening = np.concatenate([self._opening, samples])
        if len(self._opening) > self._half:
            self._open()

    def close(self) -> None:
        """What follows the last sample: its mirror, or zeros, as many as any frame asks for."""
        if not self._is_open:
            self._mirrors_end = False
            self._opening = np.pad(self._opening, (0, self._half + 1 - min(len(self._opening), self._half)))
            self._open()
        if self._mirrors_end:
            tail = self._ready[-self._half - 1 : -1].flip(0)
        else:
            tail = torch.zeros((self.num_tail_frames + 1) * self._rules.hop + self._rules.n_fft)
        self._ready = torch.cat([self._ready, tail])

    def take(self, num_frames: int) -> torch.Tensor:
        """The next frames `[num_mel_bins, num_frames]`, base-10 logarithms of power."""
        assert self._num_taken + num_frames <= self.num_ready, (self._num_taken, num_frames, self.num_ready)
        rules = self._rules
        samples = self._ready[: (num_frames - 1) * rules.hop + rules.n_fft]
        window, filters = _window(rules), _filters(rules)
        spectrum = torch.stft(samples, rules.n_fft, rules.hop, window=window, center=False, return_complex=True)
        power = (spectrum.abs() ** 2).contiguous()
        self._ready = self._ready[num_frames * rules.hop :]
        self._num_taken += num_frames
        return torch.clamp(filters @ power, min=_FLOOR).log10()

    def _open(self) -> None:
        """The first window is centred on the first sample: what it lacks is the mirror of what follows."""
        opening = torch.from_numpy(self._opening)
        self._ready = torch.cat([opening[1 : self._half + 1].flip(0), opening])
        self._is_open = True


def _scale(decades: torch.Tensor, loudest: torch.Tensor) -> torch.Tensor:
    return (torch.maximum(decades, loudest - _RANGE) + 4.0) / 4.0


@lru_cache
def _window(rules: MelRules) -> torch.Tensor:
    return torch.hann_window(rules.n_fft)


@lru_cache
def _filters(rules: MelRules) -> torch.Tensor:
    """Slaney's triangles `[num_mel_bins, n_fft / 2 + 1]`."""
    filters = mel_filter_bank(
        num_frequency_bins=1 + rules.n_fft // 2,
        num_mel_filters=rules.num_mel_bins,
        min_frequency=0.0,
        max_frequency=_MAX_FREQUENCY,
        sampling_rate=rules.sample_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters).to(torch.float32).T
