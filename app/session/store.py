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
    id TEXT PRIMARY KEY, secret_hash BLOB NOT NULL, owner TEXT NOT NULL, visitor_hash BLOB NOT NULL,
    title TEXT NOT NULL, is_named INTEGER NOT NULL DEFAULT 0, head TEXT NOT NULL, used_s REAL NOT NULL
) STRICT;
CREATE TABLE turns (
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE, number INTEGER NOT NULL, said TEXT NOT NULL,
    content TEXT NOT NULL, PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;
"""


_OF_WHOM = "owner = :owner AND (:owner <> '' OR visitor_hash = :visitor)"
MAX_TITLE = 80


def _title(content: dict) -> str:
    """What was said first, or what was sent."""
    for turn in sorted(content["turns"], key=lambda turn: turn["number"]):
        for words in (turn["text"], *(Path(file["file"]).name for file in turn["files"])):
            if words.strip():
                return " ".join(words.split())[:MAX_TITLE]
    return ""


@dataclass(frozen=True)
class Kept:
    """`content`: as `app.session.archive.to_json` gives it."""

    session_id: str
    content: dict


@dataclass(frozen=True)
class Listed:
    """A conversation in the list of those who had it. `used_s`: when it was last written, seconds since the epoch."""

    session_id: str
    title: str
    used_s: float
    num_turns: int


@dataclass(frozen=True)
class Who:
    """Whose conversations: those of the user `owner` where people log in, else of the browser with this hash; b"" is
    nobody."""

    owner: str
    visitor_hash: bytes


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
        self._owners: dict[str, tuple[bytes, Who]] = {}
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

    def begin(self, session_id: str, secret_hash: bytes, who: Who) -> None:
        """Whose a session is; nothing is written before something was said."""
        with self._lock:
            self._owners[session_id] = (secret_hash, who)

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
            secret_hash, who = self._owners[session_id]
            values = (session_id, secret_hash, who.owner, who.visitor_hash, _title(content), head, self._clock())
            with self._transaction():
                self._file.execute(
                    "INSERT INTO sessions (id, secret_hash, owner, visitor_hash, title, head, used_s)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET head = excluded.head,"
                    " used_s = excluded.used_s, title = CASE WHEN is_named THEN title ELSE excluded.title END",
                    values,
                )
                gone = [(session_id, number) for number in before if number not in turns]
                self._file.executemany("DELETE FROM turns WHERE session = ? AND number = ?", gone)
                said = {turn["number"]: f"{turn['text']}\n{turn['reply']}" for turn in content["turns"]}
                changed = [
                    (session_id, number, said[number], text)
                    for number, text in turns.items()
                    if before.get(number) != text
                ]
                self._file.executemany("INSERT OR REPLACE INTO turns VALUES (?, ?, ?, ?)", changed)
            self._written[session_id] = turns

    def find(self, secret_hash: bytes, owner: str) -> Kept | None:
        """The conversation of that secret, if it is this owner's."""
        with self._lock, self._reading():
            row = self._file.execute(
                "SELECT id, visitor_hash, head FROM sessions WHERE secret_hash = ? AND owner = ?", (secret_hash, owner)
            ).fetchone()
            if row is None:
                return None
            session_id, visitor_hash, head = row
            rows = self._file.execute(
                "SELECT number, content FROM turns WHERE session = ? ORDER BY number", (session_id,)
            ).fetchall()
        turns = dict(rows)
        with self._lock:
            self._owners[session_id] = (secret_hash, Who(owner, visitor_hash))
            self._written[session_id] = turns
        return Kept(session_id, json.loads(head) | {"turns": [json.loads(text) for text in turns.values()]})

    def listed(self, who: Who, words: str = "") -> list[Listed]:
        """Their conversations, the last used first; with `words` those in whose title or turns they occur."""
        if not who.owner and not who.visitor_hash:
            return []
        like = "%" + "".join(f"\\{one}" if one in "\\%_" else one for one in words.strip()) + "%"
        with self._lock, self._reading():
            rows = self._file.execute(
                "SELECT id, title, used_s, (SELECT count(*) FROM turns WHERE session = id) FROM sessions"
                f" WHERE {_OF_WHOM} AND (title LIKE :like ESCAPE '\\' OR EXISTS"
                " (SELECT 1 FROM turns WHERE session = id AND said LIKE :like ESCAPE '\\')) ORDER BY used_s DESC",
                {"owner": who.owner, "visitor": who.visitor_hash, "like": like},
            ).fetchall()
        return [Listed(*row) for row in rows]

    def owns(self, session_id: str, who: Who) -> bool:
        with self._lock, self._reading():
            values = {"id": session_id, "owner": who.owner, "visitor": who.visitor_hash}
            row = self._file.execute(f"SELECT 1 FROM sessions WHERE id = :id AND {_OF_WHOM}", values).fetchone()
        return row is not None and bool(who.owner or who.visitor_hash)

    def rename(self, session_id: str, title: str) -> None:
        with self._lock, self._transaction():
            self._file.execute("UPDATE sessions SET title = ?, is_named = 1 WHERE id = ?", (title, session_id))

    def rekey(self, session_id: str, secret_hash: bytes, who: Who) -> None:
        """Another secret opens it from now on."""
        with self._lock:
            if session_id in self._owners:
                self._owners[session_id] = (secret_hash, who)
            with self._transaction():
                self._file.execute("UPDATE sessions SET secret_hash = ? WHERE id = ?", (secret_hash, session_id))

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
