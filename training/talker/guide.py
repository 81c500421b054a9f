"""Where the Talker should look while it speaks: at the tokens of the word that it says, and of the next one.

Text and speech run at different rates, and which token is due stands nowhere: it has to be found by what was said
so far. One head for each of the two words is shown where to look (guided attention, https://arxiv.org/abs/1710.08969),
in a layer that has two below it to know what was said and one above it to use what it reads. Only for learning.
"""

import torch

from training.talker.layout import NOTHING, Steps
from training.talker.model import Talker
from training.thinker.model import causal_mask, rotate

LAYER = 2
# One of each pair that shares its keys.
HEADS = (0, 2)
SMALLEST = 1e-4


class Guide:
    """Watches one layer of a Talker: `loss` is of its newest forward pass."""

    WEIGHT = 0.3

    def __init__(self, talker: Talker) -> None:
        self._attention = talker.model.layers[LAYER].self_attn
        self._seen: tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]] | None = None
        self._attention.register_forward_pre_hook(lambda _, args: self._see(*args))

    def _see(self, states: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], *_: object) -> None:
        self._seen = states, rotation

    def loss(self, steps: Steps) -> tuple[torch.Tensor, float]:
        """How little of the attention lies where it should, in nats; the share that lies on the word that is said."""
        assert self._seen is not None, "no forward pass was watched"
        (states, rotation), self._seen = self._seen, None
        q, k = (self._heads(states, name, rotation) for name in ("q_proj", "k_proj"))
        shared = q.shape[1] // k.shape[1]
        queries, keys = q[:, list(HEADS)], k[:, [head // shared for head in HEADS]]
        scores = (queries @ keys.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
        length = scores.shape[-1]
        weights = (scores + causal_mask(length, scores.device)).softmax(-1)
        # [row, head, step, 2], the heads look at one word each.
        words = steps.words.transpose(1, 2)
        sums = torch.cat([weights.new_zeros(*weights.shape[:-1], 1), weights.cumsum(-1)], -1)
        mass = sums.gather(-1, words.clamp(0, length)).diff(dim=-1)[..., 0]
        here = torch.arange(length, device=mass.device)
        # A token that comes later cannot be looked at yet.
        is_due = (words[..., 0] != NOTHING) & (words[..., 0] <= here)
        loss = -(mass[is_due].clamp(min=SMALLEST)).log().mean()
        return loss, mass[:, 0][is_due[:, 0]].detach().mean().item()

    def _heads(self, states: torch.Tensor, name: str, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        width = rotation[0].shape[-1]
        projected = getattr(self._attention, name)(states).unflatten(-1, (-1, width)).transpose(1, 2)
        return rotate(projected, *rotation)
