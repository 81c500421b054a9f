"""Everything that one conversation changes in the engine: ids, positions, both KV caches, states between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from app.engine.decoder import KVCache
from app.types.prompt import Boundary

# Of the first so many of a conversation's ids, those that the Talker takes into its cache.
NumRead = Callable[[Sequence[int], int], int]

# For a reply, of the room for what it answers: so that a long conversation is not copied for its first word.
_REPLY_SHARE = 8


@dataclass(frozen=True)
class Mark:
    """A boundary to trim to: how much was cached, where positions stood, what was sampled but not cached."""

    num_tokens: int
    next_position: int
    top_position: int
    pending_ids: tuple[int, ...]


class Rows:
    """A growing table `[num_rows, width]`; appends without copying what is there until its capacity is used up."""

    def __init__(self) -> None:
        self._rows: torch.Tensor | None = None
        self._expected = 0
        self.length = 0

    def expect(self, length: int) -> None:
        """There will be so many rows soon: where the table must grow, it grows for all of them at once."""
        self._expected = length

    def append(self, rows: torch.Tensor) -> None:
        """`rows` `[n, width]`, all of one width, type and device."""
        needed = self.length + rows.shape[0]
        if self._rows is None or needed > self._rows.shape[0]:
            grown = rows.new_empty(max(needed, self._expected, self.length + self.length // 4, 64), rows.shape[1])
            if self._rows is not None:
                grown[: self.length] = self._rows[: self.length]
            self._rows = grown
        self._rows[self.length : needed] = rows
        self.length = needed

    def since(self, start: int) -> torch.Tensor:
        assert self._rows is not None and start <= self.length, (start, self.length)
        return self._rows[start : self.length]

    def trim(self, length: int) -> None:
        assert length <= self.length, (length, self.length)
        self.length = length

    @property
    def num_bytes(self) -> int:
        return 0 if self._rows is None else self._rows.nbytes


class EngineState:
    """Owns one conversation's caches; built once, appended to by the engine, trimmed and closed by its session.

    `thinker_cache` and `talker_cache` hold the first `num_tokens` and `talker_length` tokens of the conversation;
    `states` `[num_tokens, thinker_hidden]` is what the Talker reads of each token, `positions` `[num_tokens, 3]` where
    it stands. Not thread-safe: it belongs to the worker thread while a turn runs.
    """

    def __init__(self, has_talker: bool, num_read: NumRead = lambda ids, length: length) -> None:
        self._has_talker = has_talker
        self._num_read = num_read
        self.close()

    def close(self) -> None:
        """Free everything; the state is then that of a new conversation."""
        self.thinker_cache = KVCache()
        self.talker_cache = KVCache() if self._has_talker else None
        self.talker_length = 0
        self.ids: list[int] = []
        self.states = Rows()
        self.positions = Rows()
        self.next_position = 0
        self.top_position = 0
        self.pending_ids: tuple[int, ...] = ()

    @property
    def num_tokens(self) -> int:
        return len(self.ids)

    @property
    def num_bytes(self) -> int:
        caches = [cache for cache in (self.thinker_cache, self.talker_cache) if cache is not None]
        return sum(cache.num_bytes for cache in caches) + self.states.num_bytes + self.positions.num_bytes

    def expect(self, num_new: int) -> None:
        """A prompt of so many tokens comes: tables that must grow for it do so once, with an eighth more for the reply
        and its codes."""
        length = self.num_tokens + num_new
        for table in (self.thinker_cache, self.talker_cache, self.states, self.positions):
            if table is not None:
                table.expect(length + length // _REPLY_SHARE)

    def mark(self) -> Mark:
        return Mark(self.num_tokens, self.next_position, self.top_position, self.pending_ids)

    def mark_at(self, boundary: Boundary) -> Mark:
        """The mark of a turn that was written afresh: all of its reply is in the caches."""
        return Mark(boundary.num_tokens, boundary.next_position, boundary.top_position, ())

    def trim(self, mark: Mark) -> None:
        """Forget all that came after `mark`, which must be one of this conversation's."""
        assert self.num_tokens >= mark.num_tokens, (self.num_tokens, mark)
        self.thinker_cache.crop(mark.num_tokens)
        self.crop_talker(min(self.talker_length, mark.num_tokens))
        del self.ids[mark.num_tokens :]
        self.states.trim(mark.num_tokens)
        self.positions.trim(mark.num_tokens)
        self.next_position, self.top_position = mark.next_position, mark.top_position
        self.pending_ids = mark.pending_ids

    def cut_reply(self, num_ids: int, num_kept: int) -> None:
        """Of the reply that ends the conversation, sampled as `num_ids` ids, forget all but the first `num_kept`."""
        num_cached = num_ids - len(self.pending_ids)
        num_gone = num_cached - min(num_kept, num_cached)
        # Reply tokens stand one behind the other at the top.
        top = self.top_position - num_gone
        pending = self.pending_ids[: max(0, num_kept - num_cached)]
        next_position = top if num_gone else self.next_position
        self.trim(Mark(self.num_tokens - num_gone, next_position, top, pending))

    def crop_talker(self, length: int) -> None:
        """Leave the first `length` tokens of the conversation in the Talker's cache, and no codes."""
        if self.talker_cache is not None:
            self.talker_cache.crop(self._num_read(self.ids, length))
            self.talker_length = length

    def append(self, ids: Sequence[int], positions: torch.Tensor, states: torch.Tensor) -> None:
        """Record tokens that the Thinker's cache now holds, with `positions` `[3, n]` (on the CPU: nothing waits
        for the device) and `states` `[n, thinker_hidden]`."""
        self.ids += ids
        self.positions.append(positions.T)
        self.states.append(states)
        self.next_position = int(positions[:, -1].max()) + 1
        self.top_position = max(self.top_position, int(positions.max()) + 1)
        assert self.thinker_cache.length == self.num_tokens == self.states.length
