"""A session's conversation on disk: kept as it goes, exported, taken in; knows no turn that is not over but one."""

import threading
from collections.abc import Callable
from pathlib import Path

from app.door import door
from app.errors import BadInput, DemoError
from app.media.limits import MediaLimits
from app.session.archive import Archive, to_json
from app.session.carry import read_zip, write_zip
from app.session.folder import SessionFolder
from app.session.history import History, Shelved
from app.session.turn import RunningTurn, files_of
from app.types.turn import FileInput, TurnInput

EXPORT = "conversation.zip"


class Keeping:
    """Owns nothing: it reads the history under the session's lock. `store(content)`: puts it on disk, None where
    nothing is kept; `running()`: the turn that is being answered."""

    def __init__(
        self,
        history: History,
        folder: SessionFolder,
        lock: threading.Lock,
        running: Callable[[], RunningTurn | None],
        store: Callable[[dict], None] | None,
    ) -> None:
        self._history, self._folder, self._lock = history, folder, lock
        self._running, self._store = running, store
        # One after the other, so that what is newer comes later.
        self._order = threading.Lock()

    @property
    def is_on(self) -> bool:
        return self._store is not None

    def keep(self) -> str:
        """Puts the conversation on disk as it is now; what went wrong in a sentence, "" for nothing."""
        if self._store is None:
            return ""
        with self._order:
            try:
                with door("keeping a conversation"):
                    self._store(to_json(self.archive(), self._folder.path))
            except DemoError as error:
                return error.message
        return ""

    def archive(self) -> Archive:
        """The conversation with the turn that is being answered, as if that had been interrupted before its reply."""
        with self._lock:
            turns, context, running = self._history.turns(), self._history.context, self._running()
            path = tuple(record.turn for record in self._history.records if record.turn in turns)
            if running is not None and running.errand is None and running.stored is not None:
                record = running.ended(running.interrupted(), None, "")
                turns[running.number] = Shelved(record, None, path[-1] if path else 0)
                path = (*path, running.number)
            return Archive(context.system_prompt, turns, path, self._history.settings, self._history.use_video_sound)

    def export(self) -> Path:
        """The conversation as a zip in its folder. Raises `BadInput` where nothing was said."""
        archive = self.archive()
        if not archive.turns:
            raise BadInput("There is nothing to export yet: say something first.")
        return write_zip(self._folder.path / EXPORT, archive, self._folder.path)

    def read(self, zip_path: Path, limits: MediaLimits, known: Callable) -> Archive:
        """What an uploaded zip holds, its files already in the folder. `known`: see `app.session.archive`. Raises
        `BadInput`, and then leaves nothing behind."""
        (file,) = files_of(self._folder.check(TurnInput((FileInput(zip_path),))))
        return read_zip(file.path, self._folder.path, limits, known)
