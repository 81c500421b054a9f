"""How well the reply voices are understood, and whether each sounds like its original; knows no question's answer."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from tqdm import tqdm

from app.types.turn import Part, TurnSettings
from training.evaluate.recognizer import Recognizer, word_errors
from training.evaluate.subject import Answer, Subject
from training.speech.mel import LogMel
from training.speech.reply_voices import SAMPLE_RATE, VOICES, speak

NUM_RESAMPLES = 400


@dataclass(frozen=True, eq=False)
class Original:
    """A text read by the synthesizer that a voice imitates. `parts`: the question to which it is the reply."""

    voice: int
    text: str
    parts: tuple[Part, ...]
    heard: str
    mean_mel: np.ndarray

    @cached_property
    def errors(self) -> int:
        return word_errors(self.text, self.heard)[0]

    @cached_property
    def num_words(self) -> int:
        return word_errors(self.text, "")[1]


@dataclass(frozen=True, eq=False)
class Reading:
    """The same text read by the checkpoint. `mean_mel`: `[80]`."""

    original: Original
    heard: str
    answer: Answer
    mean_mel: np.ndarray

    @cached_property
    def errors(self) -> int:
        return word_errors(self.original.text, self.heard)[0]


def record(texts: Sequence[tuple[str, tuple[Part, ...]]], judge: Recognizer) -> list[Original]:
    """Every text, a reply to the parts beside it, by every voice's own synthesizer."""
    originals = []
    for text, parts in texts:
        for voice in range(len(VOICES)):
            wave = speak(text, voice).astype(np.float32) / 32767
            originals.append(Original(voice, text, parts, judge.recognize(wave, SAMPLE_RATE), mean_mel(wave)))
    return originals


def read(
    subject: Subject,
    originals: Sequence[Original],
    judge: Recognizer,
    title: str = "reading",
    settings: TurnSettings | None = None,
) -> list[Reading]:
    """The same texts, given to the checkpoint as its replies."""
    readings = []
    for original in tqdm(originals, desc=title, mininterval=5):
        answer = subject.read_aloud(original.text, VOICES[original.voice][0], settings, original.parts)
        heard = judge.recognize(answer.wave, answer.sample_rate)
        readings.append(Reading(original, heard, answer, mean_mel(answer.wave)))
    return readings


@torch.no_grad()
def mean_mel(wave: np.ndarray) -> np.ndarray:
    """Mean ln-mel `[80]` of the frames that are not silence; a wave too short for a frame has a mean of 0."""
    if len(wave) < 2048:
        return np.zeros(80, np.float32)
    mel = LogMel()(torch.from_numpy(np.ascontiguousarray(wave, np.float32))[None])[0]
    loudness = mel.mean(0)
    return mel[:, loudness > loudness.max() - 4].mean(1).numpy()


def accuracy(readings: Sequence[Reading]) -> float:
    """Share of words that the judge understood."""
    return max(0.0, 1 - sum(one.errors for one in readings) / max(1, sum(one.original.num_words for one in readings)))


def ceiling(readings: Sequence[Reading]) -> float:
    originals = [one.original for one in readings]
    return max(0.0, 1 - sum(one.errors for one in originals) / max(1, sum(one.num_words for one in originals)))


def share_of_ceiling(readings: Sequence[Reading]) -> tuple[float, float]:
    """Accuracy as a share of the original's, and its standard error by resampling the texts."""
    draws = random.Random(0)
    shares = [
        accuracy(sample) / max(0.01, ceiling(sample))
        for sample in (draws.choices(readings, k=len(readings)) for _ in range(NUM_RESAMPLES))
    ]
    return accuracy(readings) / max(0.01, ceiling(readings)), float(np.std(shares))


def by_voice(readings: Sequence[Reading]) -> Iterator[tuple[str, list[Reading]]]:
    for voice, (name, _) in enumerate(VOICES):
        if own := [one for one in readings if one.original.voice == voice]:
            yield name, own


def identified(readings: Sequence[Reading]) -> list[bool]:
    """Whether the original speaker with the nearest mean spectrum is the chosen one, reading by reading.

    The level is taken out, and every band counts in units of how much it varies between readings.
    """
    originals = np.stack([one.original.mean_mel - one.original.mean_mel.mean() for one in readings])
    scale = originals.std(0) + 1e-3
    of_voice = np.array([one.original.voice for one in readings])
    means = {voice: originals[of_voice == voice].mean(0) for voice in sorted(set(of_voice))}
    verdicts = []
    for one in readings:
        shape = one.mean_mel - one.mean_mel.mean()
        distances = {voice: float((((shape - mean) / scale) ** 2).sum()) for voice, mean in means.items()}
        verdicts.append(min(distances, key=distances.__getitem__) == one.original.voice)
    return verdicts
