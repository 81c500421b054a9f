"""The Talker as it is trained: the library's key names and numbers, but only the codec ids that occur; knows no data.

Of the 8,448 ids the codec uses a tenth. In here they are counted without gaps; `library_weights` spreads them out.
Ids that are never said share one row of the head, which the loss counts as if there were a million of them. So at a
tenth of the price every unused id ends up about e^20 less likely than the best used one, and neither a high
temperature nor a wide choice leaves the codec. (Rows of zeros would not do: the head has no bias, and the used logits
can all be negative.)
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from training.thinker.config import ThinkerSizes
from training.thinker.model import Cache, LanguageModel

NUM_CODEC_IDS = 8448
CODEC_PAD, CODEC_START, CODEC_END = 8292, 8293, 8294
SIZES = ThinkerSizes(hidden=192, num_layers=4, num_heads=4, num_kv_heads=2, ffn=512, mrope_section=(8, 8, 8))
NUM_COUNTED = 1_000_000
# Length of a code's embedding beside the text's, both behind the projection.
CODE_SCALE = 0.5


class Talker(nn.Module):
    """States and codes to logits.

    Codes read: 0 for none, 1 .. `num_codes`, `pad`, `start`. Codes said (columns of the logits): 0 for any unused id,
    1 .. `num_codes`, `end`.
    """

    def __init__(self, num_codes: int, sizes: ThinkerSizes = SIZES, state_width: int = 192) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.pad, self.start, self.end = num_codes + 1, num_codes + 2, num_codes + 1
        self.model = LanguageModel(sizes, 1)
        self.model.embed_tokens = nn.Embedding(num_codes + 3, state_width, padding_idx=0)
        self.thinker_to_talker_proj = nn.Linear(state_width, sizes.hidden)
        self.codec_head = nn.Linear(sizes.hidden, num_codes + 2, bias=False)
        self._initialise(sizes)

    def forward(
        self,
        states: torch.Tensor,
        codes: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor | None = None,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """Text's part `[row, step, state]`, codes read `[row, step]`, positions `[3, row, step]` to hidden states."""
        embedded = self.thinker_to_talker_proj(states + self.model.embed_tokens(codes))
        return self.model(embedded, positions, mask, cache)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """float32 `[..., num_codes + 2]`."""
        return self.codec_head(hidden).float()

    def log_probabilities(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Of `targets` `[...]`."""
        return -F.cross_entropy(self.counted(self.logits(hidden)), targets, reduction="none")

    def counted(self, logits: torch.Tensor) -> torch.Tensor:
        """Column 0 as the sum of all unused ids, more than there are."""
        return torch.cat([logits[..., :1] + math.log(NUM_COUNTED), logits[..., 1:]], -1)

    @torch.no_grad()
    def begin_from(self, states: torch.Tensor, token_ids: torch.Tensor) -> None:
        """Sets the projection so that it tells tokens apart: `states` `[token, state]` of the ids `[token]`.

        A token's embedding is a small part of its state; the hidden part depends on everything before. The start is
        the whitening of what varies at one and the same token, which leaves what the token itself contributes.
        """
        order = token_ids.argsort()
        rows, ids = states[order].float(), token_ids[order]
        _, place, number = ids.unique_consecutive(return_inverse=True, return_counts=True)
        means = torch.zeros(len(number), rows.shape[1], device=rows.device).index_add_(0, place, rows)
        means = means / number[:, None]
        within = rows - means[place]
        covariance = within.T @ within / max(1, len(rows) - len(number))
        values, vectors = torch.linalg.eigh(covariance)
        values = values + 0.03 * values.mean()
        whitening = (vectors * values.rsqrt()) @ vectors.T
        middle = means.mean(0)
        # Behind the projection tokens differ by about 1 in every direction.
        whitening = whitening / ((means - middle) @ whitening.T).std()
        if whitening.shape == self.thinker_to_talker_proj.weight.shape:
            self.thinker_to_talker_proj.weight.copy_(whitening)
            self.thinker_to_talker_proj.bias.copy_(-whitening @ middle)
        self._scale_codes()

    def _initialise(self, sizes: ThinkerSizes) -> None:
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.ndim == 2:
                    nn.init.normal_(parameter, 0, parameter.shape[1] ** -0.5)
                elif name.endswith("bias"):
                    nn.init.zeros_(parameter)
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    parameter /= math.sqrt(2 * sizes.num_layers)
            self._scale_codes()

    def _scale_codes(self) -> None:
        table = self.model.embed_tokens.weight
        nn.init.normal_(table)
        table *= CODE_SCALE / (table @ self.thinker_to_talker_proj.weight.T).std()
        table[0] = 0


def library_weights(talker: Talker) -> dict[str, torch.Tensor]:
    """Those of `Qwen2_5OmniTalkerForConditionalGeneration`, with 8,448 rows in embedding and head."""
    weights = dict(talker.state_dict())
    number = talker.num_codes
    table, head = weights["model.embed_tokens.weight"], weights["codec_head.weight"]
    read = table.new_zeros(NUM_CODEC_IDS, table.shape[1])
    read[1 : number + 1] = table[1 : number + 1]
    read[CODEC_PAD], read[CODEC_START] = table[talker.pad], table[talker.start]
    said = head[:1].expand(NUM_CODEC_IDS, -1).clone()
    said[1 : number + 1] = head[1 : number + 1]
    said[CODEC_END] = head[talker.end]
    return weights | {"model.embed_tokens.weight": read, "codec_head.weight": said}


def from_library(talker: Talker, weights: dict[str, torch.Tensor]) -> None:
    """Loads what `library_weights` gave."""
    number = talker.num_codes
    read, said = weights["model.embed_tokens.weight"], weights["codec_head.weight"]
    rows = {
        "model.embed_tokens.weight": torch.cat(
            [torch.zeros_like(read[:1]), read[1 : number + 1], read[[CODEC_PAD, CODEC_START]]]
        ),
        "codec_head.weight": torch.cat([said[: number + 1], said[[CODEC_END]]]),
    }
    talker.load_state_dict(weights | rows)
