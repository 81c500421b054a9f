"""A message that is appended to a conversation while it is still being spoken; knows no sound and no other session."""

import threading
from collections import deque
from collections.abc import Callable, Iterator

from app.door import door
from app.engine.state import EngineState, Mark
from app.engine.talker import Talker
from app.engine.thinker import Thinker
from app.errors import DemoError
from app.types.prompt import Append, Segment


class Feed:
    """Owns the message's part of `state` until a turn answers it or it is cancelled.

    `put` and `cancel` may be called from any thread; all else is the worker's. `on_fed(num_tokens)` is called in the
    worker thread with the tokens of the message that the cache holds by now, and must be quick.
    """

    def __init__(
        self,
        thinker: Thinker,
        talker: Talker | None,
        state: EngineState,
        wake: Callable[[], None],
        on_fed: Callable[[int], None],
        opening: Mark | None = None,
    ) -> None:
        self._thinker = thinker
        self._talker = talker
        self._state = state
        self._wake = wake
        self._on_fed = on_fed
        self._queue: deque[Append] = deque()
        self._opening = opening
        # Where each segment begins that was appended.
        self._starts: list[Mark] = []
        self._steps = self._work()
        self._cancelled = threading.Event()
        self._over = threading.Event()
        self.is_taken = False
        self.error: DemoError | None = None

    def put(self, append: Append) -> None:
        self._queue.append(append)
        self._wake()

    def cancel(self) -> None:
        """Takes the whole message back. Does nothing once a turn answers it."""
        self._cancelled.set()
        self._wake()

    def wait_over(self, timeout_s: float | None = None) -> bool:
        """True once the state is nobody's any more: the message was answered or taken back."""
        return self._over.wait(timeout_s)

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    # What follows is the worker thread's.

    def take(self) -> None:
        """A turn answers it from now on. What that leaves behind may have to be taken back, even where nothing was
        appended before."""
        self.is_taken = True
        if self._opening is None:
            self._opening = self._state.mark()

    @property
    def opening(self) -> Mark:
        """Where the state stood before the message."""
        return self._state.mark() if self._opening is None else self._opening

    @property
    def has_work(self) -> bool:
        """There is something to do now, and no turn that does it."""
        return not self.is_taken and not self.is_over and (self._cancelled.is_set() or bool(self._queue))

    def advance(self) -> None:
        """One unit of work. What goes wrong is kept for the turn that will answer."""
        if self._cancelled.is_set():
            self.take_back()
            self.end()
            return
        try:
            with door("listening"):
                next(self._steps)
        except DemoError as error:
            self.error = error
            self._queue.clear()
            self.take_back()
            self._steps = self._work()

    def drain(self) -> Iterator[None]:
        """All that was put, unit by unit."""
        while self._queue and self.error is None:
            self.advance()
            yield None
        if self.error is not None:
            raise self.error

    def take_back(self) -> None:
        """The state as it was before the message."""
        if self._opening is not None:
            self._state.trim(self._opening)
            self._opening = None
            self._starts.clear()

    def end(self) -> None:
        self._over.set()

    def _work(self) -> Iterator[None]:
        """Yields after every unit; goes on for ever."""
        if self._opening is not None:
            self._state.trim(self._opening)
        while True:
            if not self._queue or self.error is not None:
                self._queue.clear()
                yield
                continue
            # It stays in the queue until it is done, so that nobody takes a half-done one for all.
            append = self._queue[0]
            if append.num_taken_back:
                start = len(self._starts) - append.num_taken_back
                self._state.trim(self._starts[start])
                del self._starts[start:]
            for segment in append.segments:
                yield from self._append(segment)
            self._queue.popleft()
            self._on_fed(self._state.num_tokens - self.opening.num_tokens)
            yield

    def _append(self, segment: Segment) -> Iterator[None]:
        state = self._state
        if self._opening is None:
            self._opening = state.mark()
        state.pending_ids = ()  # the message closes the last reply
        encoded = []
        for piece in self._thinker.encode(segment):
            encoded.append(piece)
            self._thinker.wait()
            yield
        self._starts.append(state.mark())
        for _ in self._thinker.prefill(state, segment, encoded):
            self._thinker.wait()
            yield
        if self._talker is not None:
            for _ in self._talker.read(state, state.num_tokens):
                self._thinker.wait()
                yield
