"""Keeps all sessions: creates, finds by secret, expires, holds the memory budget; knows no page and no model."""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from app.door import door
from app.errors import DemoError, SessionBusy, SessionGone
from app.session.session import Session
from app.session.store import Listed, Store, Who


@dataclass(frozen=True)
class Opened:
    """What a page gets: `secret` is for the browser to hold, `resumed` says that the conversation was there before."""

    session_id: str
    secret: str
    resumed: bool


@dataclass
class _Entry:
    """`left_at`: when its page left; None while a page holds it."""

    session: Session
    secret_hash: bytes
    owner: str
    left_at: float | None = None


class SessionManager:
    """Owns every session. Thread-safe; `clock` in seconds decides about expiry, the sweeper only looks at it."""

    def __init__(
        self,
        create: Callable[[str, dict | None], Session],
        keep_s: float,
        clock: Callable[[], float],
        resume_wait_s: float = 1.5,
        sweep_every_s: float | None = None,
        store: Store | None = None,
    ) -> None:
        """`create(session_id, content)`: a session, with what was kept of it where that is not None; `store`: where
        conversations outlive their page and the program, None where they end with their page."""
        self._store = store
        self._create = create
        self._keep_s = keep_s
        self._clock = clock
        self._resume_wait_s = resume_wait_s
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._entries: dict[str, _Entry] = {}
        self._is_closed = threading.Event()
        self._sweep_every_s = sweep_every_s if sweep_every_s is not None else min(max(keep_s / 4, 0.05), 5.0)
        self._sweeper = threading.Thread(target=self._sweep_for_ever, name="sweep", daemon=True)
        self._sweeper.start()

    def open(self, secret: str | None, owner: str, visitor: str = "") -> Opened:
        """The session of that secret if it is this owner's, lives still and no page holds it; else a new one.

        A reloaded page may come back before the server was told that it left; hence a secret that is still held is
        waited for, `resume_wait_s` at most. A second tab with a copied secret waits as long and gets its own session.
        `visitor`: a secret that all tabs of a browser hold, for the list of its conversations.
        """
        if secret:
            entry = self._claim(_hash(secret), owner)
            if entry is not None:
                entry.session.wait_idle(self._resume_wait_s)
                return Opened(entry.session.session_id, secret, True)
            kept = self._restored(_hash(secret), owner)
            if kept is not None:
                return Opened(kept, secret, True)
        session_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        session = self._create(session_id, None)
        if self._store is not None:
            self._store.begin(session_id, _hash(secret), who_of(owner, visitor))
        with self._lock:
            self._entries[session_id] = _Entry(session, _hash(secret), owner)
        return Opened(session_id, secret, False)

    def listed(self, owner: str, visitor: str, words: str) -> list[Listed]:
        """The conversations of this user, or browser, that are kept."""
        return [] if self._store is None else self._store.listed(who_of(owner, visitor), words)

    def choose(self, session_id: str, owner: str, visitor: str) -> Opened:
        """Opens a conversation of the list, which gets another secret. Raises `SessionGone` for one that is not theirs,
        `SessionBusy` for one that another page holds."""
        who = self._free_of(session_id, owner, visitor)
        secret = secrets.token_urlsafe(32)
        self._store.rekey(session_id, _hash(secret), who)
        with self._lock:
            entry = self._entries.get(session_id)
            if entry is not None:
                entry.secret_hash, entry.left_at = _hash(secret), None
                return Opened(session_id, secret, True)
        if self._restored(_hash(secret), owner) is None:
            raise SessionGone("This conversation is damaged or gone: choose another one.")
        return Opened(session_id, secret, True)

    def rename(self, session_id: str, owner: str, visitor: str, title: str) -> None:
        """Raises `SessionGone` for one that is not theirs."""
        if self._store is None or not self._store.owns(session_id, who_of(owner, visitor)):
            raise SessionGone("There is no such conversation any more: choose another one.")
        self._store.rename(session_id, title)

    def delete(self, session_id: str, owner: str, visitor: str) -> None:
        """Raises what `choose` raises."""
        self._free_of(session_id, owner, visitor)
        self.close_one(session_id)
        self._store.forget(session_id)

    def _free_of(self, session_id: str, owner: str, visitor: str) -> Who:
        """Whose it is, if it is theirs and no page holds it."""
        who = who_of(owner, visitor)
        if self._store is None or not self._store.owns(session_id, who):
            raise SessionGone("There is no such conversation any more: choose another one.")
        with self._lock:
            entry = self._entries.get(session_id)
            if entry is not None and entry.left_at is None:
                raise SessionBusy("This conversation is open in another tab: go on there, or close that tab first.")
        return who

    def _restored(self, secret_hash: bytes, owner: str) -> str | None:
        """The id of a session that lives no more and was kept."""
        found = None if self._store is None else self._store.find(secret_hash, owner)
        if found is None:
            return None
        with self._lock:
            # Another page holds it, and that one has waited long enough.
            if found.session_id in self._entries:
                return None
        try:
            session = self._create(found.session_id, found.content)
        except DemoError:
            # Damaged: it stays where it is, and the page begins anew.
            return None
        with self._lock:
            if found.session_id in self._entries:
                return None
            self._entries[found.session_id] = _Entry(session, secret_hash, owner)
        return found.session_id

    def _claim(self, secret_hash: bytes, owner: str) -> _Entry | None:
        with self._left:
            known = (one for one in self._entries.values() if hmac.compare_digest(one.secret_hash, secret_hash))
            entry = next(known, None)
            if entry is None or entry.owner != owner:
                return None
            self._left.wait_for(lambda: entry.left_at is not None, self._resume_wait_s)
            is_there = self._entries.get(entry.session.session_id) is entry
            if not is_there or entry.left_at is None or self._is_expired(entry):
                return None
            entry.left_at = None
            return entry

    def _is_expired(self, entry: _Entry) -> bool:
        return entry.left_at is not None and self._clock() - entry.left_at >= self._keep_s

    def get(self, session_id: str) -> Session:
        with self._lock:
            entry = self._entries.get(session_id)
        if entry is None:
            raise SessionGone("This conversation has expired: reload the page to begin a new one.")
        return entry.session

    def use(self, session_id: str) -> Session:
        """The session, for a new turn: a page that seemed to have left is there after all, and its time begins anew."""
        session = self.get(session_id)
        with self._lock:
            entry = self._entries.get(session_id)
            if entry is not None and entry.left_at is not None:
                entry.left_at = self._clock()
        return session

    def leave(self, session_id: str) -> None:
        """The page is gone: its reply stops at once, the session stays for `keep_s` in case the page comes back."""
        with self._left:
            entry = self._entries.get(session_id)
            if entry is None:
                return
            entry.session.interrupt()
            if entry.left_at is None:
                entry.left_at = self._clock()
            self._left.notify_all()

    def close_one(self, session_id: str) -> None:
        """Ends a session that nobody is to have."""
        with self._lock:
            entry = self._entries.pop(session_id, None)
        if entry is not None:
            self._end(entry.session)

    def sweep(self) -> int:
        """Closes the sessions whose time is over; returns how many. It does not run while a reply is being made."""
        with self._lock:
            for entry in self._entries.values():
                if entry.left_at is not None and not entry.session.is_idle:
                    entry.left_at = self._clock()
            expired = [session_id for session_id, entry in self._entries.items() if self._is_expired(entry)]
            entries = [self._entries.pop(session_id) for session_id in expired]
        for entry in entries:
            self._end(entry.session)
        return len(entries)

    def _end(self, session: Session) -> None:
        session.close()
        if self._store is not None:
            self._store.release(session.session_id)

    def _sweep_for_ever(self) -> None:
        while not self._is_closed.wait(self._sweep_every_s):
            with suppress(DemoError), door("freeing expired conversations"):
                self.sweep()

    @property
    def num_sessions(self) -> int:
        with self._lock:
            return len(self._entries)

    @property
    def num_bytes(self) -> int:
        with self._lock:
            return sum(entry.session.num_bytes for entry in self._entries.values())

    def idle_bytes(self, keep: str) -> int:
        """What `free_caches` could give up now, the session `keep` apart."""
        with self._lock:
            others = [entry.session for session_id, entry in self._entries.items() if session_id != keep]
        return sum(session.num_bytes for session in others if session.is_idle)

    def free_caches(self, num_bytes: int, keep: str = "") -> int:
        """Gives up idle sessions' caches until `num_bytes` are free: left ones first, the longest idle ahead.

        `keep` names a session whose cache stays. Returns the bytes freed; the conversations live on.
        """
        with self._lock:
            entries = [entry for session_id, entry in self._entries.items() if session_id != keep]
            left = sorted((one for one in entries if one.left_at is not None), key=lambda one: one.left_at)
            held = sorted((one for one in entries if one.left_at is None), key=lambda one: one.session.last_used)
        freed = 0
        for entry in (*left, *held):
            if freed >= num_bytes:
                break
            freed += entry.session.free_cache()
        return freed

    def close(self) -> None:
        """Stops every reply and closes every session."""
        self._is_closed.set()
        self._sweeper.join()
        with self._lock:
            sessions = [entry.session for entry in self._entries.values()]
            self._entries.clear()
        for session in sessions:
            session.interrupt()
        for session in sessions:
            session.wait_idle(10.0)
            session.close()


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def who_of(owner: str, visitor: str) -> Who:
    """`visitor`: what the browser holds for all its tabs, "" where it holds nothing."""
    return Who(owner, _hash(visitor) if visitor else b"")
