"""What the parts of one session work on: its lock, the turn that has the floor, history and folder; knows no engine
step and no event."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.door import door
from app.errors import DemoError, SessionBusy, SessionGone
from app.session.folder import SessionFolder
from app.session.history import History
from app.session.keeping import Keeping
from app.session.loading import EngineLoader
from app.session.prompter import Context, Prompter
from app.session.settings import checked_system_prompt
from app.session.threads import SessionThreads
from app.session.turn import RunningTurn
from app.types.turn import TurnInput, TurnSettings


@dataclass(frozen=True)
class SessionTools:
    """What all sessions share. `keep(session_id, content)`: puts a conversation on disk; None where none is kept."""

    loader: EngineLoader
    prompter: Prompter
    threads: SessionThreads
    keep: Callable[[str, dict], None] | None = None


class SessionCore:
    """Owns the lock of a session and what it guards: `running`, the turn that has the floor, the history, and the rest
    that is public here. `num_turns`: numbers that were given, none twice; `is_unproved`: the history is of another day,
    and perhaps of another checkpoint; `last_used`: when the newest turn began."""

    def __init__(
        self,
        session_id: str,
        folder: SessionFolder,
        tools: SessionTools,
        system_prompt: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session_id = session_id
        self.folder = folder
        self.tools = tools
        self.lock = threading.Lock()
        self.running: RunningTurn | None = None
        self.num_turns = 0
        self.last_used = clock()
        self.is_closed = False
        self.is_unproved = False
        self.history = History(system_prompt)
        store = None if tools.keep is None else partial(tools.keep, session_id)
        self.keeping = Keeping(self.history, folder, self.lock, lambda: self.running, store)
        self._clock = clock
        self._changed = threading.Condition(self.lock)

    # -- under the lock ----------------------------------------------------------------------------------------------

    def refuse_if_busy(self, deed: str) -> None:
        if self.running is not None:
            raise SessionBusy(f"A reply is still being made: wait for its end or stop it, then {deed}.")

    def new_turn(self, turn_input: TurnInput, settings: TurnSettings, system_prompt: str | None) -> RunningTurn:
        """Gives the floor to a new message."""
        self._refuse_if_closed()
        if self.running is not None:
            what = "You are being listened to" if self.running.is_listening else "A reply is still being made"
            raise SessionBusy(f"{what}: wait for its end or stop it, then send again.")
        if system_prompt is not None:
            self.history.take_system_prompt(system_prompt)
        self.num_turns += 1
        return self._give_floor(RunningTurn(self.num_turns, turn_input, settings, self._clock))

    def new_errand(self, number: int, settings: TurnSettings, errand: Any) -> RunningTurn:
        """Gives the floor to an errand (`app.session.errands`); `number`: of the turn that it is about, 0 for none."""
        self._refuse_if_closed()
        turn = RunningTurn(number, TurnInput(()), settings, self._clock)
        turn.errand = errand
        return self._give_floor(turn)

    def _refuse_if_closed(self) -> None:
        if self.is_closed:
            raise SessionGone("This conversation has expired: reload the page to begin a new one.")

    def _give_floor(self, turn: RunningTurn) -> RunningTurn:
        assert self.running is None, self.running
        self.running, self.last_used = turn, turn.submitted_at
        return turn

    def give_up_floor(self) -> None:
        self.running = None
        self._changed.notify_all()

    def wait_until(self, is_so: Callable[[], bool], timeout_s: float) -> bool:
        """`is_so` is asked whenever a turn gives up the floor."""
        return self._changed.wait_for(is_so, timeout_s)

    def proved(self, engine: Any) -> Context:
        """The context as this checkpoint can read it."""
        if self.is_unproved:
            self.is_unproved = False
            self.history.prove(engine.reply_ids)
        return self.history.context

    # -- without it --------------------------------------------------------------------------------------------------

    @property
    def context(self) -> Context:
        """Waits until the checkpoint is loaded."""
        engine = self.tools.loader.wait()
        with self.lock:
            return self.proved(engine)

    def checked(self, system_prompt: str | None) -> str | None:
        """Raises `BadInput` for one that is too long."""
        return None if system_prompt is None else checked_system_prompt(system_prompt, self.tools.prompter.limits)

    def keep(self) -> str:
        """Puts the conversation on disk; what went wrong in a sentence, "" for nothing."""
        return "" if self.is_closed else self.keeping.keep()

    def stored(self, write: Callable[[], Path | None]) -> tuple[Path | None, str]:
        """What `write` gives, and the sentence that tells why nothing was written."""
        try:
            with door("storing a turn"):
                return write(), ""
        except DemoError as error:
            return None, error.message
