"""From a turn that was taken on to the engine: copies, decodes, renders, hands over; knows nothing of its end."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from app.door import door
from app.errors import DemoError
from app.session.booking import Booking
from app.session.core import SessionCore
from app.session.history import size_of
from app.session.record import StoredFile
from app.session.settings import checked_settings
from app.session.turn import RunningTurn, files_of, guess_kind, kind_of
from app.types.events import Event
from app.types.prompt import Prompt
from app.types.turn import TextPart, TurnSettings


class Starting:
    """Brings the turns of one session to its engine. What goes wrong on the way is the turn's end."""

    def __init__(self, core: SessionCore, booking: Booking) -> None:
        self._core = core
        self._booking = booking

    def begin(self, turn: RunningTurn) -> None:
        """Goes on in a thread of its own."""
        self._core.tools.threads.prepare(partial(self._prepare, turn))

    def in_engine(self, turn: RunningTurn, target: Any, submit: Callable[..., Any]) -> None:
        """Hands the turn over, unless it was ended meanwhile. `submit(on_event)` gives its handle."""
        with self._core.lock:
            if turn.is_stopped:
                return
            turn.state, turn.size_before = target, size_of(target)
            turn.handle = submit(self._booking.listener_of(turn))

    def _prepare(self, turn: RunningTurn) -> None:
        try:
            with door("preparing a turn", is_moot=lambda: turn.is_stopped):
                if turn.errand is None:
                    self._start(turn)
                else:
                    turn.errand.start(turn)
        except DemoError as error:
            if not turn.is_stopped:  # else whoever stopped it ends it
                self._booking.end_early(turn, turn.failed(error))

    def _start(self, turn: RunningTurn) -> None:
        """Leaves in silence when the turn was ended meanwhile."""
        core = self._core
        engine, prompter = core.tools.loader.wait(), core.tools.prompter
        settings = checked_settings(turn.settings, engine.spec, prompter.limits)
        start_s = turn.elapsed_s()
        admitted = core.folder.admit(turn.number, turn.turn_input)
        stored = replace(admitted, contents=(*turn.kept, *admitted.contents))
        with core.lock:
            if turn.is_stopped:
                core.folder.forget({turn.number})
                return
            turn.stored = stored
            turn.files = tuple(StoredFile(file.path, file.kind or guess_kind(file.path)) for file in files_of(stored))
        parts = prompter.decode(engine, stored)
        turn.note_stage("decode", start_s)
        media = [part for part in parts if not isinstance(part, TextPart)]
        with core.lock:
            turn.files = tuple(
                StoredFile(file.path, kind_of(part)) for file, part in zip(files_of(stored), media, strict=True)
            )
            context = core.proved(engine)
        start_s = turn.elapsed_s()
        target = engine.new_state() if context.state is None else context.state
        try:
            prompt = prompter.render(engine, context, target, parts, settings.say)
            fit = prompter.fit(engine, core.session_id, context, parts, prompt, settings)
            if not fit.fits:
                raise fit.error()
            turn.num_opening, turn.boundaries = fit.num_opening, prompt.boundaries
            turn.note_stage("render", start_s)
            self._hand_over(engine, turn, target, prompt, fit.limited(settings))
        finally:
            if target is not context.state and turn.state is not target:
                target.close()
        # Whatever ends the program now, the message is there.
        core.keep()

    def _hand_over(self, engine: Any, turn: RunningTurn, target: Any, prompt: Prompt, settings: TurnSettings) -> None:
        def submit(on_event: Callable[[Event], None]) -> Any:
            return engine.submit(target, prompt, settings, turn.number, on_event, turn.submitted_at)

        self.in_engine(turn, target, submit)
