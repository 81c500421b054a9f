"""What the Talker learns to say."""

import random

from training.domain.dialogue import dialogue
from training.domain.split import Split

PICTURE_SHARE = 0.3


def reply_texts(generator: random.Random, split: Split, n: int) -> list[str]:
    """`n` distinct replies of all skills, typed names that exist nowhere and pictures and clips included.

    A reply of `test` is one to a held-out question; those that are learnt by heart are in both splits.
    """
    from training.scenes.questions import texts

    found: dict[str, None] = {}
    while len(found) < n:
        for _ in range(1 + n // 4):
            found[dialogue(generator, split, spoken=generator.random() < 0.6)[-1].reply] = None
        num_pictures = int(PICTURE_SHARE * (len(found) + 1))
        for _, reply in texts(generator, split, num_pictures):
            found[reply] = None
    replies = list(found)
    generator.shuffle(replies)
    return replies[:n]
