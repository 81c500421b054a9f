"""One question with its right reply, of any skill that needs no memory."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.domain import facts, letters, sums, talk, unknown
from training.domain.draft import Draft
from training.domain.split import Split, belongs


@dataclass(frozen=True)
class Exchange:
    """`user`: as spoken, lower-case words, numbers in words. `reply`: as written. `typed`: the one typed form where the
    reply depends on it."""

    skill: str
    user: str
    reply: str
    typed: str | None = None


Skill = Callable[[random.Random, Split, bool], Draft]

# Skill -> its share of the questions, and who draws it.
SKILLS: dict[str, tuple[float, Skill]] = {
    "talk": (1.2, talk.talk),
    "add": (2.6, sums.add),
    "subtract": (2.4, sums.subtract),
    "multiply": (1.0, sums.multiply),
    "count": (1.1, sums.count),
    "compare": (1.5, sums.compare),
    "neighbour": (1.0, facts.neighbour),
    "opposite": (0.7, facts.opposite),
    "fact": (1.0, facts.fact),
    "spell": (0.9, letters.spell),
    "letters": (0.9, letters.letters),
    "repeat": (1.2, letters.repeat),
    "edge_word": (0.8, letters.edge_word),
    "unknown": (1.3, unknown.unknown),
    "open": (0.4, unknown.open_text),
    "nothing_to_see": (0.2, talk.nothing_to_see),
}
_NAMES = tuple(SKILLS)
_SHARES = tuple(share for share, _ in SKILLS.values())

QUESTION_WORDS = ("what", "which", "how", "who", "where", "when", "why")
_BEFORE_QUESTION = (
    "please tell me ",
    "tell me ",
    "can you tell me ",
    "could you tell me ",
    "do you know ",
    "i want to know ",
    "please ",
    "hey mini ",
    "mini ",
    "okay ",
    "hello ",
    "so ",
    "and ",
)
_BEFORE_COMMAND = ("please ", "can you ", "could you ", "can you please ", "now ", "mini ", "okay ")
_COMMANDS = ("count", "spell", "say", "repeat", "add", "subtract", "take", "multiply", "calculate")
POLITE_SHARE = 0.25
# Their wordings are complete, or a word more would change what is meant.
_PLAIN_SKILLS = ("talk", "nothing_to_see", "repeat", "edge_word")


def exchange(generator: random.Random, split: Split, *, spoken: bool, skills: Sequence[str] | None = None) -> Exchange:
    """`spoken`: the user's words are real words, so that synthesizers can say them. `skills`: names out of SKILLS."""
    name = generator.choice(skills) if skills else generator.choices(_NAMES, _SHARES)[0]
    # Drawn again within the skill, so that both splits ask all skills equally often.
    while True:
        draft = SKILLS[name][1](generator, split, spoken)
        if not belongs(draft.key, split):
            continue
        user = draft.user
        if draft.typed is None and generator.random() < POLITE_SHARE:
            user = polite(generator, name, user)
        return Exchange(name, user, draft.reply, draft.typed)


def polite(generator: random.Random, skill: str, user: str) -> str:
    first = user.split(maxsplit=1)[0]
    if first in _COMMANDS:
        return generator.choice(_BEFORE_COMMAND) + user
    if skill in _PLAIN_SKILLS or first.partition("'")[0] not in QUESTION_WORDS:
        return user
    return f"{user} please" if generator.random() < 0.12 else generator.choice(_BEFORE_QUESTION) + user
