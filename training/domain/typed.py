"""Spoken words as people type them, and written replies as they are heard."""

import random
import re

from training.domain.exchange import QUESTION_WORDS, Exchange
from training.domain.words import number_words, sentence, written

_DIGITS = {number_words(number): str(number) for number in range(100)}
_TWO_WORDS = {words for words in _DIGITS if " " in words}
_SIGNS = {"plus": "+", "minus": "-", "times": "*"}
_NUMERIC = ("add", "subtract", "multiply", "count", "compare", "neighbour", "unknown", "tell")
_ASKING = (*QUESTION_WORDS, "do", "can", "could", "is", "are", "did")
_AMERICAN = {"colour": "color", "favourite": "favorite"}
_APOSTROPHE_FREE = {
    "what's": "whats",
    "i'm": "im",
    "that's": "thats",
    "don't": "dont",
    "name's": "names",
    "who's": "whos",
}
_POINTS = {
    "compare": re.compile(r"(.*(?:bigger|smaller|larger|less)) (\w+(?: \w+)? or .*)"),
    "talk": re.compile(r"(hello|hi|hey|good morning|good evening|okay|thank you|bye|goodbye|yes|no) (\w.*)"),
    "repeat": re.compile(r"((?:please |can you )?(?:say the words|say|repeat after me|repeat)) (.+)"),
    "spell": re.compile(r"((?:please |can you )?(?:spell the word|spell|how do you spell)) (\w+)"),
    "edge_word": re.compile(r"(.* word (?:of|in)) (.+)"),
}
_NOT_HEARD = re.compile(r"[^a-z0-9' ]+")


def typed_form(generator: random.Random, exchange: Exchange) -> str:
    """One of the ways to type the message: capitals or none, ? . ! or none, digits or words, + - *."""
    if exchange.typed is not None:
        return exchange.typed
    text = exchange.user
    if exchange.skill in _NUMERIC and generator.random() < 0.55:
        text = _signs(generator, digits(text))
    if generator.random() < 0.35:
        text = _pointed(generator, exchange.skill, text)
    if generator.random() < 0.15:
        text = " ".join(_AMERICAN.get(word, word) for word in text.split())
    return dressed(generator, text, careless=True)


def dressed(generator: random.Random, text: str, careless: bool = False) -> str:
    """Capitals and end marks for spoken words, every word kept; where `careless`, apostrophes may be missing."""
    chance = generator.random()
    is_question = text.split(maxsplit=1)[0].partition("'")[0] in _ASKING
    if chance < 0.5:
        text = sentence(written(text), "")
    elif chance < 0.65:
        text = sentence(text, "")
    elif careless and "'" in text and generator.random() < 0.4:
        text = " ".join(_APOSTROPHE_FREE.get(word, word) for word in text.split())
    if not text.endswith("=") and generator.random() < 0.6:
        text += "?" if is_question else generator.choice(("." if chance < 0.8 else "", ".", "!"))
    return text


def digits(text: str) -> str:
    """`what is twenty three plus four` -> `what is 23 plus 4`."""
    words = text.split()
    found = []
    place = 0
    while place < len(words):
        pair = " ".join(words[place : place + 2])
        if pair in _TWO_WORDS:
            found.append(_DIGITS[pair])
            place += 2
        else:
            is_number = words[place] != "one" or not found or found[-1] != "which"
            found.append(_DIGITS.get(words[place], words[place]) if is_number else "one")
            place += 1
    return " ".join(found)


def _pointed(generator: random.Random, skill: str, text: str) -> str:
    """Commas, colons and quotes inside: `which is bigger, 5 or 9`, `say: red circle`, `spell "cat"`, `hello, mini`."""
    mark = _POINTS.get(skill)
    found = mark and mark.match(text)
    if not found:
        return text
    before, after = found.groups()
    if skill == "compare" or skill == "talk":
        return f"{before}, {after}"
    if skill == "spell" or generator.random() < 0.5:
        quote = generator.choice('""\'')
        return f"{before} {quote}{after}{quote}"
    return f"{before}: {after}"


def _signs(generator: random.Random, text: str) -> str:
    if generator.random() < 0.4:
        return text
    for word, sign in _SIGNS.items():
        if f" {word} " in text:
            if word == "times" and generator.random() < 0.35:
                sign = generator.choice(("x", "×"))
            text = text.replace(f" {word} ", f" {sign} " if sign == "x" or generator.random() < 0.6 else sign)
            if text.startswith(("what is ", "what's ")) and generator.random() < 0.35:
                text = text.split(" is " if text.startswith("what is") else "what's ", 1)[1]
                text += generator.choice(("", "", " =", "="))
    return text


def spoken_reply(reply: str) -> str:
    """`I see a red circle.` -> `i see a red circle`: what a recognizer is compared with."""
    return " ".join(_NOT_HEARD.sub(" ", reply.lower()).split())
