"""Turns of a conversation to the prompt that the engine lacks: only the delta, checked against the context length."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from app.chatml.builder import MIN_SEGMENT_TOKENS, PastTurn, PromptBuilder
from app.chatml.cursor import Cursor
from app.engine.spec import ModelSpec
from app.engine.state import EngineState
from app.errors import ContextFull
from app.types.prompt import Prompt
from app.types.turn import Part

# What the published model was trained to speak with; the chat template's own default is another, with which speech
# may fail (model card of Qwen2.5-Omni).
DEFAULT_SYSTEM_PROMPT = (
    "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of perceiving auditory and "
    "visual inputs, as well as generating text and speech."
)

# Left free behind every prompt, so that a turn which just fits can also be answered.
MIN_REPLY_TOKENS = 32


def render_turn(
    spec: ModelSpec,
    tokenizer: PreTrainedTokenizerBase,
    state: EngineState,
    parts: Sequence[Part],
    system_prompt: str,
    reply: str | None = None,
    min_segment_tokens: int = MIN_SEGMENT_TOKENS,
    past: Sequence[PastTurn] = (),
) -> Prompt:
    """What the next turn adds behind `state`: the system prompt if it is empty, else the end of the last reply; the
    turns `past` that it lacks, as they were written when they were new; then the user's message and the opening of the
    answer. `reply`: a given answer that is to be spoken as it stands.

    Raises ContextFull when there is no room for it and a short reply.
    """
    builder = _begin(spec, tokenizer, state, system_prompt, min_segment_tokens)
    for turn in past:
        builder.past(turn)
    builder.user(tuple(parts))
    builder.assistant()
    prompt = builder.build(None if reply is None else tuple(builder.encode(reply)))
    needed = state.num_tokens + prompt.num_tokens + max(MIN_REPLY_TOKENS, len(prompt.reply_ids or ()))
    if needed > spec.context_length:
        raise ContextFull(
            f"This turn needs {prompt.num_tokens:,} tokens and the conversation already holds {state.num_tokens:,} of "
            f"{spec.context_length:,}; forget the oldest turns, or send less."
        )
    return prompt


def render_past(
    spec: ModelSpec,
    tokenizer: PreTrainedTokenizerBase,
    state: EngineState,
    past: Sequence[PastTurn],
    system_prompt: str,
) -> Prompt:
    """The turns `past` that `state` lacks and no new one: the caches then end with the last one's reply."""
    if not past:
        return Prompt(())
    builder = _begin(spec, tokenizer, state, system_prompt, MIN_SEGMENT_TOKENS)
    for turn in past[:-1]:
        builder.past(turn)
    builder.past(past[-1], is_last=True)
    return builder.build()


def _begin(
    spec: ModelSpec,
    tokenizer: PreTrainedTokenizerBase,
    state: EngineState,
    system_prompt: str,
    min_segment_tokens: int,
) -> PromptBuilder:
    cursor = Cursor(state.next_position, state.top_position)
    builder = PromptBuilder(spec, tokenizer, cursor, min_segment_tokens, state.num_tokens)
    if state.num_tokens == 0:
        builder.system(system_prompt)
    else:
        builder.close_reply(state.pending_ids)
    return builder
