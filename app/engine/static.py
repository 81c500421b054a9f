"""Decoding on tables that stay where they are, so that it can be recorded: conversations sit side by side at one.

A conversation keeps its cache; while it is spoken in, the cache stands at a seat of a table, and whoever appends, trims
or reads finds it there. It moves to a larger table when it outgrows one, and away when others need the seat.
"""

import logging
import weakref
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import nn

from app.engine.decoder import Decoder, KVCache
from app.engine.decoding import Behind, DecodeRunner, DecodeStep
from app.engine.graphs import Recorded, new_pool

logger = logging.getLogger(__name__)

# Tokens that a table's seats hold, and seats: one of the largest takes as much memory as all of a smaller one.
TABLES = {1024: 4, 4096: 4, 16384: 2, 32768: 1}
# Tokens of a pass: so many seats, from the first on. Those that nobody asked for are computed and thrown away.
SIZES = (1, 2, 4)


class Table:
    """Seats for caches. Each has one row more than it holds: there a pass writes for a seat that is full."""

    def __init__(self, shape: tuple[int, int, int], capacity: int, like: torch.Tensor) -> None:
        """`shape`: layers, key heads, width of a head. Type and device are those of `like`."""
        num_layers, num_heads, head_dim = shape
        self.num_seats = TABLES[capacity]
        # Zeros: what nobody wrote is masked, and must be a number for that.
        self.rows = like.new_zeros(num_layers, 2, self.num_seats, num_heads, capacity, head_dim)
        self._seats = [self.rows[:, :, seat, :, : capacity - 1] for seat in range(self.num_seats)]
        self._guests: list[weakref.ref[KVCache] | None] = [None] * self.num_seats
        self._last_used = [0] * self.num_seats
        self._now = 0
        self.passes: dict[int, _Pass] = {}

    @property
    def is_empty(self) -> bool:
        return all(self._guest(seat) is None for seat in range(self.num_seats))

    def seat(self, caches: Sequence[KVCache]) -> list[int]:
        """Where each of them stands from now on, at most as many as there are seats."""
        self._now += 1
        places = [self._place(cache) for cache in caches]
        for place in places:
            if place is not None:
                self._last_used[place] = self._now
        for index, cache in enumerate(caches):
            if places[index] is None:
                places[index] = self._sit_down(cache)
        return places

    def lengths(self, size: int) -> list[int]:
        """Tokens at each of the first `size` seats."""
        guests = [self._guest(seat) for seat in range(size)]
        return [0 if guest is None else guest.length for guest in guests]

    def _place(self, cache: KVCache) -> int | None:
        return next((seat for seat in range(self.num_seats) if self._guest(seat) is cache), None)

    def _sit_down(self, cache: KVCache) -> int:
        # A free seat, the first of them; else that of the guest who has not spoken for longest.
        seat = min(range(self.num_seats), key=lambda seat: self._last_used[seat] if self._guest(seat) else -1)
        guest = self._guest(seat)
        if guest is not None:
            guest.leave()
        cache.move(self._seats[seat])
        self._guests[seat], self._last_used[seat] = weakref.ref(cache), self._now
        return seat

    def _guest(self, seat: int) -> KVCache | None:
        """None also when it was thrown away, or has outgrown the seat and gone."""
        guest = self._guests[seat]
        cache = None if guest is None else guest()
        return cache if cache is not None and cache.stands_at(self._seats[seat]) else None


class _Pass:
    """One token more at each of a table's first `size` seats. Asked are `embeds` `[size, width]`, `cos` and `sin` of
    their places, `lengths` int64 `[size]`; found `hidden` and `logits` `[size, ...]`."""

    def __init__(self, runner: "StaticRunner", table: Table, size: int, like: torch.Tensor) -> None:
        decoder, head = runner.decoder, runner.head
        width, half = decoder.width, table.rows.shape[-1] // 2
        self.embeds = like.new_zeros(size, like.shape[-1])
        self.cos, self.sin = (like.new_zeros(size, 1, half) for _ in range(2))
        self.lengths = torch.zeros(size, dtype=torch.long, device=like.device)
        self.hidden = like.new_zeros(size, width)
        self.logits = head(self.hidden)

        def work() -> None:
            embeds = self.embeds if runner.entry is None else runner.entry(self.embeds)
            self.hidden.copy_(decoder.static_step(table.rows, embeds, self.cos, self.sin, self.lengths))
            self.logits.copy_(head(self.hidden))

        self.run = Recorded(work, like.device, runner.pool)


class StaticRunner(DecodeRunner):
    """A `DecodeRunner` whose passes are recorded once for all conversations. What fits no table, or no memory, goes the
    other's way."""

    def __init__(
        self, decoder: Decoder, head: nn.Module, entry: nn.Module | None = None, behind: Behind | None = None
    ) -> None:
        super().__init__(decoder, head, entry, behind)
        self.pool: Any = None
        self._tables: dict[int, Table] = {}
        self.is_broken = False

    def key(self, step: DecodeStep) -> Hashable:
        """The table that it needs, None for none."""
        return next((capacity for capacity in TABLES if step.cache.length + 1 < capacity), None)

    def prepare(self, width: int) -> None:
        """Records what the first turns need, if it can. `width`: of a token's input."""
        like = next(self.head.parameters()).new_zeros(1, width)
        try:
            table = self._open(next(iter(TABLES)), like)
            for size in SIZES:
                self._pass(table, size, like).run()
        except torch.OutOfMemoryError:
            self._tables.clear()
        except RuntimeError as error:
            self._give_up(error)

    def forward(self, steps: Sequence[DecodeStep]) -> tuple[torch.Tensor, torch.Tensor]:
        capacity = None if self.is_broken else self.key(steps[0])
        # More than there are seats: in turn at the table, each would be copied there and away for every token.
        if capacity is None or len(steps) > TABLES[capacity]:
            return super().forward(steps)
        try:
            table = self._open(capacity, steps[0].embeds)
            return self._forward(table, steps)
        except torch.OutOfMemoryError:
            return super().forward(steps)
        except RuntimeError as error:
            # Nothing was appended yet, as no length has changed.
            self._give_up(error)
            return super().forward(steps)

    def _give_up(self, error: RuntimeError) -> None:
        logger.warning("Recorded decoding failed (%s), so tokens are decoded without it.", type(error).__name__)
        self.is_broken = True

    def _forward(self, table: Table, steps: Sequence[DecodeStep]) -> tuple[torch.Tensor, torch.Tensor]:
        seats = table.seat([step.cache for step in steps])
        size = next(size for size in SIZES if size > max(seats))
        one = self._pass(table, size, steps[0].embeds)
        one.lengths.copy_(torch.tensor(table.lengths(size)))
        cos, sin = self.decoder.rotary(torch.cat([step.positions for step in steps], 1), steps[0].embeds)
        places = torch.tensor(seats, device=one.embeds.device)
        one.embeds[places] = torch.cat([step.embeds for step in steps])
        one.cos[places], one.sin[places] = cos, sin
        one.run()
        for step in steps:
            step.cache.length += 1
        return one.hidden[places], one.logits[places]

    def _open(self, capacity: int, like: torch.Tensor) -> Table:
        if capacity not in self._tables:
            if self.pool is None:
                self.pool = new_pool(like.device)
            for other in [other for other, table in self._tables.items() if table.is_empty and other > min(TABLES)]:
                del self._tables[other]
            self._tables[capacity] = Table(self.decoder.shape, capacity, like)
        return self._tables[capacity]

    def _pass(self, table: Table, size: int, like: torch.Tensor) -> _Pass:
        if size not in table.passes:
            table.passes[size] = _Pass(self, table, size, like)
        return table.passes[size]

    @property
    def num_bytes(self) -> int:
        return sum(table.rows.nbytes for table in self._tables.values())
