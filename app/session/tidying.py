"""Lets go of what was kept on disk for long enough, or is too much; knows no conversation that is in use."""

import shutil
from pathlib import Path

from app.session.folder import folder_bytes, remove_leftovers
from app.session.store import Store
from app.session.votes import Votes

DAY_S = 86_400


def tidy(folder: Path, store: Store | None, votes: Votes, keep_days: float, keep_gb: float, now_s: float) -> None:
    """Of the conversations in `folder` the longest unused go first, and what nobody knows any more goes with them."""
    kept = [] if store is None else store.sessions()
    sizes = {session_id: folder_bytes(folder / session_id) for session_id, _ in kept}
    excess = sum(sizes.values()) - keep_gb * 1e9
    for session_id, used_s in kept:
        if now_s - used_s > keep_days * DAY_S or excess > 0:
            excess -= sizes.pop(session_id)
            store.forget(session_id)
            shutil.rmtree(folder / session_id, ignore_errors=True)
    remove_leftovers(folder, now_s, sizes)
    votes.forget_before(now_s - keep_days * DAY_S)
