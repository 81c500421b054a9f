"""A layer's experts, of which each token takes a few; knows no layer and no cache.

The arithmetic of the library's `Qwen3OmniMoeThinkerTextSparseMoeBlock` and, with an expert that all tokens share,
`Qwen3OmniMoeTalkerTextSparseMoeBlock`.
"""

import torch
import torch.nn.functional as F
from torch import nn

# Up to so many rows the weights of the experts that each row takes are gathered, and nothing waits for which they are.
# Of more rows most experts are taken by several.
FEW_ROWS = 4


class Experts:
    """The weights, which are the library's and stay usable."""

    def __init__(self, block: nn.Module) -> None:
        self._experts, self._router = block.experts, block.gate
        self._shared = getattr(block, "shared_expert", None)
        self._shared_gate = getattr(block, "shared_expert_gate", None)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """`[n, hidden]` -> `[n, hidden]`"""
        _, shares, chosen = self._router(rows)
        mixed = self._few(rows, shares, chosen) if len(rows) <= FEW_ROWS else self._experts(rows, chosen, shares)
        if self._shared is None:
            return mixed
        return mixed + F.sigmoid(self._shared_gate(rows)) * self._shared(rows)

    def _few(self, rows: torch.Tensor, shares: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """`shares` and `chosen` `[n, k]`"""
        experts, (num_rows, each) = self._experts, chosen.shape
        which = chosen.flatten()
        asked = rows.repeat_interleave(each, dim=0)[..., None]
        gate, up = torch.bmm(experts.gate_up_proj[which], asked)[..., 0].chunk(2, dim=-1)
        made = torch.bmm(experts.down_proj[which], (experts.act_fn(gate) * up)[..., None])[..., 0]
        return (made * shares.reshape(-1, 1)).view(num_rows, each, -1).sum(1)
