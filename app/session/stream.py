"""The way of a turn's events to whoever listens; knows nothing of sessions or models."""

import queue
import threading
from collections.abc import Iterator

from app.types.events import TERMINAL, Event


class TurnStream:
    """The events of one turn, in order, for one listener; any thread may put, any thread may get."""

    def __init__(self, turn: int) -> None:
        self.turn = turn
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._exhausted = threading.Event()

    def put(self, event: Event) -> None:
        self._queue.put(event)

    def get(self, timeout_s: float | None = None) -> Event | None:
        """The next event; None when none came within `timeout_s` (None: no limit) or the terminal one was taken."""
        if self._exhausted.is_set():
            return None
        try:
            event = self._queue.get(timeout=timeout_s) if timeout_s != 0 else self._queue.get_nowait()
        except queue.Empty:
            return None
        if isinstance(event, TERMINAL):
            self._exhausted.set()
        return event

    @property
    def is_exhausted(self) -> bool:
        """The terminal event was taken; nothing follows."""
        return self._exhausted.is_set()

    def __iter__(self) -> Iterator[Event]:
        while (event := self.get()) is not None:
            yield event
