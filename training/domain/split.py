"""Which compositions are held out; a rule that a reader can check, no list."""

import hashlib
from typing import Literal

Split = Literal["train", "test"]

HELD_OUT_SHARE = 0.1


def is_held_out(key: str) -> bool:
    """About one key in ten is never trained.

    Keys are compositions: `add 4 23` (the smaller first), `subtract 23 4`, `compare 4 23`, `count 3 9`, the words to
    repeat, `my name is anna`, a typed pseudo-word, a question that has no answer, what a picture shows (`red circle
    left top`, `3 red circle left top`, `blue star, red circle`, `number 73`), what happens in a clip (`red circle left
    top move right`). Facts, opposites, days and months, the times table, the spelling of known words, sheets of one
    colour, single digits and the numbers up to nineteen cannot be composed: they have no key, and what a test asks of
    them is new in its voice, its typed form, its ground or its font alone.

    A key never is one thing with one answer: a model that has seen red circles by two and by four but never by three
    learns that there are not three of them, and says so when it sees them.
    """
    return int(hashlib.md5(key.encode()).hexdigest(), 16) % round(1 / HELD_OUT_SHARE) == 0


def belongs(key: str | None, split: Split) -> bool:
    return key is None or is_held_out(key) == (split == "test")
