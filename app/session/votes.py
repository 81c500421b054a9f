"""Which voice was liked best, in the same SQLite file as the conversations; holds nothing of what was said."""

import csv
import io
import json
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.session.folder import StorageFailed
from app.session.store import BUSY_S, Who

_TABLE = """
CREATE TABLE IF NOT EXISTS votes (
    owner TEXT NOT NULL, visitor_hash BLOB NOT NULL, voted_s REAL NOT NULL, checkpoint TEXT NOT NULL,
    voices TEXT NOT NULL, chosen TEXT NOT NULL, is_blind INTEGER NOT NULL
) STRICT
"""
COLUMNS = ("time", "checkpoint", "voices", "chosen", "blind")
# A spreadsheet would take what begins so for a formula; voices have the names that their checkpoint gives them.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Vote:
    """`voted_s`: seconds since the epoch; `voices`: those that were compared, in the order in which they stood."""

    voted_s: float
    checkpoint: str
    voices: tuple[str, ...]
    chosen: str
    is_blind: bool


@dataclass(frozen=True)
class Standing:
    """A voice among the votes: liked best `num_wins` times of the `num_shown` that it was compared."""

    voice: str
    num_wins: int
    num_shown: int


class Votes:
    """Owns a connection to the file. Thread-safe. Raises `StorageFailed` where the disk refuses."""

    def __init__(self, path: Path | None) -> None:
        """`path`: None keeps the votes as long as the program runs."""
        self._lock = threading.Lock()
        self._file = sqlite3.connect(path or ":memory:", timeout=BUSY_S, check_same_thread=False, isolation_level=None)
        self._do(_TABLE)

    def add(self, who: Who, vote: Vote) -> None:
        voices = json.dumps(vote.voices, ensure_ascii=False)
        values = (who.owner, who.visitor_hash, vote.voted_s, vote.checkpoint, voices, vote.chosen, vote.is_blind)
        self._do("INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def of(self, who: Who) -> list[Vote]:
        """Those of this user, or without a login of this browser, the oldest first."""
        if not who.owner and not who.visitor_hash:
            return []
        rows = self._do(
            "SELECT voted_s, checkpoint, voices, chosen, is_blind FROM votes"
            " WHERE owner = ?1 AND (?1 <> '' OR visitor_hash = ?2) ORDER BY voted_s",
            (who.owner, who.visitor_hash),
        )
        return [
            Vote(voted_s, checkpoint, tuple(json.loads(voices)), chosen, bool(is_blind))
            for voted_s, checkpoint, voices, chosen, is_blind in rows
        ]

    def forget_before(self, epoch_s: float) -> None:
        self._do("DELETE FROM votes WHERE voted_s < ?", (epoch_s,))

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def _do(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:
        with self._lock:
            try:
                return self._file.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise StorageFailed(
                    f"The votes could not be read or kept on the server's disk ({error}): what is heard is not touched."
                ) from error


def standings(votes: Iterable[Vote], checkpoint: str) -> list[Standing]:
    """The voices of a checkpoint, the one that was liked best of its comparisons first."""
    wins: dict[str, int] = {}
    shown: dict[str, int] = {}
    for vote in votes:
        if vote.checkpoint != checkpoint:
            continue
        for voice in vote.voices:
            shown[voice] = shown.get(voice, 0) + 1
        wins[vote.chosen] = wins.get(vote.chosen, 0) + 1
    found = [Standing(voice, wins.get(voice, 0), number) for voice, number in shown.items()]
    return sorted(found, key=lambda one: (-one.num_wins / one.num_shown, -one.num_shown, one.voice))


def to_csv(votes: Iterable[Vote]) -> str:
    """A table with the header `COLUMNS`; times in UTC, voices parted by `|`."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for vote in votes:
        when = datetime.fromtimestamp(vote.voted_s, UTC).isoformat(timespec="seconds")
        names = (vote.checkpoint, "|".join(vote.voices), vote.chosen)
        writer.writerow((when, *map(_harmless, names), int(vote.is_blind)))
    return text.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
