"""The Thinker with quiet hidden states: the same text to the bit, and states from which a small Talker can read.

The Talker is given the sum of a token's embedding and its last hidden state. As trained, the hidden state, which tells
of the *next* token, is ten times as long as the embedding, which names the token to be spoken: a linear map finds the
token in 56 to 72 % of such sums. So the final norm is divided by a power of two and the head, stored apart from the
embedding table, multiplied by it. Logits stay the same to the bit, embeddings dominate, and as the table is final after
the stage `language`, the Talker hardly notices when the Thinker is trained further.
"""

import torch

QUIETER = 32.0
TABLE, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"


def quiet(thinker: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of a Thinker whose head is its embedding table -> the same with a head of its own, as it is shipped."""
    return thinker | {NORM: thinker[NORM] / QUIETER, HEAD: thinker[TABLE] * QUIETER}


def loud(thinker: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The way back: as it is trained, its head the embedding table again."""
    return {key: value for key, value in thinker.items() if key != HEAD} | {NORM: thinker[NORM] * QUIETER}
