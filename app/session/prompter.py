"""From a turn's contents to a prompt that fits: decodes, renders and measures; changes no session."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from app.chatml.builder import PastTurn as SpokenTurn
from app.chatml.cursor import Cursor
from app.chatml.live import LivePrompt
from app.media.limits import MediaLimits
from app.session.fit import Fit, Load, fit_turn
from app.session.pipeline import Pipeline
from app.types.prompt import Append, Prompt
from app.types.turn import Part, TextPart, TurnInput, TurnSettings

# More than any context: the room is checked here, where the cuts that would help can be named, so the renderer must
# not refuse first.
_UNLIMITED = 1 << 40


@dataclass(frozen=True)
class PastTurn:
    """A turn in the model's context. `num_tokens`: what it takes there, the opening of the conversation not counted;
    `mark`: where it ends in the cache, None while it is not there; `num_states`: of its reply's tokens, those whose
    states the Talker was given."""

    number: int
    stored: TurnInput
    reply_ids: tuple[int, ...]
    num_tokens: int
    mark: Any
    num_states: int = 0


@dataclass(frozen=True)
class Context:
    """What a session's next turn builds on. `state` holds the first turns of `past`, those with a mark; the others must
    be written afresh behind them, all of them into a new one where it is None."""

    state: Any
    past: tuple[PastTurn, ...]
    system_prompt: str

    @property
    def num_cached(self) -> int:
        return 0 if self.state is None else self.state.num_tokens

    @property
    def unwritten(self) -> tuple[PastTurn, ...]:
        return tuple(turn for turn in self.past if turn.mark is None)


@dataclass(frozen=True)
class Prompter:
    """`free_bytes()`: room on the engine's device, None if unknown; `idle_bytes(session_id)`: what the idle caches of
    other sessions take; `make_room(num_bytes, session_id)` asks that they be given up."""

    pipeline: Pipeline
    limits: MediaLimits
    free_bytes: Callable[[], int | None]
    idle_bytes: Callable[[str], int]
    make_room: Callable[[int, str], None]

    def decode(self, engine: Any, turn_input: TurnInput) -> tuple[Part, ...]:
        return self.pipeline.decode(turn_input, engine.spec.media, self.limits)

    def render(self, engine: Any, context: Context, target: Any, parts: tuple[Part, ...], reply: str | None) -> Prompt:
        """What has to be appended to `target`: the turn, and those before it that the state lacks."""
        spec, past = replace(engine.spec, context_length=_UNLIMITED), self._past(engine, context)
        return self.pipeline.render(spec, engine.tokenizer, target, parts, context.system_prompt, reply, past=past)

    def render_again(self, engine: Any, context: Context, target: Any, number: int) -> tuple[Prompt, Any]:
        """For speaking the reply of turn `number` again: what `target` lacks up to it, and the mark behind it."""
        place = next(place for place, turn in enumerate(context.past) if turn.number == number)
        turn = context.past[place]
        if turn.mark is not None:
            return Prompt(()), turn.mark
        missing = replace(context, past=context.past[: place + 1])
        prompt = self.pipeline.render_past(
            engine.spec, engine.tokenizer, target, self._past(engine, missing), context.system_prompt
        )
        return prompt, target.mark_at(prompt.boundaries[-1])

    def _past(self, engine: Any, context: Context) -> tuple[SpokenTurn, ...]:
        return tuple(SpokenTurn(self.decode(engine, turn.stored), turn.reply_ids) for turn in context.unwritten)

    def begin_live(self, engine: Any, context: Context, target: Any, fps: float | None) -> tuple[LivePrompt, Append]:
        """A message that is going to be spoken, behind `target`; and what older turns need before it."""
        cursor = Cursor(target.next_position, target.top_position)
        live = LivePrompt(engine.spec, engine.tokenizer, cursor, fps, num_cached=target.num_tokens)
        system_prompt = context.system_prompt if context.state is None else None
        return live, live.begin(system_prompt, target.pending_ids, self._past(engine, context))

    def num_opening(self, engine: Any, context: Context) -> int:
        """Tokens that every conversation begins with."""
        empty = Context(None, (), context.system_prompt)
        with scratch_state(engine) as state:
            return self.render(engine, empty, state, (TextPart(""),), None).num_tokens

    def estimate(
        self,
        engine: Any,
        session_id: str,
        context: Context,
        parts: tuple[Part, ...],
        prompt: Prompt,
        settings: TurnSettings,
    ) -> Fit:
        """Whether the prompt would fit, other sessions' idle caches counted as room; takes none of them."""
        free_bytes = self.free_bytes()
        if free_bytes is not None:
            free_bytes += self.idle_bytes(session_id)
        return self._measure(engine, context, parts, prompt, settings, free_bytes)

    def fit(
        self,
        engine: Any,
        session_id: str,
        context: Context,
        parts: tuple[Part, ...],
        prompt: Prompt,
        settings: TurnSettings,
    ) -> Fit:
        """Whether the prompt fits; makes room at other sessions' cost where that is what it takes."""
        fit = self._measure(engine, context, parts, prompt, settings, self.free_bytes())
        if fit.lacks_memory:
            self.make_room(fit.num_bytes, session_id)
            fit = self._measure(engine, context, parts, prompt, settings, self.free_bytes())
        return fit

    def _measure(
        self,
        engine: Any,
        context: Context,
        parts: tuple[Part, ...],
        prompt: Prompt,
        settings: TurnSettings,
        free_bytes: int | None,
    ) -> Fit:
        def tokens_with(part: Part) -> int:
            empty = Context(None, (), context.system_prompt)
            with scratch_state(engine) as state:
                return self.render(engine, empty, state, (part,), None).num_tokens

        num_opening = tokens_with(TextPart(""))
        sizes = tuple(turn.num_tokens for turn in context.past)
        load = Load(context.num_cached, num_opening, sizes, parts, lambda part: tokens_with(part) - num_opening)
        return fit_turn(engine.spec, load, prompt, settings, free_bytes)


@contextmanager
def scratch_state(engine: Any) -> Iterator[Any]:
    """A state for looking at prompts or for a turn of nobody's; closed afterwards."""
    state = engine.new_state()
    try:
        yield state
    finally:
        state.close()
