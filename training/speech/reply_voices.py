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


def speak(text: str, voice: int) -> np.ndarray:
    """Samples [num_samples] int16 at 24 kHz, a multiple of 480: silence trimmed, one loudness for all."""
    return finish(resample_poly(flite(text, VOICES[voice][1]), 3, 2))


def flite(text: str, voice: str) -> np.ndarray:
    """Flite's own 16 kHz as float [num_samples] in [-1, 1]."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", file.name], check=True, capture_output=True)
        return read_wave(Path(file.name))


def read_wave(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2), file.getparams()
        return np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16).astype(np.float32) / 32768


def finish(samples: np.ndarray) -> np.ndarray:
    loud = np.flatnonzero(np.abs(samples) > SILENCE)
    assert len(loud), "the synthesizer was silent"
    first = max(0, loud[0] - int(BEFORE_S * SAMPLE_RATE))
    samples = samples[first : loud[-1] + int(AFTER_S * SAMPLE_RATE)].copy()
    fade = np.linspace(0, 1, int(FADE_S * SAMPLE_RATE), dtype=samples.dtype)
    samples[: len(fade)] *= fade
    samples[-len(fade) :] *= fade[::-1]
    samples *= LOUDNESS / np.sqrt(np.mean(samples**2))
    samples = np.pad(samples, (0, -len(samples) % SAMPLES_PER_CODE))
    return (samples.clip(-0.99, 0.99) * 32767).astype(np.int16)
