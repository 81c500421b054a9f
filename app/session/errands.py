"""What a session does besides turns, one at a time like them: it speaks a reply again, or a sentence of nobody's."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from app.errors import BadInput
from app.session.core import SessionCore
from app.session.history import History, size_of
from app.session.prompter import Context
from app.session.record import Take
from app.session.settings import checked_settings
from app.session.starting import Starting
from app.session.turn import RunningTurn
from app.types.events import Event, TurnFinished
from app.types.turn import TextPart

# What a sentence that belongs to no turn answers.
ASIDE = "Please read this aloud."
Settle = Callable[[History], None]


class Errand(Protocol):
    """`start` hands the run to the engine, or leaves in silence when it was ended meanwhile; raises what goes wrong.

    `finish` takes the engine's last event; it returns the one to be reported, and what is to be done to the history
    under the session's lock.
    """

    def start(self, turn: RunningTurn) -> None: ...

    def finish(self, turn: RunningTurn, event: Event) -> tuple[Event, Settle]: ...


class SpeakAgain:
    """Speaks the reply of a turn once more; the turn keeps the take."""

    def __init__(self, core: SessionCore, starting: Starting) -> None:
        self._core = core
        self._starting = starting

    def start(self, turn: RunningTurn) -> None:
        engine, prompter = _engine_that_speaks(self._core), self._core.tools.prompter
        settings = checked_settings(turn.settings, engine.spec, prompter.limits)
        context = self._core.context
        target = engine.new_state() if context.state is None else context.state
        try:
            prompt, end = prompter.render_again(engine, context, target, turn.number)
            turn.num_opening, turn.boundaries = prompter.num_opening(engine, context), prompt.boundaries
            past = next(past for past in context.past if past.number == turn.number)

            def submit(on_event: Callable[[Event], None]) -> Any:
                return engine.speak_again(
                    target, prompt, settings, turn.number, on_event, turn.submitted_at,
                    end=end, reply_ids=past.reply_ids, num_states=past.num_states,
                )  # fmt: skip

            self._starting.in_engine(turn, target, submit)
        finally:
            if target is not context.state and turn.state is not target:
                target.close()

    def finish(self, turn: RunningTurn, event: Event) -> tuple[Event, Settle]:
        take = None
        if isinstance(event, TurnFinished) and not turn.is_orphan:
            wav, trouble = self._write(turn)
            if wav is None:
                event = turn.failed(BadInput(trouble or "The voice said nothing: choose another voice or seed."))
            else:
                timings = turn.reply.timings(turn.number)
                take = Take(turn.reply.voice, timings.get("seed"), wav, timings)

        def settle(history: History) -> None:
            # What was written afresh for it is of use to the next turn.
            if not turn.is_orphan and (take is not None or size_of(turn.state) != turn.size_before):
                history.take_in(turn, take)

        return event, settle

    def _write(self, turn: RunningTurn) -> tuple[Path | None, str]:
        """The sound beside what the turn was before, or the sentence that tells why not."""
        spoken = turn.reply.samples()
        write_take = self._core.folder.write_take
        return (None, "") if spoken is None else self._core.stored(partial(write_take, turn.number, *spoken))


class SpeakAside:
    """Speaks the words of the settings; the conversation knows nothing of it."""

    def __init__(self, core: SessionCore, starting: Starting) -> None:
        self._core = core
        self._starting = starting

    def start(self, turn: RunningTurn) -> None:
        engine, prompter = _engine_that_speaks(self._core), self._core.tools.prompter
        settings = checked_settings(turn.settings, engine.spec, prompter.limits)
        parts, nothing = (TextPart(ASIDE),), Context(None, (), self._core.context.system_prompt)
        target = engine.new_state()
        try:
            prompt = prompter.render(engine, nothing, target, parts, settings.say)
            fit = prompter.fit(engine, self._core.session_id, nothing, parts, prompt, settings)
            if not fit.fits:
                raise fit.error()

            def submit(on_event: Callable[[Event], None]) -> Any:
                return engine.submit(target, prompt, settings, turn.number, on_event, turn.submitted_at)

            self._starting.in_engine(turn, target, submit)
        finally:
            if turn.state is not target:
                target.close()

    def finish(self, turn: RunningTurn, event: Event) -> tuple[Event, Settle]:
        return event, lambda history: None


def _engine_that_speaks(core: SessionCore) -> Any:
    engine = core.tools.loader.wait()
    if not engine.spec.has_talker:
        raise BadInput("This model writes and does not speak: start one that has a Talker.")
    return engine
