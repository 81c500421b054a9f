"""Several exchanges that lean on each other: telling and recalling, quoting, asking again; the last one is judged."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from training.domain import memory
from training.domain.exchange import QUESTION_WORDS, SKILLS, Exchange, exchange
from training.domain.split import Split
from training.domain.typed import dressed
from training.domain.words import written

HEARD = (
    "what did i say",
    "what did i say",
    "what did i just say",
    "what did you hear",
    "what have i said",
    "what was it that i said",
    "can you repeat what i said",
    "repeat what i said",
    "tell me what i said",
    "did you hear what i said",
)
ASKED_FIRST = (
    "what did i ask first",
    "what did i ask you first",
    "what was my first question",
    "what did i ask at first",
)
ASKED_BEFORE = (
    "what did i ask before",
    "what did i ask you before",
    "what was my last question",
    "what did i just ask",
    "what was my question",
    "what did i ask",
)
AGAIN = (
    "say that again",
    "please say that again",
    "can you say that again",
    "can you repeat that",
    "please repeat that",
    "repeat that",
    "what did you say",
    "what did you just say",
    "once more please",
    "again please",
    "i did not hear you",
)
# Where nothing was said before.
NOTHING_SAID = "You did not say anything before."
NOTHING_ASKED = "You did not ask anything before."
I_SAID_NOTHING = "I did not say anything before."

# Plain English of any kind is too long and too strange to be said back.
_QUOTED_SKILLS = tuple(name for name in SKILLS if name != "open")
_QUESTION_SKILLS = tuple(
    name for name in _QUOTED_SKILLS if name not in ("talk", "repeat", "edge_word", "nothing_to_see")
)

# Shares of the ways that a dialogue goes.
_WAYS = (("one", 0.42), ("chain", 0.12), ("memory", 0.27), ("heard", 0.09), ("asked", 0.05), ("again", 0.05))
_LONELY_SHARE = 0.04


class Pool:
    """Messages to make dialogues of, where not every text is at hand (recorded speech): exchanges of `user_texts`."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self.told = [item for item in exchanges if item.skill == memory.TELL]
        self.plain = [item for item in exchanges if item.skill in SKILLS]
        self.quoted = [item for item in self.plain if item.skill in _QUOTED_SKILLS]
        self.questions = [item for item in self.plain if item.skill in _QUESTION_SKILLS and _is_question(item)]


class _Source:
    """Draws messages out of a pool, or out of everything that can be said."""

    def __init__(self, generator: random.Random, split: Split, spoken: bool, pool: Pool | None) -> None:
        self._generator, self._split, self._spoken, self._pool = generator, split, spoken, pool

    def plain(self) -> Exchange:
        if self._pool:
            return self._generator.choice(self._pool.plain)
        return exchange(self._generator, self._split, spoken=self._spoken)

    def told(self) -> Exchange:
        if self._pool:
            return self._generator.choice(self._pool.told)
        return memory.tell(self._generator, self._split, spoken=self._spoken)

    def quoted(self) -> Exchange:
        """One whose words stay as they are however it is typed."""
        if self._pool:
            return self._plainly(self._generator.choice(self._pool.quoted))
        if self._generator.random() < 0.2:
            return self._plainly(memory.tell(self._generator, self._split, spoken=True))
        return self._plainly(exchange(self._generator, self._split, spoken=True, skills=_QUOTED_SKILLS))

    def question(self) -> Exchange:
        if self._pool:
            return self._plainly(self._generator.choice(self._pool.questions))
        while True:
            item = exchange(self._generator, self._split, spoken=True, skills=_QUESTION_SKILLS)
            if _is_question(item):
                return self._plainly(item)

    def _plainly(self, item: Exchange) -> Exchange:
        return replace(item, typed=dressed(self._generator, item.user))


def dialogue(generator: random.Random, split: Split, *, spoken: bool, pool: Pool | None = None) -> list[Exchange]:
    """1-6 exchanges; the last is the one judged. `pool`: statements and questions come out of it; those that ask back
    are of a short closed list as ever."""
    source = _Source(generator, split, spoken, pool)
    way = generator.choices([name for name, _ in _WAYS], [share for _, share in _WAYS])[0]
    return _MAKERS[way](generator, source)


def _one(generator: random.Random, source: _Source) -> list[Exchange]:
    return [source.plain()]


def _chain(generator: random.Random, source: _Source) -> list[Exchange]:
    return [source.plain() for _ in range(generator.randint(2, 3))]


def _memory(generator: random.Random, source: _Source) -> list[Exchange]:
    told: dict[str, Exchange] = {}
    for _ in range(generator.choice((0, 1, 1, 1, 2, 2, 3))):
        statement = source.told()
        told.setdefault(memory.told(statement)[0], statement)
    turns = list(told.values())
    for _ in range(generator.choice((0, 0, 1, 1, 2))):
        turns.insert(generator.randint(0, len(turns)), source.plain())
    if told and generator.random() < 0.2 and len(turns) < 5:
        turns.append(memory.recall(generator, generator.choice(list(told.values()))))
    missing = [kind for kind in memory.KINDS if kind not in told]
    if not told or generator.random() < 0.15:
        return [*turns, memory.missing(generator, generator.choice(missing))]
    return [*turns, memory.recall(generator, generator.choice(list(told.values())))]


def _heard(generator: random.Random, source: _Source) -> list[Exchange]:
    if generator.random() < _LONELY_SHARE:
        return [Exchange("heard", generator.choice(HEARD), NOTHING_SAID)]
    before = [source.plain()] if generator.random() < 0.3 else []
    quoted = source.quoted()
    return [*before, quoted, Exchange("heard", generator.choice(HEARD), f"You said, {written(quoted.user)}.")]


def _asked(generator: random.Random, source: _Source) -> list[Exchange]:
    if generator.random() < _LONELY_SHARE:
        return [Exchange("asked", generator.choice((*ASKED_FIRST, *ASKED_BEFORE)), NOTHING_ASKED)]
    question = source.question()
    if generator.random() < 0.6:
        others = [source.plain() for _ in range(generator.choice((0, 1, 1, 2, 3)))]
        reply = f"First you asked, {written(question.user)}."
        return [question, *others, Exchange("asked", generator.choice(ASKED_FIRST), reply)]
    before = [source.plain() for _ in range(generator.choice((0, 1, 2)))]
    return [
        *before,
        question,
        Exchange("asked", generator.choice(ASKED_BEFORE), f"You asked, {written(question.user)}."),
    ]


def _again(generator: random.Random, source: _Source) -> list[Exchange]:
    if generator.random() < _LONELY_SHARE:
        return [Exchange("again", generator.choice(AGAIN), I_SAID_NOTHING)]
    before = [source.plain() for _ in range(generator.choice((1, 1, 2)))]
    return [*before, Exchange("again", generator.choice(AGAIN), before[-1].reply)]


_MAKERS: dict[str, Callable[[random.Random, _Source], list[Exchange]]] = {
    "one": _one,
    "chain": _chain,
    "memory": _memory,
    "heard": _heard,
    "asked": _asked,
    "again": _again,
}


def closing(generator: random.Random) -> Exchange:
    """A question that asks back, on its own: nothing was said, asked or told before."""
    wordings, skill, reply = generator.choice(
        (
            (HEARD, "heard", NOTHING_SAID),
            (ASKED_FIRST, "asked", NOTHING_ASKED),
            (ASKED_BEFORE, "asked", NOTHING_ASKED),
            (AGAIN, "again", I_SAID_NOTHING),
        )
    )
    return Exchange(skill, generator.choice(wordings), reply)


def _is_question(item: Exchange) -> bool:
    words = item.user.split()
    return any(word.partition("'")[0] in QUESTION_WORDS for word in words[:5])
