"""Picks the next token as transformers' `generate()` does; knows neither model nor session."""

from collections.abc import Sequence

import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from app.types.turn import Sampling


class TokenSampler:
    """One stage's sampler for one turn: its processors, its own random generator and the ids it has seen.

    The processors and their order are the library's own (`GenerationMixin._get_logits_processor`), so that a seed
    gives what `generate()` gives. `seen_ids` count for the repetition penalty.
    """

    def __init__(
        self,
        sampling: Sampling,
        seed: int,
        device: torch.device,
        seen_ids: Sequence[int],
        suppressed: Sequence[int] = (),
        beside: "TokenSampler | None" = None,
    ) -> None:
        """`beside`: draws from the same generator, in whichever order both are asked."""
        self._do_sample = sampling.do_sample
        self._generator = torch.Generator(device).manual_seed(seed) if beside is None else beside._generator
        self._penalises = sampling.repetition_penalty != 1.0
        self._seen = torch.tensor([list(seen_ids)], device=device, dtype=torch.long) if self._penalises else None
        self._processors = LogitsProcessorList()
        if self._penalises:
            self._processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if suppressed:
            self._processors.append(SuppressTokensLogitsProcessor(list(suppressed), device=device))
        if sampling.do_sample:
            if sampling.temperature != 1.0:
                self._processors.append(TemperatureLogitsWarper(sampling.temperature))
            if sampling.top_k:
                self._processors.append(TopKLogitsWarper(sampling.top_k))
            if sampling.top_p < 1.0:
                self._processors.append(TopPLogitsWarper(sampling.top_p))

    def saved(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """For `restore`, where what was drawn has to be drawn again."""
        return self._generator.get_state() if self._do_sample else None, self._seen

    def restore(self, saved: tuple[torch.Tensor | None, torch.Tensor | None]) -> None:
        state, self._seen = saved
        if state is not None:
            self._generator.set_state(state)

    def pick(self, logits: torch.Tensor) -> int:
        """`logits` `[1, vocabulary]` -> the next id. Waits for the device."""
        return int(self.draw(logits))

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """The same as a tensor `[1, 1]`, for which nothing waits."""
        scores = self._processors(self._seen, logits.float())
        if self._do_sample:
            chosen = torch.multinomial(scores.softmax(-1), 1, generator=self._generator)
        else:
            chosen = scores.argmax(-1, keepdim=True)
        if self._penalises:
            self._seen = torch.cat([self._seen, chosen], dim=1)
        return chosen
