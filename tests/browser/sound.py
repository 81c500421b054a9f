"""What a rendered tone must look like: no gap, no step; knows nothing of the page but `omniPlayer.recorded()`."""

import base64

import numpy as np
from playwright.sync_api import Page

RATE = 24_000
TONE_HZ = 300
AMPLITUDE = 0.5
SILENCE = 1e-4


def recording(page: Page) -> np.ndarray:
    """All that was rendered since `omniPlayer.record(true)`, at the rate of the page's audio context."""
    text = page.evaluate(
        """async () => {
            const bytes = new Uint8Array((await omniPlayer.recorded()).buffer);
            let text = '';
            for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
            return btoa(text);
        }"""
    )
    return np.frombuffer(base64.b64decode(text), dtype="<f4")


def sounding(wave: np.ndarray) -> np.ndarray:
    """The wave from its first to its last sample that is not silent."""
    (index,) = np.nonzero(np.abs(wave) > SILENCE)
    assert len(index), "nothing was rendered"
    return wave[index[0] : index[-1] + 1]


def without_pauses(wave: np.ndarray, least: int = 64) -> np.ndarray:
    """The wave without runs of digital silence: where the player ran dry it waited."""
    (places,) = np.nonzero(wave)
    gaps = np.diff(places, prepend=-1) - 1
    is_pause = np.zeros(len(wave), dtype=bool)
    for place, gap in zip(places, gaps):
        if gap >= least:
            is_pause[place - gap : place] = True
    return wave[~is_pause]


def assert_no_gap(wave: np.ndarray, rate: int = RATE) -> None:
    quiet = np.abs(wave) < 0.02 * AMPLITUDE
    runs = np.diff(np.flatnonzero(np.concatenate([[True], ~quiet, [True]]))) - 1
    assert runs.max() < 0.002 * rate, f"{runs.max()} near-silent samples in a row at {rate} Hz"


def assert_no_step(wave: np.ndarray, rate: int = RATE) -> None:
    slope = AMPLITUDE * 2 * np.pi * TONE_HZ / rate
    step = np.abs(np.diff(wave)).max()
    assert step < 2 * slope, f"a step of {step:.4f}; the tone's steepest is {slope:.4f}"
