"""How a turn becomes a prompt: the decoder and the renderers that a session is given; knows no session."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.chatml.render import PastTurn, render_history, render_turn
from app.media.decode import decode_turn
from app.types.prompt import Prompt
from app.types.turn import Part, TurnInput

Past = tuple[tuple[Part, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Pipeline:
    """`render` appends a turn to a state, `render_history` writes older turns and the new one into an empty state.

    `decode(turn_input, rules, limits)`, `render(spec, tokenizer, state, parts, system_prompt, reply)`,
    `render_history(spec, tokenizer, past, parts, system_prompt, reply)`, where `past` holds each older turn's parts
    and its reply as sampled ids.
    """

    decode: Callable[[TurnInput, Any, Any], tuple[Part, ...]]
    render: Callable[[Any, Any, Any, Sequence[Part], str, str | None], Prompt]
    render_history: Callable[[Any, Any, Sequence[Past], Sequence[Part], str, str | None], Prompt]


def _render_past(spec, tokenizer, past, parts, system_prompt, reply) -> Prompt:
    turns = tuple(PastTurn(parts=past_parts, reply_ids=reply_ids) for past_parts, reply_ids in past)
    return render_history(spec, tokenizer, turns, parts, system_prompt, reply)


REAL_PIPELINE = Pipeline(decode_turn, render_turn, _render_past)
