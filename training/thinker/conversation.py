"""How conversations begin and how their typed and pretended spoken messages look; knows no media bank and no model."""

import random

from app.chatml.render import DEFAULT_SYSTEM_PROMPT
from training.domain.exchange import Exchange
from training.domain.typed import typed_form
from training.thinker.sequence import Conversation, PseudoVoice, Text, TextEncoder

DEFAULT_SHARE = 0.8
NO_SYSTEM_SHARE = 0.1
OTHER_SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are Qwen.",
    "You are a friendly voice assistant.",
    "Answer in one short sentence.",
    "You can hear and see.",
    "Be kind and be brief.",
)


def begin(encode: TextEncoder, generator: random.Random) -> Conversation:
    """A conversation with the page's system prompt, seldom with another or none."""
    conversation = Conversation(encode)
    share = generator.random()
    if share < DEFAULT_SHARE:
        conversation.system(DEFAULT_SYSTEM_PROMPT)
    elif share > DEFAULT_SHARE + NO_SYSTEM_SHARE:
        conversation.system(generator.choice(OTHER_SYSTEM_PROMPTS))
    return conversation


def begin_default(encode: TextEncoder) -> Conversation:
    conversation = Conversation(encode)
    conversation.system(DEFAULT_SYSTEM_PROMPT)
    return conversation


def typed(generator: random.Random, exchange: Exchange) -> Text:
    return Text(exchange.typed or typed_form(generator, exchange))


def pretended_voice(generator: random.Random, encode: TextEncoder, user: str) -> PseudoVoice:
    """Words at the pace of a slow or a fast speaker, silence in between and around."""
    gap = generator.choice((0, 1, 2, 4, 6))
    silence = encode.ids.audio
    ids = [silence] * generator.randint(0, gap + 1)
    for word in encode(" " + user):
        ids += [word, *[silence] * generator.randint(0, gap)]
    return PseudoVoice(tuple(ids))
