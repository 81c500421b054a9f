"""Conversations of similar length put side by side, and their way through the model; knows no stage."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from training.thinker.model import Thinker
from training.thinker.sequence import Conversation, Pixels, Sound

TOKENS_PER_STEP = 4096


@dataclass(frozen=True, eq=False)
class Batch:
    """`ids` and `is_learnt` `[row, token]`, padded on the right; `positions` `[3, row, token]`.

    `sound_places` and `pixel_places` `[number]` index the flattened `ids` in the order of the media.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    is_learnt: torch.Tensor
    sounds: list[Sound]
    sound_places: torch.Tensor
    pixels: list[Pixels]
    pixel_places: torch.Tensor

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Features:
    """What the towers made of a batch: `sounds[i]` `[token, hidden]`, `pixels[i]` `[group, token, hidden]`."""

    sounds: list[torch.Tensor]
    pixels: list[torch.Tensor]


def collate(conversations: Sequence[Conversation], padding: int, device: torch.device) -> Batch:
    length = -(-max(len(row) for row in conversations) // 8) * 8
    ids = np.full((len(conversations), length), padding, np.int64)
    positions = np.zeros((3, len(conversations), length), np.int64)
    is_learnt = np.zeros((len(conversations), length), bool)
    sound_places, pixel_places = [], []
    for index, row in enumerate(conversations):
        ids[index, : len(row)] = row.ids
        positions[:, index, : len(row)] = row.positions
        is_learnt[index, : len(row)] = row.is_learnt
        sound_places += [index * length + place for place in row.sound_places]
        pixel_places += [index * length + place for place in row.pixel_places]
    return Batch(
        torch.from_numpy(ids).to(device),
        torch.from_numpy(positions).to(device),
        torch.from_numpy(is_learnt).to(device),
        [sound for row in conversations for sound in row.sounds],
        torch.tensor(sound_places, dtype=torch.long, device=device),
        [pixels for row in conversations for pixels in row.pixels],
        torch.tensor(pixel_places, dtype=torch.long, device=device),
    )


def look(thinker: Thinker, pixels: Sequence[Pixels]) -> list[torch.Tensor]:
    """Pictures and clips through the vision tower, all of one grid together."""
    by_grid: dict[tuple[int, int], list[int]] = {}
    for index, item in enumerate(pixels):
        by_grid.setdefault(item.grid, []).append(index)
    found: list[torch.Tensor | None] = [None] * len(pixels)
    for grid, indices in by_grid.items():
        patches = torch.from_numpy(np.concatenate([pixels[index].patches for index in indices]))
        vectors = thinker.visual(patches, grid).split([len(pixels[index].patches) for index in indices])
        for index, item in zip(indices, vectors):
            found[index] = item
    return found


def perceive(thinker: Thinker, batch: Batch) -> Features:
    sounds = thinker.audio_tower([sound.mel for sound in batch.sounds]) if batch.sounds else []
    return Features(sounds, look(thinker, batch.pixels))


def embed(thinker: Thinker, batch: Batch, features: Features) -> torch.Tensor:
    """Words from the table, media from the towers: `[row, token, hidden]`."""
    x = thinker.model.embed_tokens(batch.ids)
    flat = x.flatten(0, 1)
    for places, vectors in (
        (batch.sound_places, features.sounds),
        (batch.pixel_places, [item.flatten(0, 1) for item in features.pixels]),
    ):
        if vectors:
            flat = flat.index_put((places,), torch.cat(vectors).to(flat.dtype))
    return flat.view_as(x)


def reply_loss(thinker: Thinker, batch: Batch, embedded: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Mean cross entropy of the learnt tokens, and the share of them that is guessed right."""
    states = thinker.model(embedded, batch.positions)
    is_target = batch.is_learnt[:, 1:]
    targets = batch.ids[:, 1:][is_target]
    logits = thinker.model.logits(states[:, :-1][is_target]).float()
    accuracy = (logits.argmax(-1) == targets).float().mean()
    return F.cross_entropy(logits, targets), float(accuracy)


def buckets(
    draw: Callable[[int], list[Conversation]], generator: random.Random, pool: int, max_tokens: int = TOKENS_PER_STEP
) -> Iterator[list[Conversation]]:
    """Endless batches of at most `max_tokens`, padding included: `draw(pool)` conversations are sorted by
    length, cut into batches and shuffled."""
    while True:
        rows = sorted(draw(pool), key=len)
        batches: list[list[Conversation]] = [[]]
        for row in rows:
            if batches[-1] and (len(batches[-1]) + 1) * len(row) > max_tokens:
                batches.append([])
            batches[-1].append(row)
        generator.shuffle(batches)
        yield from batches
