"""Skills learnt by heart: opposites, neighbours in a row, simple facts. Nothing of it is held out, wordings apart."""

import random

from training.domain.draft import Draft
from training.domain.split import Split
from training.domain.words import (
    ANIMALS,
    COLOURS,
    DAYS,
    FRUITS,
    MONTHS,
    ONES,
    OPPOSITES,
    number_words,
    sentence,
    with_article,
    written,
)

COLOUR_OF = {
    "the sky": "blue",
    "the sea": "blue",
    "the grass": "green",
    "the sun": "yellow",
    "snow": "white",
    "milk": "white",
    "coffee": "black",
    "a banana": "yellow",
    "a lemon": "yellow",
    "a cherry": "red",
    "an orange": "orange",
    "a tree": "green",
    "the night": "black",
}
LEGS = {"dog": 4, "cat": 4, "horse": 4, "cow": 4, "rabbit": 4, "sheep": 4, "mouse": 4, "bird": 2, "duck": 2, "fish": 0}
SIDES = {"triangle": "three", "square": "four"}
# Question -> what it is told with, and how many.
AMOUNTS = (
    ("days", "week", "seven"),
    ("months", "year", "twelve"),
    ("hours", "day", "twenty four"),
    ("minutes", "hour", "sixty"),
    ("seconds", "minute", "sixty"),
)
KINDS = {"animal": ANIMALS, "fruit": FRUITS, "colour": COLOURS, "day": DAYS, "month": MONTHS, "number": ONES[1:13]}


def opposite(generator: random.Random, split: Split, spoken: bool) -> Draft:
    one, other = generator.choice(OPPOSITES)
    if generator.random() < 0.5:
        one, other = other, one
    user = generator.choice(
        (
            f"what is the opposite of {one}",
            f"what is the opposite of {one}",
            f"what's the opposite of {one}",
            f"the opposite of {one}",
            f"tell me the opposite of {one}",
            f"which word is the opposite of {one}",
        )
    )
    return Draft(None, user, f"The opposite of {one} is {other}.")


def neighbour(generator: random.Random, split: Split, spoken: bool) -> Draft:
    """What comes after or before a day, a month, a number."""
    after = generator.random() < 0.55
    way = 1 if after else -1
    side = "after" if after else "before"
    chance = generator.random()
    if chance < 0.35:
        place = generator.randrange(7)
        one, other, what = DAYS[place], DAYS[(place + way) % 7], "day"
    elif chance < 0.7:
        place = generator.randrange(12)
        one, other, what = MONTHS[place], MONTHS[(place + way) % 12], "month"
    else:
        number = generator.randint(1, 98)
        one, other, what = number_words(number), number_words(number + way), "number"
    user = generator.choice(
        (
            f"what comes {side} {one}",
            f"what comes {side} {one}",
            f"what is {side} {one}",
            f"which {what} comes {side} {one}",
            f"what {what} comes {side} {one}",
            f"which {what} is {side} {one}",
            f"what's the {what} {side} {one}",
            f"what {'follows' if after else 'comes before'} {one}",
        )
    )
    return Draft(None, user, sentence(f"{written(other)} comes {side} {written(one)}"))


def fact(generator: random.Random, split: Split, spoken: bool) -> Draft:
    return Draft(
        None, *generator.choice((_colour, _colour, _legs, _legs, _sides, _amount, _kind, _kind, _ends))(generator)
    )


def _colour(generator: random.Random) -> tuple[str, str]:
    thing = generator.choice(tuple(COLOUR_OF))
    user = generator.choice(
        (
            f"what colour is {thing}",
            f"what colour is {thing}",
            f"which colour is {thing}",
            f"what is the colour of {thing}",
            f"which colour has {thing}",
            f"what colour does {thing} have",
        )
    )
    return user, sentence(f"{thing} is {COLOUR_OF[thing]}")


def _legs(generator: random.Random) -> tuple[str, str]:
    animal = generator.choice(tuple(LEGS))
    number = LEGS[animal]
    user = generator.choice(
        (
            f"how many legs does {with_article(animal)} have",
            f"how many legs does {with_article(animal)} have",
            f"how many legs has {with_article(animal)}",
            f"how many legs does the {animal} have",
        )
    )
    return user, f"A {animal} has {number_words(number) if number else 'no'} legs."


def _sides(generator: random.Random) -> tuple[str, str]:
    shape = generator.choice(tuple(SIDES))
    user = generator.choice(
        (
            f"how many sides does a {shape} have",
            f"how many sides has a {shape}",
            f"how many corners does a {shape} have",
        )
    )
    return user, f"A {shape} has {SIDES[shape]} {'corners' if 'corners' in user else 'sides'}."


def _amount(generator: random.Random) -> tuple[str, str]:
    parts, whole, number = generator.choice(AMOUNTS)
    one = "an hour" if whole == "hour" else f"a {whole}"
    user = generator.choice(
        (
            f"how many {parts} are in {one}",
            f"how many {parts} are there in {one}",
            f"how many {parts} does {one} have",
            f"how many {parts} has {one}",
        )
    )
    return user, sentence(f"{one} has {number} {parts}")


def _kind(generator: random.Random) -> tuple[str, str]:
    kind = generator.choice(tuple(KINDS))
    word = generator.choice(KINDS[kind])
    asked = kind if generator.random() < 0.5 else generator.choice(tuple(KINDS))
    name = with_article(word) if kind in ("animal", "fruit") else written(word)
    # `orange` is a fruit and a colour.
    is_it = word in KINDS[asked] and (kind == asked or "orange" != word)
    user = f"is {name.lower()} {with_article(asked)}"
    return user, f"{'Yes' if is_it else 'No'}, {name} is {'' if is_it else 'not '}{with_article(asked)}."


def _ends(generator: random.Random) -> tuple[str, str]:
    which, whole, what, name = generator.choice(
        (
            ("first", "week", "day", "Monday"),
            ("last", "week", "day", "Sunday"),
            ("first", "year", "month", "January"),
            ("last", "year", "month", "December"),
        )
    )
    user = f"{generator.choice(('what is', 'which is'))} the {which} {what} of the {whole}"
    return user, f"The {which} {what} of the {whole} is {name}."
