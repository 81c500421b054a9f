"""Which phone a code belongs to, from the times at which the synthesizer's phones end; knows no codec."""

from collections.abc import Sequence

import numpy as np
import torch

from training.speech.reply_voices import SAMPLES_PER_CODE, Phone

# Flite's American English; "pau" is silence.
PHONES = tuple(
    "pau aa ae ah ao aw ax ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v w y z zh"
    .split()
)  # fmt: skip
PLACE = {name: place for place, name in enumerate(PHONES)}
# Stands where nothing is said any more.
NO_PHONE = -100


def places(phones: Sequence[Phone], num_codes: int) -> torch.Tensor:
    """Index `[code]` into `phones` of the one in which a code's middle lies; the last holds to the end."""
    ends = np.array([end for _, end in phones])
    middles = (np.arange(num_codes) + 0.5) * SAMPLES_PER_CODE
    return torch.from_numpy(np.minimum(np.searchsorted(ends, middles, side="right"), len(ends) - 1))


def said(phones: Sequence[Phone], num_codes: int, num_ahead: int = 0) -> torch.Tensor:
    """The phone `[code, 1 + num_ahead]` of every code, and those that come next; `NO_PHONE` behind the last."""
    row = [PLACE[name] for name, _ in phones] + [NO_PHONE] * num_ahead
    now = places(phones, num_codes)
    return torch.stack([torch.tensor(row)[now + ahead] for ahead in range(1 + num_ahead)], 1)
