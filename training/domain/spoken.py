"""What the bank of recorded users says."""

import random

from training.domain import dialogue, memory
from training.domain.exchange import Exchange, exchange
from training.domain.split import Split
from training.domain.words import SOUND_WORDS, sentence

# Skills of this bank alone: their replies need what is shown, or there is none.
PICTURE, SOUND_WORD = "picture", "sound_word"

_SHARES = {"plain": 0.56, "tell": 0.12, "recall": 0.07, "closing": 0.05, PICTURE: 0.14, SOUND_WORD: 0.06}


def user_texts(generator: random.Random, split: Split, n: int) -> list[Exchange]:
    """`n` messages, some of them often. An exchange answers the message as the first of a conversation, save for
    `picture` (the reply is that of one scene) and `sound_word` (a word for a clip's sound track)."""
    kinds = generator.choices(list(_SHARES), list(_SHARES.values()), k=n)
    pictures = iter(_picture_questions(generator, split, kinds.count(PICTURE)))
    return [next(pictures) if kind == PICTURE else _draw(generator, split, kind) for kind in kinds]


def _picture_questions(generator: random.Random, split: Split, n: int) -> list[Exchange]:
    from training.scenes.questions import texts

    return [Exchange(PICTURE, question, reply) for question, reply in texts(generator, split, n)]


def _draw(generator: random.Random, split: Split, kind: str) -> Exchange:
    if kind == "plain":
        return exchange(generator, split, spoken=True)
    if kind == "tell":
        return memory.tell(generator, split, spoken=True)
    if kind == "recall":
        return memory.missing(generator, memory.draw_kind(generator))
    if kind == "closing":
        return dialogue.closing(generator)
    word = generator.choice(SOUND_WORDS)
    return Exchange(SOUND_WORD, word, sentence(word))
