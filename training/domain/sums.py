"""Skills with numbers: adding, subtracting, the times table, comparing, counting."""

import random

from training.domain.draft import Draft
from training.domain.split import Split
from training.domain.words import number_words, sentence

MAX_TERM = 99
# Small sums are asked more often than their share of all pairs.
EASY_SHARE, EASY_MAX = 0.25, 20
MAX_FACTOR = 10


def _term(generator: random.Random, easy: bool) -> int:
    return generator.randint(0, EASY_MAX if easy else MAX_TERM)


def add(generator: random.Random, split: Split, spoken: bool) -> Draft:
    easy = generator.random() < EASY_SHARE
    a, b = _term(generator, easy), _term(generator, easy)
    x, y = number_words(a), number_words(b)
    user = generator.choice(
        (
            f"what is {x} plus {y}",
            f"what is {x} plus {y}",
            f"what's {x} plus {y}",
            f"{x} plus {y}",
            f"how much is {x} plus {y}",
            f"what is {x} and {y}",
            f"add {x} and {y}",
            f"what does {x} plus {y} make",
            f"calculate {x} plus {y}",
        )
    )
    reply = sentence(f"{x} plus {y} is {number_words(a + b)}")
    return Draft(f"add {min(a, b)} {max(a, b)}", user, reply)


def subtract(generator: random.Random, split: Split, spoken: bool) -> Draft:
    easy = generator.random() < EASY_SHARE
    b, a = sorted((_term(generator, easy), _term(generator, easy)))
    x, y = number_words(a), number_words(b)
    user = generator.choice(
        (
            f"what is {x} minus {y}",
            f"what is {x} minus {y}",
            f"what's {x} minus {y}",
            f"{x} minus {y}",
            f"how much is {x} minus {y}",
            f"what is {x} take away {y}",
            f"subtract {y} from {x}",
            f"take {y} from {x}",
            f"calculate {x} minus {y}",
        )
    )
    return Draft(f"subtract {a} {b}", user, sentence(f"{x} minus {y} is {number_words(a - b)}"))


def multiply(generator: random.Random, split: Split, spoken: bool) -> Draft:
    """The times table is learnt by heart, so nothing of it is held out."""
    a, b = generator.randint(0, MAX_FACTOR), generator.randint(0, MAX_FACTOR)
    x, y = number_words(a), number_words(b)
    user = generator.choice(
        (
            f"what is {x} times {y}",
            f"what is {x} times {y}",
            f"what's {x} times {y}",
            f"{x} times {y}",
            f"how much is {x} times {y}",
            f"multiply {x} by {y}",
            f"calculate {x} times {y}",
        )
    )
    return Draft(None, user, sentence(f"{x} times {y} is {number_words(a * b)}"))


def compare(generator: random.Random, split: Split, spoken: bool) -> Draft:
    a, b = generator.sample(range(MAX_TERM + 1), 2)
    x, y = number_words(a), number_words(b)
    key = f"compare {min(a, b)} {max(a, b)}"
    more = generator.random() < 0.6
    word = "bigger" if more else "smaller"
    if generator.random() < 0.3:
        right = (a > b) == more
        told = word if right else ("smaller" if more else "bigger")
        user = generator.choice((f"is {x} {word} than {y}", f"is {x} {_other(word)} than {y}"))
        return Draft(key, user, f"{'Yes' if right else 'No'}, {x} is {told} than {y}.")
    asked = generator.choice((word, word, _other(word)))
    user = generator.choice(
        (
            f"which is {asked} {x} or {y}",
            f"which is {asked} {x} or {y}",
            f"what is {asked} {x} or {y}",
            f"which number is {asked} {x} or {y}",
            f"which one is {asked} {x} or {y}",
        )
    )
    if (a > b) != more:
        x, y = y, x
    return Draft(key, user, sentence(f"{x} is {word} than {y}"))


def _other(word: str) -> str:
    return {"bigger": "larger", "smaller": "less"}[word]


def count(generator: random.Random, split: Split, spoken: bool) -> Draft:
    """At most nine numbers, up or down."""
    if generator.random() < 0.25:
        first, last = 1, generator.randint(2, 10)
        user = generator.choice((f"count to {number_words(last)}", f"count up to {number_words(last)}"))
        key = None
    else:
        first = generator.randint(0, 30 if generator.random() < 0.75 else 90)
        last = first + generator.randint(1, 8)
        key = f"count {first} {last}"
        if generator.random() < 0.25:
            first, last = last, first
            key = f"count {first} {last}"
            down = generator.choice(("count down", "count backwards", "count"))
            user = f"{down} from {number_words(first)} to {number_words(last)}"
        else:
            user = f"count from {number_words(first)} to {number_words(last)}"
    step = 1 if last > first else -1
    numbers = ", ".join(number_words(number) for number in range(first, last + step, step))
    return Draft(key, user, sentence(numbers))
