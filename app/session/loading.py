"""Loads the engine beside everything else, so that the page is there at once; knows not how an engine is made."""

import threading
from collections.abc import Callable
from typing import Any

from app.door import door
from app.errors import DemoError

CLOSE_S = 10.0

Progress = Callable[[str, float], None]


class EngineLoader:
    """Owns the engine: loads it in a thread of its own, hands it out, closes it.

    `over` is set when loading ended, well or not; `failure` then tells.
    """

    def __init__(self, load: Callable[[Progress], Any]) -> None:
        self.over = threading.Event()
        self.failure: DemoError | None = None
        self.progress: tuple[str, float] = ("start", 0.0)
        self._engine: Any = None
        self._load = load
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with door("loading the checkpoint"):
                engine = self._load(self._note)
        except DemoError as error:
            self._end(None, error)
        else:
            self._end(engine, None)

    def _end(self, engine: Any, failure: DemoError | None) -> None:
        with self._lock:
            if self.over.is_set():  # closed meanwhile
                unwanted = engine
            else:
                unwanted, self._engine, self.failure = None, engine, failure
                self.progress = ("failed", 1.0) if failure else ("ready", 1.0)
                self.over.set()
        if unwanted is not None:
            unwanted.close()

    def _note(self, stage: str, share: float) -> None:
        if self.over.is_set():
            raise DemoError("The program is being closed: start it again.")
        self.progress = (stage, share)

    @property
    def engine(self) -> Any:
        """The engine if it is there already, else None."""
        return self._engine

    def wait(self) -> Any:
        """The engine, once it is loaded; raises what loading failed with."""
        self.over.wait()
        if self.failure is not None:
            raise self.failure
        return self._engine

    def close(self) -> None:
        """A load that still runs is broken off at its next step; what comes of it all the same is let go at once."""
        self._end(None, DemoError("The program is being closed: start it again."))
        if self._engine is not None:
            self._engine.close()
        # Native code that still loads while the interpreter ends would abort the process. A download can take longer.
        self._thread.join(CLOSE_S)
