"""What the Talker reads of a conversation: the Thinker's states, as the running program hands them on; knows no codes.

Of every token: its embedding plus the last hidden state. Media tokens keep the hidden part alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from training.talker.quiet import quiet
from training.thinker.batch import Batch, collate
from training.thinker.config import ThinkerSizes
from training.thinker.model import LanguageModel
from training.thinker.sequence import Conversation, TextEncoder
from training.workspace import Workspace

# The newest Thinker comes first.
THINKER_STAGES = ("joint", "language")
PREFIX = "model."
ROWS_AT_ONCE = 4


@dataclass(frozen=True, eq=False)
class Question:
    """A conversation that ends with the reply to be spoken: tokens `num_prompt` .. `num_prompt + num_reply`."""

    conversation: Conversation
    num_prompt: int
    num_reply: int


def ask(conversation: Conversation, reply: str, encode: TextEncoder) -> Question:
    """Forces `reply` behind a conversation whose last message is the user's."""
    num_prompt = len(conversation)
    conversation.reply(reply)
    return Question(conversation, num_prompt, len(encode(reply)))


@dataclass(frozen=True, eq=False)
class Reading:
    """`prompt` `[token, state]` at `positions` `[3, token]`; `reply` `[token, state]`.

    The speaker's token and the first reply token stand at `next_position` and behind it, all later steps from
    `top_position` on, where that is higher.
    """

    prompt: torch.Tensor
    positions: torch.Tensor
    reply: torch.Tensor
    next_position: int
    top_position: int


@dataclass(frozen=True)
class Disturbance:
    """How the hidden part is changed while the Talker learns, so that it bears a Thinker that is trained further:
    noise of up to this share of its length; the share of rows in which it is left away."""

    noise: float = 0.1
    dropped: float = 0.1


def load_thinker(workspace: Workspace) -> tuple[LanguageModel, str]:
    """The newest language model that was trained, as it is shipped, frozen; and the stage that it is from."""
    found = [name for name in THINKER_STAGES if (workspace.folder / name / "model.safetensors").exists()]
    name = found[0] if found else THINKER_STAGES[-1]
    weights = quiet(workspace.load_weights(name))
    weights = {key.removeprefix(PREFIX): value for key, value in weights.items() if key.startswith(PREFIX)}
    model = LanguageModel(ThinkerSizes(), len(weights["embed_tokens.weight"])).to(workspace.device)
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False), name


@torch.no_grad()
def read(
    thinker: LanguageModel,
    questions: Sequence[Question],
    disturbance: Disturbance | None = None,
    generator: torch.Generator | None = None,
    media: torch.Tensor | None = None,
) -> list[Reading]:
    """The states of all questions, those of similar length together.

    `media` `[token, state]`: of a single question, what the towers made of all sounds, then of all pixels. Without it
    vectors as long as a word's stand in: the Talker has to read the reply whatever was heard or seen, and never sees
    those vectors.
    """
    assert media is None or len(questions) == 1, len(questions)
    order = sorted(range(len(questions)), key=lambda index: len(questions[index].conversation))
    found: dict[int, Reading] = {}
    for first in range(0, len(order), ROWS_AT_ONCE):
        part = order[first : first + ROWS_AT_ONCE]
        batch = collate([questions[index].conversation for index in part], 0, thinker.embed_tokens.weight.device)
        spoken, hidden = think(thinker, batch, generator, media)
        states = spoken + (hidden if disturbance is None else disturb(hidden, disturbance, generator))
        for row, index in enumerate(part):
            found[index] = cut(questions[index], states[row], batch.positions[:, row])
    return [found[index] for index in range(len(questions))]


def think(
    thinker: LanguageModel, batch: Batch, generator: torch.Generator | None, media: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The two parts of every state, float32 `[row, token, state]`: the embedding, 0 for media, and the hidden state."""
    embedded = thinker.embed_tokens(batch.ids)
    spoken = embedded
    places = torch.cat([batch.sound_places, batch.pixel_places])
    if len(places):
        if media is None:
            media = torch.randn(len(places), embedded.shape[-1], generator=generator).to(embedded.device)
            media = media * (embedded.norm(dim=-1).median() / media.norm(dim=-1, keepdim=True))
        flat = embedded.flatten(0, 1)
        embedded = flat.index_put((places,), media).view_as(embedded)
        spoken = flat.index_put((places,), torch.zeros_like(media)).view_as(embedded)
    return spoken, thinker(embedded, batch.positions).float()


def disturb(hidden: torch.Tensor, disturbance: Disturbance, generator: torch.Generator | None) -> torch.Tensor:
    def draw(kind, *shape: int) -> torch.Tensor:
        return kind(*shape, generator=generator).to(hidden.device)

    rows = len(hidden)
    share = draw(torch.rand, rows, 1, 1) * disturbance.noise
    length = hidden.norm(dim=-1, keepdim=True) * hidden.shape[-1] ** -0.5
    kept = draw(torch.rand, rows, 1, 1) >= disturbance.dropped
    return (hidden + share * length * draw(torch.randn, *hidden.shape)) * kept


def cut(question: Question, states: torch.Tensor, positions: torch.Tensor) -> Reading:
    """One question's share of `states` `[token, state]`."""
    end = question.num_prompt
    placed = positions[:, :end]
    return Reading(
        states[:end],
        placed,
        states[end : end + question.num_reply],
        int(placed[:, -1].max()) + 1 if end else 0,
        int(placed.max()) + 1 if end else 0,
    )


def shortened(reading: Reading, num_kept: int) -> Reading:
    """Only the end of the prompt, where it stood: rotary positions know distances alone."""
    if num_kept >= len(reading.prompt):
        return reading
    first = len(reading.prompt) - num_kept
    return Reading(
        reading.prompt[first:],
        reading.positions[:, first:],
        reading.reply,
        reading.next_position,
        reading.top_position,
    )
