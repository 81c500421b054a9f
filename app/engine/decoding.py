"""One token more for each of several conversations: through the decoder, to logits, to the next id."""

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import nn

from app.engine.decoder import Decoder, KVCache
from app.engine.sampling import TokenSampler
from app.engine.stepping import Step


class DecodeStep(Step):
    """Appends one token and samples the next.

    Asked: `embeds` `[1, hidden]`, `positions` int64 `[3, 1]` on the CPU. Found: `hidden` `[1, hidden]`, `next_id`.
    """

    def __init__(
        self,
        runner: "DecodeRunner",
        cache: KVCache,
        embeds: torch.Tensor,
        positions: torch.Tensor,
        sampler: TokenSampler,
    ) -> None:
        super().__init__(runner)
        self.cache, self.embeds, self.positions, self.sampler = cache, embeds, positions, sampler
        self.hidden: torch.Tensor | None = None
        self.next_id = -1

    def found(self, hidden: torch.Tensor, next_id: int) -> None:
        """What else belongs to the token; the cache has it already."""
        self.hidden, self.next_id = hidden, next_id


# Is given the steps, their hidden states `[n, hidden]` and their next ids.
Behind = Callable[[Sequence[DecodeStep], torch.Tensor, Sequence[int]], None]


class DecodeRunner:
    """One stage's decoder and head. `entry`: what its input goes through first; `behind`: what else belongs to a step
    once its next id is known."""

    def __init__(
        self, decoder: Decoder, head: nn.Module, entry: nn.Module | None = None, behind: Behind | None = None
    ) -> None:
        self.decoder, self.head, self.entry, self._behind = decoder, head, entry, behind

    def key(self, step: DecodeStep) -> Hashable:
        return ()

    def run(self, steps: Sequence[DecodeStep]) -> None:
        before = [(step.cache.length, step.sampler.saved()) for step in steps]
        try:
            hidden, logits = self.forward(steps)
            drawn = [step.sampler.draw(logits[row : row + 1]) for row, step in enumerate(steps)]
            # The only place of a step that waits for the device.
            next_ids = torch.cat(drawn).flatten().tolist()
            if self._behind is not None:
                self._behind(steps, hidden, next_ids)
        except BaseException:
            for step, (length, sampled) in zip(steps, before):
                step.cache.crop(length)
                step.sampler.restore(sampled)
            raise
        for row, step in enumerate(steps):
            step.found(hidden[row : row + 1], next_ids[row])

    def forward(self, steps: Sequence[DecodeStep]) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends to the caches. Hidden states and logits, a row for each step."""
        embeds, positions = torch.cat([step.embeds for step in steps]), torch.cat([step.positions for step in steps], 1)
        embeds = embeds if self.entry is None else self.entry(embeds)
        hidden = self.decoder.step([step.cache for step in steps], embeds, positions)
        return hidden, self.head(hidden)
