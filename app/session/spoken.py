"""The messages of a session that are spoken live: begins to listen, settles what was said; knows no sample of it."""

from collections.abc import Callable
from functools import partial

import numpy as np

from app.door import door
from app.errors import DemoError
from app.session.booking import Booking
from app.session.core import SessionCore
from app.session.history import size_of
from app.session.listening import Listening
from app.session.record import StoredFile
from app.session.settings import checked_settings
from app.session.stream import TurnStream
from app.session.turn import RunningTurn
from app.types.events import Event
from app.types.turn import FileInput, TurnInput, TurnSettings


class SpokenMessages:
    """Owns the message that a session is listening to, if there is one."""

    def __init__(self, core: SessionCore, booking: Booking) -> None:
        self._core = core
        self._booking = booking
        self._listening: Listening | None = None

    def listen(
        self, settings: TurnSettings, on_fed: Callable[[int], None], system_prompt: str | None, fps: float | None
    ) -> Listening:
        """See `Session.listen`."""
        core = self._core
        engine, prompter = core.tools.loader.wait(), core.tools.prompter
        settings = checked_settings(settings, engine.spec, prompter.limits)
        system_prompt = core.checked(system_prompt)
        with core.lock:
            turn = core.new_turn(TurnInput(()), settings, system_prompt)
            turn.is_listening = True
            context = core.proved(engine)
        target = engine.new_state() if context.state is None else context.state
        try:
            with door("listening"):
                turn.num_opening = prompter.num_opening(engine, context)
                live, opening = prompter.begin_live(engine, context, target, fps)
                turn.boundaries = opening.boundaries
        except DemoError:
            if target is not context.state:
                target.close()
            self.forget(turn)
            raise
        turn.state, turn.size_before = target, size_of(target)
        listening = Listening(self, turn, engine, live, opening, on_fed, fps)
        with core.lock:
            self._listening = listening
        return listening

    def cancel(self) -> None:
        """What is being said now is no message."""
        listening = self._listening
        if listening is not None:
            listening.cancel()

    def listener_of(self, turn: RunningTurn) -> Callable[[Event], None]:
        return self._booking.listener_of(turn)

    def settle(
        self, turn: RunningTurn, samples: np.ndarray, sample_rate: int, write_clip: Callable[..., None] | None
    ) -> TurnStream:
        """The message is over and `turn` answers it. `write_clip`: where there were pictures too."""
        core = self._core
        kind = "audio" if write_clip is None else "video"
        path, _ = core.stored(partial(core.folder.write_said, turn.number, samples, sample_rate, write_clip))
        with core.lock:
            if path is not None:
                turn.files = (StoredFile(path, kind),)
                turn.stored = TurnInput((FileInput(path, kind),))
            turn.is_open, core.running, self._listening = False, turn, None
            event = turn.end_waits
        core.tools.threads.finish(core.keep)
        if event is not None:
            self._booking.finish_soon(turn, event)
        return turn.stream

    def forget(self, turn: RunningTurn) -> None:
        """What was being said was no message; its part of the state is taken back already."""
        core = self._core
        with core.lock:
            state = turn.state
            if core.running is turn:
                self._listening = None
                core.give_up_floor()
            is_needed = state is None or state is core.history.context.state
        if not is_needed:
            state.close()
