"""Who replies: the names on the page, their Flite voices, and one sentence as clean 24 kHz sound."""

import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

# Female, male, male with a Scottish accent.
VOICES = (("Stella", "slt"), ("Ross", "rms"), ("Angus", "awb"))
SAMPLE_RATE = 24_000
# One code of the codec, two mel frames.
SAMPLES_PER_CODE = 480
LOUDNESS = 0.08
SILENCE = 0.01
BEFORE_S, AFTER_S, FADE_S = 0.03, 0.06, 0.01


# A phone and the sample at which it ends.
Phone = tuple[str, int]


def speak(text: str, voice: int) -> np.ndarray:
    """Samples [num_samples] int16 at 24 kHz, a multiple of 480: silence trimmed, one loudness for all."""
    return recite(text, voice)[0]


def recite(text: str, voice: int) -> tuple[np.ndarray, list[Phone]]:
    """The same with the synthesizer's phones, "pau" for silence."""
    samples, phones = _run(text, VOICES[voice][1])
    samples = resample_poly(samples, 3, 2)
    first, last = _span(samples)
    ends = [(name, min(max(0, round(end_s * SAMPLE_RATE) - first), last - first)) for name, end_s in phones]
    # What was trimmed away is no phone.
    ends = [(name, end) for (name, end), before in zip(ends, [0, *(end for _, end in ends)]) if end > before]
    return finish(samples), ends


def flite(text: str, voice: str) -> np.ndarray:
    """Flite's own 16 kHz as float [num_samples] in [-1, 1]."""
    return _run(text, voice)[0]


def _run(text: str, voice: str) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """Flite's sound and its phones with the seconds at which they end."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = ["flite", "-voice", voice, "-psdur", "-t", text, "-o", file.name]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        phones = [(name, float(end_s)) for name, _, end_s in (word.partition(":") for word in printed.split())]
        return read_wave(Path(file.name)), phones


def read_wave(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2), file.getparams()
        return np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16).astype(np.float32) / 32768


def finish(samples: np.ndarray) -> np.ndarray:
    first, last = _span(samples)
    samples = samples[first:last].copy()
    fade = np.linspace(0, 1, int(FADE_S * SAMPLE_RATE), dtype=samples.dtype)
    samples[: len(fade)] *= fade
    samples[-len(fade) :] *= fade[::-1]
    samples *= LOUDNESS / np.sqrt(np.mean(samples**2))
    samples = np.pad(samples, (0, -len(samples) % SAMPLES_PER_CODE))
    return (samples.clip(-0.99, 0.99) * 32767).astype(np.int16)


def _span(samples: np.ndarray) -> tuple[int, int]:
    """Where speech begins and ends, with a breath of silence around it."""
    loud = np.flatnonzero(np.abs(samples) > SILENCE)
    assert len(loud), "the synthesizer was silent"
    first, last = int(loud[0]), int(loud[-1])
    return max(0, first - int(BEFORE_S * SAMPLE_RATE)), min(len(samples), last + int(AFTER_S * SAMPLE_RATE))
