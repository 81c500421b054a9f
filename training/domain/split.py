"""Which compositions are held out; a rule that a reader can check, no list."""

import hashlib
from typing import Literal

Split = Literal["train", "test"]

HELD_OUT_SHARE = 0.1


def is_held_out(key: str) -> bool:
    """About one key in ten is never trained.

    Keys are compositions: `add 4 23` (the smaller first), `subtract 23 4`, `compare 4 23`, `count 3 9`, the words to
    repeat, `my name is anna`, a typed pseudo-word, a question that has no answer, what a picture shows (`red circle
    left top`, `blue star, red circle`, `number 73`), what happens in a clip (`red circle move left`). Facts, opposites,
    days and months, the times table, the spelling of known words, sheets of one colour and single digits cannot be
    composed: they have no key, and what a test asks of them is new in its voice, its typed form, its ground or its font
    alone.
    """
    return int(hashlib.md5(key.encode()).hexdigest(), 16) % round(1 / HELD_OUT_SHARE) == 0


def belongs(key: str | None, split: Split) -> bool:
    return key is None or is_held_out(key) == (split == "test")
