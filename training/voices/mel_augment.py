"""Cheap changes of a log-mel clip while training goes on: tempo, vocal tract, level, noise, masks; knows no wave."""

from random import Random

import numpy as np
import torch

# Log-mel values are (decades of power + 4) / 4: ten decibels are one decade.
PER_DB = 0.1 / 4
MAX_LEAD_FRAMES = 40


def augment_mel(random: Random, mel: torch.Tensor) -> torch.Tensor:
    """`mel` [frames, bins] float32 to [other frames, bins]; a new tensor."""
    mel = warp(random, mel)
    if random.random() < 0.3:
        mel = add_noise(random, mel)
    mel = mel + random.uniform(-10.0, 10.0) * PER_DB
    if random.random() < 0.5:
        lead = random.randint(1, MAX_LEAD_FRAMES)
        mel = torch.cat([mel[:1].expand(lead, -1), mel])
    return mask(random, mel)


def warp(random: Random, mel: torch.Tensor) -> torch.Tensor:
    """Uneven tempo along time; a shift (up to three bins) and a stretch (up to 4 %) along frequency."""
    num_frames, num_bins = mel.shape
    num_knots = 2 + num_frames // 40
    tempo = random.uniform(0.87, 1.15)
    rates = tempo * np.array([random.uniform(0.85, 1.18) for _ in range(num_knots)])
    length = max(8, round(num_frames / rates.mean()))
    steps = np.interp(np.linspace(0, num_knots - 1, length), np.arange(num_knots), rates)
    times = np.cumsum(steps) - steps[0]
    times = times * ((num_frames - 1) / max(times[-1], 1e-6))
    middle = num_bins / 2
    stretch = 1 + random.uniform(-0.04, 0.04)
    bins = (np.arange(num_bins) - middle) * stretch + middle + random.uniform(-3.0, 3.0)
    rows = _between(mel, times, 0)
    return _between(rows, bins, 1)


def _between(mel: torch.Tensor, places: np.ndarray, axis: int) -> torch.Tensor:
    """Values at fractional places along an axis, the edge values beyond it."""
    last = mel.shape[axis] - 1
    places = places.clip(0, last)
    low = np.minimum(places.astype(np.int64), max(0, last - 1))
    share = torch.from_numpy((places - low).astype(np.float32))
    below = mel.index_select(axis, torch.from_numpy(low))
    above = mel.index_select(axis, torch.from_numpy(np.minimum(low + 1, last)))
    return torch.lerp(below, above, share[:, None] if axis == 0 else share[None])


def add_noise(random: Random, mel: torch.Tensor) -> torch.Tensor:
    """Steady noise of a random slope, 5 to 40 dB below the loudest, trembling as noise does."""
    num_bins = mel.shape[1]
    floor = float(mel.max()) - random.uniform(10.0, 45.0) * PER_DB
    profile = floor + torch.linspace(0.0, random.uniform(-30.0, 10.0) * PER_DB, num_bins)
    generator = torch.Generator().manual_seed(random.getrandbits(62))
    trembling = torch.randn(mel.shape, generator=generator) * (2.0 * PER_DB)
    return torch.maximum(mel, profile + trembling)


def mask(random: Random, mel: torch.Tensor) -> torch.Tensor:
    """Up to two gaps in time (at most 0.1 s) and two in frequency, at the clip's lowest value. Changes `mel`."""
    lowest = mel.min()
    num_frames, num_bins = mel.shape
    for _ in range(random.randint(0, 2)):
        width = random.randint(1, 10)
        start = random.randint(0, max(0, num_frames - width))
        mel[start : start + width] = lowest
    for _ in range(random.randint(0, 2)):
        width = random.randint(1, 10)
        start = random.randint(0, num_bins - width)
        mel[:, start : start + width] = lowest
    return mel
