"""The independent judge of speech: pocketsphinx with its own English model; knows nothing of ours."""

import functools
import math
import operator
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pocketsphinx
from scipy.signal import resample_poly

SAMPLE_RATE = 16_000
PEAK = 0.7
# Silence around the words and the noise in it. A judge of habits has longer and fainter ones, with which it errs less
# often on recordings of replies that were trained; the others keep theirs, so that their figures stay comparable.
PADDING_S, NOISE = 0.25, 1e-3
HABITS_PADDING_S, HABITS_NOISE = 0.5, 1e-4
# Share of the end of the sentence in the loop, relative to all words together.
END_SHARE = 0.3
# A judge of habits knows words by the two before them. What a run of words that was seen gives up for those that were
# not, and how much of what is known of single words is that any may come.
LONGEST = 3
DISCOUNT = 0.5
ANY_SHARE = 0.5
START, END = "<s>", "</s>"
# Between words that are one entry of the dictionary.
JOIN = "_"


def missing_words(words: Iterable[str]) -> list[str]:
    """Those that the judge cannot hear: they have no entry in its dictionary."""
    known = _pronunciations()
    return sorted({word for word in words if word not in known})


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation, as the judge writes them."""
    return re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())


class Recognizer:
    """Hears either any order of the given words, all equally likely, or general English (`words` is None).

    With `sentences`, a word is as likely after the two before it as it is there: a judge that knows how one talks, yet
    not what is right. Any other order stays possible.

    Building takes 0.1 s with a few hundred words, 1 s without; one utterance about a twentieth of its length.
    Raises ValueError naming the words for which the judge has no pronunciation.
    """

    def __init__(self, words: Iterable[str] | None = None, sentences: Iterable[str] | None = None) -> None:
        self._padding_s, self._noise = (PADDING_S, NOISE) if sentences is None else (HABITS_PADDING_S, HABITS_NOISE)
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
            if sentences is None:
                dictionary.write_text("".join(line for word in vocabulary for line in pronunciations[word]))
                model.write_text(_loop(vocabulary))
            else:
                known = set(vocabulary)
                spoken = [_joined(text) for text in sentences if known.issuperset(words_of(text))]
                tokens = sorted(known.union(*spoken))
                dictionary.write_text("".join(line for token in tokens for line in _entries(token)))
                model.write_text(_habits(spoken, tokens))
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
        sound = np.pad(sound, int(self._padding_s * SAMPLE_RATE))
        sound = sound + np.random.default_rng(0).normal(0.0, self._noise, len(sound))
        samples = (sound * 32767).clip(-32768, 32767).astype(np.int16)
        # What the decoder adapts to must not carry over: one utterance's verdict depends on nothing before it.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(samples.tobytes(), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr.replace(JOIN, " ") if hypothesis is not None else ""


def word_errors(reference: str, heard: str) -> tuple[int, int]:
    """Insertions, deletions and substitutions, and how many words the reference has.

    Words that can sound alike ("c", "see") are the same word here: no ear tells them apart.
    """
    expected = words_of(reference)
    return _edits(expected, words_of(heard), sound_alike), len(expected)


def sound_alike(word: str, other: str) -> bool:
    return word == other or not _sounds(word).isdisjoint(_sounds(other))


def sound_distance(word: str, other: str) -> float:
    """Phones that differ as a share of the longer word's, as the two are said most alike. Both have a pronunciation."""
    return min(
        _edits(first.split(), second.split()) / max(len(first.split()), len(second.split()))
        for first, second in product(_sounds(word), _sounds(other))
    )


def word_accuracy(pairs: Iterable[tuple[str, str]]) -> float:
    """1 - errors / words over (reference, heard); 0 at the least."""
    counts = [word_errors(reference, heard) for reference, heard in pairs]
    return max(0.0, 1 - sum(errors for errors, _ in counts) / max(1, sum(words for _, words in counts)))


def _edits(expected: Sequence[str], found: Sequence[str], is_same: Callable[[str, str], bool] = operator.eq) -> int:
    costs = list(range(len(found) + 1))
    for row, item in enumerate(expected, 1):
        before, costs = costs, [row]
        for column, other in enumerate(found, 1):
            costs.append(min(before[column] + 1, costs[-1] + 1, before[column - 1] + (not is_same(item, other))))
    return costs[-1]


@functools.cache
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


def _habits(sentences: Iterable[list[str]], vocabulary: list[str]) -> str:
    """An ARPA model of the words in `sentences`, each by the two before it: absolute discounting, interpolated with the
    pairs, those with single words, and those with any word at any place, so that nothing is impossible."""
    counts: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(LONGEST)]
    for sentence in sentences:
        words = [START, *sentence, END]
        counts[0].update((word,) for word in words[1:])
        for length in range(2, LONGEST + 1):
            counts[length - 1].update(zip(*(words[place:] for place in range(length))))
    total = max(1, counts[0].total())
    any_word = ANY_SHARE / (len(vocabulary) + 1)
    chances = {(word,): any_word + (1 - ANY_SHARE) * counts[0][(word,)] / total for word in (*vocabulary, END)}
    rest: dict[tuple[str, ...], float] = {}
    levels = [[(START,), *sorted(chances)]]
    for grams in counts[1:]:
        seen, followers = Counter(), Counter(gram[:-1] for gram in grams)
        for gram, number in grams.items():
            seen[gram[:-1]] += number
        rest |= {before: DISCOUNT * followers[before] / number for before, number in seen.items()}
        for gram, number in grams.items():
            chances[gram] = (number - DISCOUNT) / seen[gram[:-1]] + rest[gram[:-1]] * chances[gram[1:]]
        levels.append(sorted(grams))
    rows = ["\\data\\", *(f"ngram {length}={len(grams)}" for length, grams in enumerate(levels, 1))]
    for length, grams in enumerate(levels, 1):
        rows += ["", f"\\{length}-grams:"]
        for gram in grams:
            chance = -99 if gram == (START,) else math.log10(chances[gram])
            left_over = f" {math.log10(rest[gram]):.4f}" if gram in rest else ""
            rows.append(f"{chance:.4f} {' '.join(gram)}{left_over}")
    return "\n".join([*rows, "", "\\end\\", ""])


def _joined(text: str) -> list[str]:
    """Its words, each of a single sound ("I", "a") together with the next, or the one before, of the same clause: alone
    the judge mistakes them ("sorry, I do" for "sorry buy do"). "I am six." -> `["i_am", "six"]`."""
    found = []
    for clause in re.split(r"[^a-z' ]+", text.lower()):
        words = words_of(clause)
        place = 0
        while place < len(words):
            length = 2 if _is_one_sound(words[place]) and place + 1 < len(words) else 1
            found.append(JOIN.join(words[place : place + length]))
            place += length
        if len(words) > 1 and _is_one_sound(found[-1]):
            found[-2:] = [JOIN.join(found[-2:])]
    return found


def _is_one_sound(word: str) -> bool:
    return any(len(sound.split()) == 1 for sound in _sounds(word))


def _entries(token: str) -> Iterator[str]:
    """Lines of a dictionary: every way to say the words of `token` one right after the other."""
    for number, sounds in enumerate(product(*(sorted(_sounds(word)) for word in token.split(JOIN))), 1):
        yield f"{token}{f'({number})' if number > 1 else ''} {' '.join(sounds)}\n"
