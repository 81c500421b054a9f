"""Greedy replies to a batch of conversations, and how many of them are right to the letter; knows no stage."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from training.thinker.batch import collate, embed, perceive
from training.thinker.model import MASKED, Cache, Thinker
from training.thinker.sequence import Conversation, TextEncoder


@dataclass(frozen=True, eq=False)
class Question:
    """A conversation whose last message is the user's, and the reply it should get."""

    group: str
    prompt: Conversation
    reply: str


@torch.no_grad()
def greedy(
    thinker: Thinker, prompts: Sequence[Conversation], encode: TextEncoder, max_new_tokens: int = 40
) -> list[str]:
    """Replies as text without their end token. Rows are padded on the left, so all decode at one column."""
    device = thinker.model.embed_tokens.weight.device
    batch = collate(prompts, encode.ids.ends_of_text[0], device)
    embedded = embed(thinker, batch, perceive(thinker, batch))
    num_rows, length = batch.ids.shape
    x, positions = torch.zeros_like(embedded), torch.zeros_like(batch.positions)
    is_token = torch.zeros(num_rows, length, dtype=torch.bool, device=device)
    for row, prompt in enumerate(prompts):
        x[row, length - len(prompt) :] = embedded[row, : len(prompt)]
        positions[:, row, length - len(prompt) :] = batch.positions[:, row, : len(prompt)]
        is_token[row, length - len(prompt) :] = True
    seen = is_token[:, None, None] & torch.ones(length, length, dtype=torch.bool, device=device).tril()
    seen = seen | torch.eye(length, dtype=torch.bool, device=device)
    cache: Cache = [None] * len(thinker.model.layers)
    states = thinker.model(x, positions, torch.zeros(seen.shape, device=device).masked_fill(~seen, MASKED), cache)
    next_positions = torch.tensor([prompt.next_position for prompt in prompts], device=device)
    is_open = torch.ones(num_rows, dtype=torch.bool, device=device)
    columns = []
    for step in range(max_new_tokens):
        ids = thinker.model.logits(states[:, -1]).float().argmax(-1)
        columns.append(ids)
        is_open &= ids != encode.ids.im_end
        if not is_open.any():
            break
        is_token = torch.cat([is_token, torch.ones(num_rows, 1, dtype=torch.bool, device=device)], 1)
        mask = torch.zeros(is_token.shape, device=device).masked_fill(~is_token, MASKED)[:, None, None]
        places = (next_positions + step)[None, :, None].expand(3, -1, -1)
        states = thinker.model(thinker.model.embed_tokens(ids)[:, None], places, mask, cache)
    replies = []
    for row in torch.stack(columns, 1).tolist():
        end = row.index(encode.ids.im_end) if encode.ids.im_end in row else len(row)
        replies.append(encode.tokenizer.decode(row[:end]))
    return replies


@dataclass(frozen=True)
class Marks:
    """Share of exact replies in percent by group (and by what stands before its colon), with the number asked, and
    some (wanted, given) pairs of what went wrong."""

    exact: dict[str, float]
    number: dict[str, int]
    wrong: dict[str, list[tuple[str, str]]]

    def report(self) -> dict:
        return {"exact": self.exact, "number": self.number, "wrong": self.wrong}

    def main(self) -> dict[str, float]:
        """The groups without their parts."""
        return {group: share for group, share in self.exact.items() if ":" not in group}


@torch.no_grad()
def mark(
    thinker: Thinker,
    questions: Sequence[Question],
    encode: TextEncoder,
    batch_size: int = 48,
    num_wrong: int = 4,
) -> Marks:
    """Asks everything, conversations of similar length together."""
    was_training = thinker.training
    thinker.eval()
    order = sorted(range(len(questions)), key=lambda index: len(questions[index].prompt))
    right: dict[str, list[bool]] = defaultdict(list)
    wrong: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for first in range(0, len(order), batch_size):
        asked = [questions[index] for index in order[first : first + batch_size]]
        for question, reply in zip(asked, greedy(thinker, [item.prompt for item in asked], encode)):
            for group in {question.group, question.group.split(":")[0]}:
                right[group].append(reply == question.reply)
            if reply != question.reply and len(wrong[question.group]) < num_wrong:
                wrong[question.group].append((question.reply, reply))
    thinker.train(was_training)
    return Marks(
        {group: round(100 * sum(marks) / len(marks), 1) for group, marks in sorted(right.items())},
        {group: len(marks) for group, marks in sorted(right.items())},
        dict(wrong),
    )
