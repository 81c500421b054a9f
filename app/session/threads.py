"""All threads that sessions use, in one place; knows no session.

- `prepare`, a few threads: copying and decoding a turn's media, rendering its prompt. Slow, may wait for the model.
- `finish`, one thread: writing a finished turn to disk and reporting its end. Apart from `prepare`, so that a reply's
  end never waits behind somebody's long video, and from the engine's thread, which must never wait for a disk.
- The engine's own thread (`app.engine`) calls back with events; nothing slow runs in it.
- The sweeper (`app.session.manager`) and the loader (`app.session.loading`) each own one more.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class SessionThreads:
    """Owns the two pools."""

    def __init__(self, num_prepare: int = 4) -> None:
        self._prepare = ThreadPoolExecutor(num_prepare, thread_name_prefix="prepare")
        self._finish = ThreadPoolExecutor(1, thread_name_prefix="finish")

    def prepare(self, work: Callable[[], None]) -> None:
        self._prepare.submit(work)

    def finish(self, work: Callable[[], None]) -> None:
        self._finish.submit(work)

    def close(self) -> None:
        """Returns when all work that was taken on is done."""
        self._prepare.shutdown(wait=True)
        self._finish.shutdown(wait=True)
