"""Replies with words exchanged for others of their kind, as one gives them who took one thing for another."""

import random
import re
from collections.abc import Iterator, Sequence

from training.domain.words import (
    ANIMALS,
    COLOURS,
    DAYS,
    FOODS,
    LETTERS,
    MONTHS,
    NAMES,
    NATURE,
    ONES,
    OPPOSITES,
    SHAPES,
    TENS,
    THINGS,
)
from training.evaluate.recognizer import missing_words, sound_alike, sound_distance, word_errors

DIGITS = tuple(ONES[1:10])
KINDS = (
    (*ONES, *TENS),
    COLOURS,
    SHAPES,
    DAYS,
    MONTHS,
    NAMES,
    (*ANIMALS, *FOODS, *THINGS, *NATURE),
    tuple(word for pair in OPPOSITES for word in pair),
    ("yes", "no"),
    ("before", "after"),
    ("bigger", "smaller"),
    ("first", "second", "third", "last"),
)
_WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
# Of one letter, and no letters where another word follows.
_SHORT = ("A", "I")


def near_misses(generator: random.Random, reply: str, replies: Sequence[str]) -> list[str]:
    """The reply with the one word exchanged that sounds most like another of its kind (none where it has no such word),
    and the other one of `replies` with the fewest words that differ. All are heard as others by a perfect ear."""
    changed = [(sound_distance(word, other), text) for word, other, text in one_word_changed(reply)]
    errors = [(word_errors(reply, text)[0], generator.random(), text) for text in replies]
    nearest = min((one for one in errors if one[0] > 0), default=None)
    least = min((distance for distance, _ in changed), default=0.0)
    sounding = [text for distance, text in changed if distance == least]
    found = [generator.choice(sounding)] if sounding else []
    return list(dict.fromkeys([*found, *([nearest[-1]] if nearest else [])]))


def otherwise(generator: random.Random, reply: str) -> str:
    """The same sentence about other things: every word of a known kind gives way to any other of its kind."""
    parts, last = [], 0
    places = list(_WORD.finditer(reply))
    for index, place in enumerate(places):
        others = _others_at(reply, places, index)
        word = _written_like(place.group(), generator.choice(others)) if others else place.group()
        parts += [reply[last : place.start()], word]
        last = place.end()
    return "".join([*parts, reply[last:]])


def one_word_changed(reply: str) -> Iterator[tuple[str, str, str]]:
    """Each word of a known kind with each other of that kind, and the reply that has the other in its place."""
    places = list(_WORD.finditer(reply))
    for index, place in enumerate(places):
        word = place.group()
        for other in _others_at(reply, places, index):
            if not sound_alike(word.lower(), other):
                yield word.lower(), other, reply[: place.start()] + _written_like(word, other) + reply[place.end() :]


def _others_at(reply: str, places: Sequence[re.Match[str]], index: int) -> list[str]:
    """What may stand in that place, as far as it can be heard."""
    place = places[index]
    before = _joined_to(reply, places[index - 1], place) if index else ""
    after = _joined_to(reply, places[index + 1], place) if index + 1 < len(places) else ""
    return [other for other in _others(place.group(), before, after) if not missing_words([other])]


def _written_like(word: str, other: str) -> str:
    return other.capitalize() if word[0].isupper() else other


def _joined_to(reply: str, neighbour: re.Match[str], place: re.Match[str]) -> str:
    """The neighbour, "" when a mark stands between."""
    first, second = sorted((neighbour, place), key=lambda match: match.start())
    return neighbour.group().lower() if reply[first.end() : second.start()] == " " else ""


def _others(word: str, before: str, after: str) -> list[str]:
    """What may stand in the place of `word`; "twenty nine" becomes "thirty nine" and not "eleven nine"."""
    lower = word.lower()
    if lower in TENS and after in DIGITS:
        kinds: Sequence[Sequence[str]] = (TENS,)
    elif lower in DIGITS and before in TENS:
        kinds = (DIGITS,)
    elif len(word) == 1 and word.isupper() and (word not in _SHORT or not after):
        kinds = (LETTERS,)
    else:
        kinds = KINDS
    return sorted({other for kind in kinds if lower in kind for other in kind} - {lower})
