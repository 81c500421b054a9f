"""What was asked before a reply is read aloud: questions, commands to read, earlier talk; knows no sound."""

import random

import numpy as np
import torch

from training.domain.exchange import Exchange, exchange
from training.domain.split import Split
from training.talker.states import Question, ask
from training.thinker.config import NUM_MEL_BINS
from training.thinker.conversation import begin, pretended_voice, typed
from training.thinker.sequence import Conversation, Film, Part, Pixels, Sound, Still, Text, TextEncoder, Voice

COMMANDS = ("Say: {}", "Read: {}", "Please say: {}", "Read this aloud: {}", "Repeat after me: {}", "{}", "say {}")
# Shares of: no words at all, a command to read, a question. Of questions with an answer in the domain, its own.
NOTHING_SHARE, COMMAND_SHARE = 0.12, 0.2
OWN_SHARE = 0.8
EARLIER_SHARE, MAX_EARLIER = 0.2, 4
GRIDS = ((4, 4), (4, 6), (5, 5), (6, 4), (3, 6))


class Prompts:
    """Questions of one split by the reply they get."""

    def __init__(self, encode: TextEncoder, generator: random.Random, split: Split, num_exchanges: int) -> None:
        self._encode = encode
        self._exchanges = [exchange(generator, split, spoken=False) for _ in range(num_exchanges)]
        self._by_reply: dict[str, list[Exchange]] = {}
        for item in self._exchanges:
            self._by_reply.setdefault(item.reply, []).append(item)

    def draw(self, generator: random.Random, reply: str) -> Question:
        """A conversation that ends with `reply`."""
        conversation = begin(self._encode, generator)
        if generator.random() < EARLIER_SHARE:
            for _ in range(generator.randint(1, MAX_EARLIER)):
                earlier = generator.choice(self._exchanges)
                conversation.user(self._parts(generator, earlier))
                conversation.reply(earlier.reply)
        self._ask(conversation, generator, reply)
        return ask(conversation, reply, self._encode)

    def _ask(self, conversation: Conversation, generator: random.Random, reply: str) -> None:
        way = generator.random()
        if way < NOTHING_SHARE:
            conversation.user(())
        elif way < NOTHING_SHARE + COMMAND_SHARE:
            conversation.user((Text(generator.choice(COMMANDS).format(reply)),))
        else:
            own = self._by_reply.get(reply)
            chosen = own if own and generator.random() < OWN_SHARE else self._exchanges
            conversation.user(self._parts(generator, generator.choice(chosen)))

    def _parts(self, generator: random.Random, item: Exchange) -> tuple[Part, ...]:
        """The message typed, spoken, or asked about a picture or a film, of which only the places are real."""
        way = generator.random()
        if way < 0.62:
            return (typed(generator, item),)
        if way < 0.74:
            return (pretended_voice(generator, self._encode, item.user),)
        if way < 0.86:
            return (Voice(silence(generator.uniform(0.6, 4.0))),)
        question = typed(generator, item) if generator.random() < 0.6 else Voice(silence(generator.uniform(0.6, 3.0)))
        if way < 0.96:
            return (Still(blank(generator, 1)), question)
        num_groups = generator.randint(1, 3)
        sound = silence(float(num_groups)) if generator.random() < 0.5 else None
        text = Text("") if isinstance(question, Voice) and sound else question
        return (Film(blank(generator, num_groups), sound), text)


def silence(seconds: float) -> Sound:
    return Sound(torch.zeros(int(100 * seconds), NUM_MEL_BINS))


def blank(generator: random.Random, num_groups: int) -> Pixels:
    return Pixels(np.zeros((num_groups, 0, 0), np.uint8), generator.choice(GRIDS))
