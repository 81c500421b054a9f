"""A conversation's live side between its sockets: the talk, and what waits to be sent; knows no WebSocket."""

import threading
from collections import deque
from collections.abc import Callable

from app.live.talk import Talk

# What may wait for a browser that does not read: some minutes of speech.
MAX_WAITING_BYTES = 16 << 20


class Room:
    """Owns a `Talk` and its outbox, which outlives a lost connection. Thread-safe.

    `attach` gives the outbox to one socket; a later one takes it over. `is_overfull`: nobody reads, so the connection
    is to be dropped and what waited is gone.
    """

    def __init__(self, make_talk: Callable[[Callable[[str | bytes], None]], Talk], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[str | bytes] = deque()
        self._num_bytes = 0
        self._wake: Callable[[], None] | None = None
        self._left_at: float | None = clock()
        self.is_overfull = False
        self.talk = make_talk(self.send)

    def send(self, message: str | bytes) -> None:
        """Never waits; from any thread."""
        with self._lock:
            self._waiting.append(message)
            self._num_bytes += len(message)
            if self._num_bytes > MAX_WAITING_BYTES:
                self._waiting.clear()
                self._num_bytes = 0
                self.is_overfull = True
            wake = self._wake
        if wake is not None:
            wake()

    def take(self) -> str | bytes | None:
        """The oldest that waits, if any: one by one, so that a lost connection takes none of the others along."""
        with self._lock:
            if not self._waiting:
                return None
            message = self._waiting.popleft()
            self._num_bytes -= len(message)
        return message

    def attach(self, wake: Callable[[], None]) -> None:
        """`wake` is called, from any thread, when there is something to take or another socket has come."""
        with self._lock:
            before, self._wake = self._wake, wake
            self._left_at = None
            self.is_overfull = False
        if before is not None:
            before()
        wake()

    def expect(self) -> None:
        """A socket is about to come: whatever the time since the last one, the room is not left."""
        with self._lock:
            if self._left_at is not None:
                self._left_at = self._clock()

    def is_held_by(self, wake: Callable[[], None]) -> bool:
        return self._wake is wake

    def detach(self, wake: Callable[[], None]) -> None:
        """The socket is gone; nothing happens where another one has come meanwhile."""
        with self._lock:
            if self._wake is not wake:
                return
            self._wake = None
            self._left_at = self._clock()
        self.talk.pause()

    def left_s(self) -> float:
        """Seconds since the last socket went; 0 while there is one."""
        with self._lock:
            return 0.0 if self._left_at is None else self._clock() - self._left_at
