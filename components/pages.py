"""What is remembered of each open page: which session it shows and how often it has begun to speak; no conversation."""

import threading
from dataclasses import dataclass, replace

from components.compare import Compared

NUM_REMEMBERED = 8


@dataclass(frozen=True)
class PageState:
    """Which session a page shows and how often it has begun to speak. `turns`: the turn of each late generation;
    `editing`: the turn whose place the message in the composer takes, 0 for none; `draft`: what stood in the composer
    before; `visitor`: what the browser holds for all its tabs; `compared`: the voices that are being compared."""

    session_id: str = ""
    generation: int = 0
    turns: tuple[tuple[int, int], ...] = ()
    editing: int = 0
    draft: str = ""
    visitor: str = ""
    compared: Compared | None = None

    def begin(self, turn: int) -> "PageState":
        generation = self.generation + 1
        turns = (*self.turns, (generation, turn))[-NUM_REMEMBERED:]
        return replace(self, generation=generation, turns=turns, editing=0, draft="")


class OpenPages:
    """Which session the page of each Gradio connection shows, since a leaving page says only who it is. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, str] = {}

    def hold(self, connection: str | None, session_id: str) -> str | None:
        """Returns the session that the connection showed before, if any."""
        with self._lock:
            previous = self._sessions.get(connection or "")
            self._sessions[connection or ""] = session_id
        return previous

    def shown(self, connection: str | None) -> str | None:
        with self._lock:
            return self._sessions.get(connection or "")

    def let_go(self, connection: str | None) -> str | None:
        with self._lock:
            return self._sessions.pop(connection or "", None)
