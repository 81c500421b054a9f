"""The independent judge of speech: pocketsphinx with its own English model; knows nothing of ours."""

import functools
import math
import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pocketsphinx
from scipy.signal import resample_poly

SAMPLE_RATE = 16_000
PADDING_S = 0.25
PEAK = 0.7
NOISE = 1e-3
# Share of the end of the sentence in the loop, relative to all words together.
END_SHARE = 0.3
# What a pair of words that was seen gives up for those that were not.
DISCOUNT = 0.5


def missing_words(words: Iterable[str]) -> list[str]:
    """Those that the judge cannot hear: they have no entry in its dictionary."""
    return sorted(set(words) - _pronunciations().keys())


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation, as the judge writes them."""
    return re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())


class Recognizer:
    """Hears either any order of the given words, all equally likely, or general English (`words` is None).

    With `sentences`, pairs of words are as likely as there: a judge that knows how one talks, yet not what is right.

    Building takes 0.1 s with a few hundred words, 1 s without; one utterance about a twentieth of its length.
    Raises ValueError naming the words for which the judge has no pronunciation.
    """

    def __init__(self, words: Iterable[str] | None = None, sentences: Iterable[str] | None = None) -> None:
        options = {
            "hmm": pocketsphinx.get_model_path("en-us/en-us"),
            "samprate": SAMPLE_RATE,
            "loglevel": "FATAL",
        }
        if words is None:
            self._decoder = pocketsphinx.Decoder(
                lm=pocketsphinx.get_model_path("en-us/en-us.lm.bin"),
                dict=pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"),
                **options,
            )
            return
        vocabulary = sorted(set(words))
        pronunciations = _pronunciations()
        if missing := missing_words(vocabulary):
            raise ValueError(f"the recognizer has no pronunciation for {', '.join(missing)}")
        with tempfile.TemporaryDirectory() as folder:
            dictionary, model = Path(folder) / "words.dict", Path(folder) / "loop.lm"
            dictionary.write_text("".join(line for word in vocabulary for line in pronunciations[word]))
            model.write_text(_loop(vocabulary) if sentences is None else _pairs(vocabulary, sentences))
            self._decoder = pocketsphinx.Decoder(lm=str(model), dict=str(dictionary), **options)

    def recognize(self, wave: np.ndarray, sample_rate: int) -> str:
        """`wave`: mono float in [-1, 1] or int16, any loudness, `[num_samples]`. The words heard, "" for none."""
        sound = np.asarray(wave, dtype=np.float64).reshape(-1)
        if not len(sound):
            return ""
        sound = sound * (PEAK / (np.abs(sound).max() + 1e-9))
        if sample_rate != SAMPLE_RATE:
            shared = math.gcd(sample_rate, SAMPLE_RATE)
            sound = resample_poly(sound, SAMPLE_RATE // shared, sample_rate // shared)
        # It misses words that touch the edges, and digital silence upsets its noise tracking.
        sound = np.pad(sound, int(PADDING_S * SAMPLE_RATE))
        sound = sound + np.random.default_rng(0).normal(0.0, NOISE, len(sound))
        samples = (sound * 32767).clip(-32768, 32767).astype(np.int16)
        # What the decoder adapts to must not carry over: one utterance's verdict depends on nothing before it.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(samples.tobytes(), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis is not None else ""


def word_errors(reference: str, heard: str) -> tuple[int, int]:
    """Insertions, deletions and substitutions, and how many words the reference has.

    Words that can sound alike ("c", "see") are the same word here: no ear tells them apart.
    """
    expected, found = words_of(reference), words_of(heard)
    costs = list(range(len(found) + 1))
    for row, word in enumerate(expected, 1):
        before, costs = costs, [row]
        for column, other in enumerate(found, 1):
            costs.append(min(before[column] + 1, costs[-1] + 1, before[column - 1] + (not sound_alike(word, other))))
    return costs[-1], len(expected)


def sound_alike(word: str, other: str) -> bool:
    return word == other or not _sounds(word).isdisjoint(_sounds(other))


def word_accuracy(pairs: Iterable[tuple[str, str]]) -> float:
    """1 - errors / words over (reference, heard); 0 at the least."""
    counts = [word_errors(reference, heard) for reference, heard in pairs]
    return max(0.0, 1 - sum(errors for errors, _ in counts) / max(1, sum(words for _, words in counts)))


def _sounds(word: str) -> frozenset[str]:
    return frozenset(line.split(" ", 1)[1].strip() for line in _pronunciations().get(word, ()))


@functools.cache
def _pronunciations() -> dict[str, list[str]]:
    """Word -> its lines of the dictionary, variants ("read(2)") among them."""
    lines: dict[str, list[str]] = {}
    path = pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")
    for line in Path(path).read_text(encoding="utf-8").splitlines(keepends=True):
        lines.setdefault(re.sub(r"\(\d+\)$", "", line.split(" ", 1)[0]), []).append(line)
    return lines


def _loop(vocabulary: list[str]) -> str:
    """An ARPA model in which any word follows any other with the same probability."""
    total = len(vocabulary) * (1 + END_SHARE)
    rows = ["-99 <s>", f"{math.log10(END_SHARE / (1 + END_SHARE)):.4f} </s>"]
    rows += [f"{-math.log10(total):.4f} {word}" for word in vocabulary]
    return "\n".join(["\\data\\", f"ngram 1={len(rows)}", "", "\\1-grams:", *rows, "", "\\end\\", ""])


def _pairs(vocabulary: list[str], sentences: Iterable[str]) -> str:
    """An ARPA model of the pairs of words in `sentences`, interpolated with any word after any other."""
    known = set(vocabulary)
    pairs: Counter[tuple[str, str]] = Counter()
    for sentence in sentences:
        words = ["<s>", *(word for word in words_of(sentence) if word in known), "</s>"]
        pairs.update(zip(words, words[1:]))
    followers, counts = Counter(first for first, _ in pairs), Counter()
    for (first, _), number in pairs.items():
        counts[first] += number
    any_word = 1 / (len(vocabulary) + 1)
    rest = {word: DISCOUNT * followers[word] / counts[word] if counts[word] else 1.0 for word in ["<s>", *vocabulary]}
    singles = [f"-99 <s> {math.log10(rest['<s>']):.4f}", f"{math.log10(any_word):.4f} </s>"]
    singles += [f"{math.log10(any_word):.4f} {word} {math.log10(rest[word]):.4f}" for word in vocabulary]
    doubles = [
        f"{math.log10((number - DISCOUNT) / counts[first] + rest[first] * any_word):.4f} {first} {second}"
        for (first, second), number in sorted(pairs.items())
    ]
    head = ["\\data\\", f"ngram 1={len(singles)}", f"ngram 2={len(doubles)}"]
    return "\n".join([*head, "", "\\1-grams:", *singles, "", "\\2-grams:", *doubles, "", "\\end\\", ""])
