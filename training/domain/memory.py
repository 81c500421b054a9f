"""What a user tells about themselves, and the questions that ask for it later."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from training.domain.exchange import Exchange
from training.domain.letters import PSEUDO_SHARE, pseudo_word
from training.domain.split import Split, belongs
from training.domain.words import ANIMALS, COLOURS, NAMES, known_words, number_words, plural, sentence, written

TELL, RECALL = "tell", "recall"


@dataclass(frozen=True)
class Kind:
    """`{}` stands for what is told. `missing`: the answer where nothing was told. `typed_words`: a typed one may be a
    word that exists nowhere."""

    draw: Callable[[random.Random], str]
    statements: tuple[str, ...]
    reply: str
    questions: tuple[str, ...]
    answer: str
    missing: str
    typed_words: bool = False


KINDS: dict[str, Kind] = {
    "name": Kind(
        lambda generator: generator.choice(NAMES),
        (
            "my name is {}",
            "my name is {}",
            "i am {}",
            "i'm {}",
            "my name's {}",
            "call me {}",
            "please call me {}",
            "i am called {}",
            "hello my name is {}",
            "hi i am {}",
            "hello i'm {}",
        ),
        "Nice to meet you, {}.",
        (
            "what is my name",
            "what's my name",
            "do you know my name",
            "who am i",
            "tell me my name",
            "what am i called",
            "do you remember my name",
            "can you tell me my name",
            "what was my name",
        ),
        "Your name is {}.",
        "You did not tell me your name.",
        True,
    ),
    "friend": Kind(
        lambda generator: generator.choice(NAMES),
        (
            "my friend is called {}",
            "my friend's name is {}",
            "the name of my friend is {}",
            "my friend is {}",
            "i have a friend called {}",
            "my best friend is {}",
        ),
        "Okay, your friend is {}.",
        (
            "who is my friend",
            "who's my friend",
            "what is the name of my friend",
            "what is my friend called",
            "what is my friend's name",
            "do you remember my friend",
            "tell me the name of my friend",
        ),
        "Your friend is {}.",
        "You did not tell me about your friend.",
        True,
    ),
    "colour": Kind(
        lambda generator: generator.choice(COLOURS),
        (
            "my favourite colour is {}",
            "i like the colour {}",
            "i like {}",
            "{} is my favourite colour",
            "the colour i like is {}",
            "i love the colour {}",
            "my colour is {}",
        ),
        "Okay, your favourite colour is {}.",
        (
            "what is my favourite colour",
            "what's my favourite colour",
            "which colour do i like",
            "what colour do i like",
            "do you know my favourite colour",
            "tell me my favourite colour",
            "which is my favourite colour",
        ),
        "Your favourite colour is {}.",
        "You did not tell me your favourite colour.",
    ),
    "number": Kind(
        lambda generator: number_words(generator.randint(0, 99)),
        (
            "remember the number {}",
            "please remember the number {}",
            "remember {}",
            "my number is {}",
            "the number is {}",
            "keep the number {} in mind",
            "can you remember the number {}",
        ),
        "Okay, the number is {}.",
        (
            "what was the number",
            "which number did i tell you",
            "what number did i tell you",
            "what is my number",
            "what's my number",
            "do you remember the number",
            "tell me the number",
            "which number was it",
        ),
        "The number was {}.",
        "You did not tell me a number.",
    ),
    "animals": Kind(
        lambda generator: f"{number_words(generator.randint(2, 12))} {plural(generator.choice(ANIMALS))}",
        ("i have {}", "i have {}", "i've got {}", "i have got {}", "at home i have {}", "there are {} in my house"),
        "Okay, you have {}.",
        (
            "how many {} do i have",
            "how many {} did i say i have",
            "what do i have",
            "which animals do i have",
            "what animals do i have",
            "how many animals do i have",
        ),
        "You have {}.",
        "You did not tell me about your animals.",
    ),
    "age": Kind(
        lambda generator: number_words(generator.randint(4, 99)),
        ("i am {} years old", "i'm {} years old", "my age is {}", "i am {}"),
        "Okay, you are {} years old.",
        ("how old am i", "what is my age", "do you know how old i am", "tell me how old i am", "what's my age"),
        "You are {} years old.",
        "You did not tell me how old you are.",
    ),
    "word": Kind(
        lambda generator: generator.choice(known_words()),
        (
            "remember the word {}",
            "please remember the word {}",
            "the word is {}",
            "my word is {}",
            "the secret word is {}",
        ),
        "Okay, the word is {}.",
        (
            "what was the word",
            "which word did i tell you",
            "what is the word",
            "what's the word",
            "do you remember the word",
            "tell me the word",
            "which word was it",
        ),
        "The word was {}.",
        "You did not tell me a word.",
        True,
    ),
}
_SHARES = {"name": 3.0, "friend": 1.5, "colour": 1.5, "number": 1.5, "animals": 1.5, "age": 1.0, "word": 1.0}


def draw_kind(generator: random.Random) -> str:
    return generator.choices(tuple(_SHARES), tuple(_SHARES.values()))[0]


def tell(generator: random.Random, split: Split, *, spoken: bool, kind: str | None = None) -> Exchange:
    """A statement and its acknowledgement. Key: the statement itself (`i am anna`), or a typed pseudo-word."""
    while True:
        about = KINDS[kind or draw_kind(generator)]
        statement = generator.choice(about.statements)
        if about.typed_words and not spoken and generator.random() < PSEUDO_SHARE:
            word = pseudo_word(generator)
            if not belongs(f"word {word}", split):
                continue
            is_name = "Nice" in about.reply or "friend" in about.reply
            form = word.capitalize() if generator.random() < (0.85 if is_name else 0.3) else word
            typed = written(statement).format(form) + generator.choice(("", ".", "."))
            typed = sentence(typed, "") if generator.random() < 0.75 else typed
            return Exchange(TELL, statement.format(word), about.reply.format(form), typed)
        value = about.draw(generator)
        user = statement.format(value)
        if belongs(user, split):
            return Exchange(TELL, user, about.reply.format(written(value)))


def told(exchange: Exchange) -> tuple[str, str]:
    """The kind and the written value of an exchange of `tell`, read off its reply."""
    for kind, about in KINDS.items():
        before, after = about.reply.split("{}")
        if exchange.reply.startswith(before) and exchange.reply.endswith(after):
            if kind != "age" or "years old" in exchange.reply:
                return kind, exchange.reply[len(before) : len(exchange.reply) - len(after)]
    raise ValueError(f"tells nothing: {exchange}")


def recall(generator: random.Random, statement: Exchange) -> Exchange:
    """A question for what `statement` told, and the right answer."""
    kind, value = told(statement)
    about = KINDS[kind]
    question = generator.choice(about.questions).format(value.split()[-1].lower())
    return Exchange(RECALL, question, about.answer.format(value))


def missing(generator: random.Random, kind: str) -> Exchange:
    """The same question where nothing of that kind was told."""
    about = KINDS[kind]
    question = generator.choice(about.questions).format(plural(generator.choice(ANIMALS)))
    return Exchange(RECALL, question, about.missing)
