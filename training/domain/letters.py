"""Skills with words as such: spelling, letters, saying again, first and last word."""

import random

from training.domain.draft import Draft
from training.domain.split import Split
from training.domain.words import (
    ANIMALS,
    COLOURS,
    DAYS,
    FOODS,
    LETTERS,
    NAMES,
    ONES,
    SHAPES,
    known_words,
    number_words,
    plural,
    sentence,
    written,
)

MAX_SPELLED = 7
# Typed names and words that exist nowhere.
PSEUDO_SHARE = 0.3

_WORDS = known_words()
_SPELLED = tuple(word for word in (*_WORDS, *NAMES) if 1 < len(word) <= MAX_SPELLED)
_PLACES = ("first", "second", "third", "last")


def pseudo_word(generator: random.Random) -> str:
    """Two or three syllables: `vomo`, `kelasu`."""
    syllables = (
        generator.choice("bdfgklmnprstvz")
        + generator.choice("aeiou")
        + (generator.choice("nrls") if generator.random() < 0.25 else "")
        for _ in range(generator.choice((2, 2, 2, 3)))
    )
    return "".join(syllables)


def spelled(word: str) -> str:
    """`C, A, T.`"""
    return ", ".join(word.upper()) + "."


def spell(generator: random.Random, split: Split, spoken: bool) -> Draft:
    """Known words alone: a word is one token, its letters are learnt by heart."""
    word = generator.choice(_SPELLED)
    user = generator.choice(
        (
            f"spell {word}",
            f"spell {word}",
            f"spell the word {word}",
            f"how do you spell {word}",
            f"how is {word} spelled",
            f"how do i spell {word}",
            f"can you spell {word}",
            f"how do you write {word}",
        )
    )
    return Draft(None, user, spelled(word))


def letters(generator: random.Random, split: Split, spoken: bool) -> Draft:
    word = generator.choice(_SPELLED)
    name = written(word)
    if generator.random() < 0.5:
        user = generator.choice(
            (
                f"how many letters does {word} have",
                f"how many letters has {word}",
                f"how many letters has the word {word}",
                f"how many letters are in {word}",
                f"how many letters are there in {word}",
                f"how many letters does the word {word} have",
                f"count the letters of {word}",
            )
        )
        return Draft(None, user, sentence(f"{name} has {number_words(len(word))} letters"))
    if not spoken and generator.random() < 0.25:
        place = generator.randrange(25)
        after = generator.random() < 0.5
        one, other = LETTERS[place : place + 2] if after else LETTERS[place : place + 2][::-1]
        side = "after" if after else "before"
        user = generator.choice((f"which letter comes {side} {one}", f"what letter comes {side} {one}"))
        typed = user[:-1] + (one.upper() if generator.random() < 0.6 else one) + generator.choice(("", "?"))
        typed = sentence(typed, "") if generator.random() < 0.5 else typed
        return Draft(None, user, f"{other.upper()} comes {side} {one.upper()}.", typed)
    place = generator.choice(_PLACES[:3] + _PLACES[3:] * 2) if len(word) > 2 else generator.choice(("first", "last"))
    letter = word[{"first": 0, "second": 1, "third": 2, "last": -1}[place]].upper()
    user = generator.choice(
        (
            f"what is the {place} letter of {word}",
            f"what's the {place} letter of {word}",
            f"which is the {place} letter of {word}",
            f"what is the {place} letter in {word}",
            f"what is the {place} letter of the word {word}",
        )
    )
    return Draft(None, user, f"The {place} letter of {name} is {letter}.")


def phrase(generator: random.Random) -> str:
    """One to five words to say again."""
    choose = generator.choice
    return choose(_PHRASES)(choose)


_OFTEN = ("big", "small", "hot", "cold", "good", "bad", "old", "new", "happy", "sad")
_PHRASES = (
    lambda choose: f"{choose(COLOURS)} {choose(SHAPES)}",
    lambda choose: f"{choose(COLOURS)} {choose(ANIMALS)}",
    lambda choose: f"the {choose(ANIMALS)} is {choose(_OFTEN)}",
    lambda choose: f"the {choose(SHAPES)} is {choose(COLOURS)}",
    lambda choose: f"i like {choose(FOODS)}",
    lambda choose: f"i see {choose(ONES[2:13])} {plural(choose(ANIMALS))}",
    lambda choose: choose(_WORDS),
    lambda choose: " ".join(choose(_WORDS) for _ in range(2)),
    lambda choose: " ".join(choose(_WORDS) for _ in range(3)),
    lambda choose: " ".join(choose(_WORDS) for _ in range(4)),
    lambda choose: f"today is {choose(DAYS)}",
    lambda choose: f"{choose(FOODS)} and {choose(FOODS)}",
    lambda choose: f"the {choose(ANIMALS)} is in the {choose(('house', 'garden', 'river', 'car', 'box'))}",
    lambda choose: " ".join(choose(ONES[:13]) for _ in range(3)),
    lambda choose: f"hello {choose(NAMES)}",
    lambda choose: f"good morning {choose(NAMES)}",
    lambda choose: choose(("hello", "good morning", "thank you", "i am happy", "i like music", "good night")),
)


def repeat(generator: random.Random, split: Split, spoken: bool) -> Draft:
    """A typed word that exists nowhere keeps the form it was typed in; a spoken phrase comes back as one sentence."""
    ask = generator.choice(
        ("say", "say", "repeat", "please say", "please repeat", "can you say", "repeat after me", "say the words")
    )
    if not spoken and generator.random() < PSEUDO_SHARE:
        word = pseudo_word(generator)
        form = word.capitalize() if generator.random() < 0.4 else word
        typed = (sentence(ask, "") if generator.random() < 0.6 else ask) + f" {form}" + generator.choice(("", "", "."))
        return Draft(f"word {word}", f"{ask} {word}", f"Okay, {form}.", typed)
    words = phrase(generator)
    return Draft(f"say {words}", f"{ask} {words}", sentence(written(words)))


def edge_word(generator: random.Random, split: Split, spoken: bool) -> Draft:
    words = [generator.choice(_WORDS) for _ in range(generator.randint(2, 4))]
    place = generator.choice(("first", "last"))
    told = " ".join(words)
    user = generator.choice(
        (
            f"what is the {place} word of {told}",
            f"what is the {place} word of {told}",
            f"what's the {place} word of {told}",
            f"which is the {place} word of {told}",
            f"tell me the {place} word of {told}",
            f"what is the {place} word in {told}",
        )
    )
    word = words[0] if place == "first" else words[-1]
    return Draft(f"words {told}", user, f"The {place} word is {written(word)}.")
