"""The codes of a codec frame behind its first: a small model over the layers of one frame; knows no conversation."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import (
    Qwen3OmniMoeTalkerCodePredictorModelForConditionalGeneration as PredictorModel,
)

from app.engine.decoder import Decoder, KVCache
from app.engine.sampling import TokenSampler
from app.types.turn import Sampling

# As `Qwen3OmniMoeTalkerForConditionalGeneration.prepare_inputs_for_generation` has them, where the Talker samples.
_SAMPLING = Sampling(do_sample=True, temperature=1.0, top_k=50, top_p=0.8, repetition_penalty=1.0, max_new_tokens=0)


def predictor_sampling(talker: Sampling) -> Sampling:
    return replace(_SAMPLING, do_sample=talker.do_sample)


class FrameState:
    """One utterance's: its sampler, and memory for one frame, which each frame fills anew."""

    def __init__(self, sampler: TokenSampler) -> None:
        self.sampler = sampler
        self.cache = KVCache()


class CodePredictor:
    """The weights. `complete` does for several utterances one frame each."""

    def __init__(self, model: PredictorModel) -> None:
        self.decoder = Decoder(model.model)
        self._heads, self._embeds = model.lm_head, model.get_input_embeddings()

    def complete(
        self, states: Sequence[FrameState], hidden: torch.Tensor, first: torch.Tensor
    ) -> tuple[list[list[int]], torch.Tensor]:
        """`hidden` `[n, hidden]` of the Talker and the embeddings `first` `[n, hidden]` of the codes that it chose ->
        each frame's further codes, and the sum `[n, hidden]` of the embeddings of all its codes."""
        caches = [state.cache for state in states]
        for cache in caches:
            cache.crop(0)
        self._step(caches, hidden, 0)
        embeds, total, codes = first, first, []
        for layer, (head, embed) in enumerate(zip(self._heads, self._embeds)):
            logits = head(self._step(caches, embeds, layer + 1))
            codes.append(torch.cat([state.sampler.draw(logits[row : row + 1]) for row, state in enumerate(states)]))
            embeds = embed(codes[-1][:, 0])
            total = total + embeds
        return torch.cat(codes, dim=1).tolist(), total

    def _step(self, caches: Sequence[KVCache], embeds: torch.Tensor, place: int) -> torch.Tensor:
        return self.decoder.step(caches, embeds, torch.full((3, len(caches)), place))
