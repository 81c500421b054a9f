"""What the Talker must know beyond the next code: the phones that come next. Only for learning; never shipped.

Most codes follow from the codes before, so the text is worth little to the loss of the next code and a Talker learns
only late where in the text it is. What is said after the present phone stands nowhere but in the text: asked for it at
every step, the Talker learns to read.
"""

import torch
import torch.nn.functional as F
from torch import nn

from training.speech.phones import NO_PHONE, PHONES
from training.talker.layout import NUM_AHEAD


class Foresight(nn.Module):
    WEIGHT = 0.5

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.heads = nn.Linear(hidden, NUM_AHEAD * len(PHONES))

    def forward(self, hidden: torch.Tensor, ahead: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Cross entropy of the phones `[step, NUM_AHEAD]` from `[step, hidden]`; the share of next ones guessed."""
        logits = self.heads(hidden).float().unflatten(-1, (NUM_AHEAD, len(PHONES)))
        loss = F.cross_entropy(logits.flatten(0, 1), ahead.flatten(), ignore_index=NO_PHONE)
        known = ahead[:, 0] != NO_PHONE
        right = logits.detach()[known, 0].argmax(-1) == ahead[known, 0]
        return loss, right.float().mean().item()
