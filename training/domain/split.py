"""Which compositions are held out; a rule that a reader can check, no list."""

import hashlib
from typing import Literal

Split = Literal["train", "test"]


def is_held_out(key: str) -> bool:
    """About one key in ten is never trained.

    Keys are compositions: `add 4 23` (the smaller first), `subtract 23 4`, `compare 4 23`, `count 3 9`, the words to
    repeat, `my name is anna`, a typed pseudo-word, a question that has no answer. Facts, opposites, days and months,
    the times table and the spelling of known words cannot be composed: they have no key, and what a test asks of them
    is new in its voice and its typed form alone.
    """
    return int(hashlib.md5(key.encode()).hexdigest(), 16) % 10 == 0


def belongs(key: str | None, split: Split) -> bool:
    return key is None or is_held_out(key) == (split == "test")
