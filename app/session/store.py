"""Conversations on disk, in one SQLite file: what was said outlives the program; knows no session and no file beside.

Only finished things are in it, so whatever stops the program, each turn is there whole or not at all.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.errors import BadConfig
from app.session.folder import StorageFailed

VERSION = 1
BUSY_S = 5.0
_TABLES = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, secret_hash BLOB NOT NULL, owner TEXT NOT NULL, head TEXT NOT NULL, used_s REAL NOT NULL
) STRICT;
CREATE TABLE turns (
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE, number INTEGER NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Kept:
    """`content`: as `app.session.archive.to_json` gives it."""

    session_id: str
    content: dict


class Store:
    """Owns the file. Thread-safe; every write is one transaction. Raises `StorageFailed` where the disk refuses.

    `clock`: seconds since the epoch.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Raises `BadConfig` for a file that is damaged or of another version; it is left as it is."""
        self._path, self._clock = path, clock
        self._lock = threading.Lock()
        # What the file has of each session: its turns as they were written.
        self._written: dict[str, dict[int, str]] = {}
        self._owners: dict[str, tuple[bytes, str]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False, isolation_level=None)
            path.chmod(0o600)
            self._file.execute("PRAGMA foreign_keys = ON")
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = NORMAL")
            (version,) = self._file.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._file.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
                version = VERSION
            (state,) = self._file.execute("PRAGMA quick_check(1)").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise BadConfig(
                f"{path.name} in the data folder cannot be used ({error}): make it writable, or move it away to begin"
                " without the conversations in it."
            ) from error
        if version != VERSION or state != "ok":
            raise BadConfig(
                f"{path.name} in the data folder is damaged or of another version: move it away to begin without the"
                " conversations in it."
            )

    def begin(self, session_id: str, secret_hash: bytes, owner: str) -> None:
        """Whose a session is; nothing is written before something was said."""
        with self._lock:
            self._owners[session_id] = (secret_hash, owner)

    def save(self, session_id: str, content: dict) -> None:
        """What a conversation is now. Only what changed is written; without turns it is forgotten."""
        turns = {turn["number"]: json.dumps(turn, ensure_ascii=False) for turn in content["turns"]}
        if not turns:
            self.forget(session_id)
            return
        head = json.dumps({key: value for key, value in content.items() if key != "turns"}, ensure_ascii=False)
        with self._lock:
            if session_id not in self._owners:
                return
            before = self._written.get(session_id, {})
            with self._transaction():
                self._file.execute(
                    "INSERT INTO sessions VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT (id) DO UPDATE SET head = excluded.head, used_s = excluded.used_s",
                    (session_id, *self._owners[session_id], head, self._clock()),
                )
                gone = [(session_id, number) for number in before if number not in turns]
                self._file.executemany("DELETE FROM turns WHERE session = ? AND number = ?", gone)
                changed = [(session_id, number, text) for number, text in turns.items() if before.get(number) != text]
                self._file.executemany("INSERT OR REPLACE INTO turns VALUES (?, ?, ?)", changed)
            self._written[session_id] = turns

    def find(self, secret_hash: bytes, owner: str) -> Kept | None:
        """The conversation of that secret, if it is this owner's."""
        with self._lock, self._reading():
            row = self._file.execute(
                "SELECT id, head FROM sessions WHERE secret_hash = ? AND owner = ?", (secret_hash, owner)
            ).fetchone()
            if row is None:
                return None
            session_id, head = row
            rows = self._file.execute(
                "SELECT number, content FROM turns WHERE session = ? ORDER BY number", (session_id,)
            ).fetchall()
        turns = dict(rows)
        with self._lock:
            self._owners[session_id] = (secret_hash, owner)
            self._written[session_id] = turns
        return Kept(session_id, json.loads(head) | {"turns": [json.loads(text) for text in turns.values()]})

    def forget(self, session_id: str) -> None:
        with self._lock:
            self._written.pop(session_id, None)
            with self._transaction():
                self._file.execute("DELETE FROM sessions WHERE id = ?", (session_id,))

    def release(self, session_id: str) -> None:
        """The session rests: nothing of it is held in memory any more."""
        with self._lock:
            self._written.pop(session_id, None)
            self._owners.pop(session_id, None)

    def sessions(self) -> list[tuple[str, float]]:
        """Ids and when they were last written, the longest unused first."""
        with self._lock, self._reading():
            return self._file.execute("SELECT id, used_s FROM sessions ORDER BY used_s").fetchall()

    def close(self) -> None:
        with self._lock:
            self._file.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._reading():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageFailed(
                f"The conversation could not be kept on the server's disk ({error}): it goes on, but will be gone when"
                " the program ends."
            ) from error
