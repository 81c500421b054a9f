"""How a turn becomes a prompt: the decoder and the renderer that a session is given; knows no session."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.chatml.render import render_past, render_turn
from app.media.decode import decode_turn
from app.types.prompt import Prompt
from app.types.turn import Part, TurnInput


@dataclass(frozen=True)
class Pipeline:
    """`decode(turn_input, rules, limits)`; `render(spec, tokenizer, state, parts, system_prompt, reply, past=turns)`
    appends a turn to a state, and before it the turns that the state lacks; `render_past(spec, tokenizer, state, past,
    system_prompt)` appends those alone."""

    decode: Callable[[TurnInput, Any, Any], tuple[Part, ...]]
    render: Callable[..., Prompt]
    render_past: Callable[..., Prompt]


REAL_PIPELINE = Pipeline(decode_turn, render_turn, render_past)
