"""The stage `seeing`: the vision tower alone names what lies at each token, its names being the word vectors.

The token with a thing's centre must point at the vectors of its colour, its shape (or digit) and, in a clip, what
happens to it within these two frames; all others at the vector of `<|IMAGE|>`. The table stays as it is, so the vectors
come to lie where the language model looks for words. Where in the picture a thing is and how big it is has vectors of
its own, which are learnt here and forgotten: without them only the language model's rotary positions would tell the
place.
"""

import random
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from training.domain.split import Split
from training.loop import Training, make_optimizers
from training.scenes.clips import clip
from training.scenes.grids import CLIP_GRIDS, PICTURE_GRIDS, Grid, draw_grid
from training.scenes.pictures import picture
from training.scenes.things import COLOURS, SHAPES, Clip, Thing, number_words
from training.thinker.batch import look
from training.thinker.config import ThinkerSizes, vocabulary_size
from training.thinker.model import Thinker, weights_of
from training.thinker.sequence import Pixels, TextEncoder, patches_of
from training.tokenizer import load
from training.workspace import Workspace

NAME = "seeing"
NUM_STEPS = 2400
PICTURES_PER_STEP = 64
CLIPS_PER_STEP = 20
CLIP_SHARE = 0.25
CAMERA_SHARE = 0.4
LEARNING_RATE = 3e-3
SCALE_LEARNING_RATE = 1e-2
EVALUATE_EVERY_S = 300.0
NAMER_FILE = "namer.safetensors"

# A jump goes up or down within two frames, a blink is gone in one of them.
CHANGES = ("left", "right", "up", "down", "appears", "disappears")
DIGITS = tuple(number_words(digit) for digit in range(10))
# What a label tells, in this order; 0 is "nothing here".
WORD_KINDS = (COLOURS, (*SHAPES, *DIGITS), CHANGES)
# Thirds across and down, and half sizes between these shares of the shorter side.
SIZE_EDGES = (0.14, 0.17, 0.205, 0.25)
NUM_LEARNT = (3, 3, len(SIZE_EDGES) + 1)
NUM_KINDS = len(WORD_KINDS) + len(NUM_LEARNT)
# Most tokens show nothing.
EMPTY_WEIGHT = 0.25
LEARNT_WEIGHT = 0.3


class Namer(nn.Module):
    """Vision vectors to the logits of what is there. Owns one scale and the vectors of place and size."""

    def __init__(self, table: torch.Tensor, encode: TextEncoder) -> None:
        super().__init__()
        table = table.detach()
        for index, words in enumerate(WORD_KINDS):
            ids = [encode.ids.image, *(encode(f" {word}")[0] for word in words)]
            self.register_buffer(f"rows_{index}", table[ids].clone(), persistent=False)
        self.scale = nn.Parameter(torch.tensor(10.0) / table.pow(2).sum(1).median().cpu())
        self.learnt = nn.ParameterList([torch.randn(number, table.shape[1]) * 0.05 for number in NUM_LEARNT])

    def forward(self, vectors: torch.Tensor) -> list[torch.Tensor]:
        """`[..., hidden]` to the logits of each kind of label, the first three with "nothing" in front."""
        words = [F.linear(vectors, getattr(self, f"rows_{i}")) * self.scale for i in range(len(WORD_KINDS))]
        return words + [F.linear(vectors, rows) for rows in self.learnt]

    def loss(self, vectors: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """`vectors` `[token, hidden]`, `labels` int64 `[token, kind]`; the figures are shares of things named right."""
        is_thing = labels[:, 0] > 0
        loss = vectors.new_zeros((), dtype=torch.float32)
        figures = {}
        for kind, logits in enumerate(self(vectors)):
            target, logits = labels[:, kind], logits.float()
            name = ("colour", "shape", "change", "across", "down", "size")[kind]
            if kind < len(WORD_KINDS):
                if kind == 2 and not bool((target > 0).any()):
                    continue
                weight = torch.where(is_thing, 1.0, EMPTY_WEIGHT)
                each = F.cross_entropy(logits, target, reduction="none")
                loss = loss + (each * weight).sum() / weight.sum()
                right = logits.argmax(-1) == target
            elif not bool(is_thing.any()):
                continue
            else:
                seen = logits[is_thing]
                loss = loss + LEARNT_WEIGHT * F.cross_entropy(seen, target[is_thing] - 1)
                right = torch.zeros_like(is_thing)
                right[is_thing] = seen.argmax(-1) == target[is_thing] - 1
            if bool(is_thing.any()):
                figures[name] = float(right[is_thing].float().mean())
        return loss, figures


def label(groups: Sequence[Sequence[Thing]], grid: Grid, changes: Sequence[str | None] = (None,)) -> np.ndarray:
    """Things per pair of frames, and what happens there, to int64 `[group, token, kind]`."""
    rows, columns = grid
    labels = np.zeros((len(groups), rows * columns, NUM_KINDS), np.int64)
    for group, (things, change) in enumerate(zip(groups, changes, strict=True)):
        for number, thing in enumerate(things):
            row = min(rows - 1, max(0, int(thing.y * rows)))
            column = min(columns - 1, max(0, int(thing.x * columns)))
            # Of several things it is the first that something happens to.
            labels[group, row * columns + column] = _of_thing(thing, change if number == 0 else None)
    return labels


def _of_thing(thing: Thing, change: str | None) -> tuple[int, ...]:
    shape = 0
    if thing.shape in SHAPES:
        shape = 1 + SHAPES.index(thing.shape)
    elif thing.shape.isdigit():
        shape = 1 + len(SHAPES) + int(thing.shape)
    return (
        1 + COLOURS.index(thing.colour),
        shape,
        0 if change is None else 1 + CHANGES.index(change),
        1 + min(2, max(0, int(3 * thing.x))),
        1 + min(2, max(0, int(3 * thing.y))),
        1 + sum(thing.size >= edge for edge in SIZE_EDGES),
    )


def picture_pixels(pixels: np.ndarray, things: Sequence[Thing]) -> Pixels:
    patches, grid = patches_of(pixels[None])
    return Pixels(patches, grid, label([things], grid))


def clip_pixels(shown: Clip) -> Pixels:
    patches, grid = patches_of(shown.frames)
    return Pixels(patches, grid, label(shown.things, grid, shown.changes))


def draw_pictures(generator: random.Random, split: Split, number: int, kind: str | None = None) -> list[Pixels]:
    """Pictures of one grid."""
    grid = draw_grid(generator, PICTURE_GRIDS)
    drawn = (
        picture(generator, split, kind=kind, grid=grid, camera=generator.random() < CAMERA_SHARE) for _ in range(number)
    )
    return [picture_pixels(item.pixels, item.things) for item in drawn]


def draw_clips(generator: random.Random, split: Split, number: int) -> list[Pixels]:
    grid = draw_grid(generator, CLIP_GRIDS)
    drawn = (clip(generator, split, grid=grid) for _ in range(number))
    return [clip_pixels(item) for item in drawn]


def naming_loss(
    namer: Namer, pixels: Sequence[Pixels], vectors: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, dict[str, float]]:
    """Loss of `Namer.loss` over pictures and clips and what the tower made of them."""
    flat = torch.cat([item.flatten(0, 1) for item in vectors])
    labels = np.concatenate([item.labels.reshape(-1, NUM_KINDS) for item in pixels])
    return namer.loss(flat, torch.from_numpy(labels).to(flat.device))


def run(workspace: Workspace) -> None:
    """Writes `visual.*` weights."""
    tokenizer = load(workspace)
    encode = TextEncoder(tokenizer)
    thinker = Thinker(ThinkerSizes(), vocabulary_size(tokenizer)).to(workspace.device)
    thinker.load_state_dict(workspace.load_weights("language") | (workspace.started(NAME) or {}), strict=False)
    namer = Namer(thinker.model.embed_tokens.weight, encode).to(workspace.device)
    if workspace.started(NAME) is not None:
        namer.load_state_dict(workspace.load_weights(NAME, NAMER_FILE))
    named = [(name, value) for name, value in thinker.named_parameters() if name.startswith("visual.")]
    optimizers = make_optimizers(named, LEARNING_RATE)
    optimizers[-1].add_param_group({"params": list(namer.parameters()), "lr": SCALE_LEARNING_RATE})
    generator = workspace.random(NAME)

    def step(index: int) -> tuple[torch.Tensor, dict[str, float]]:
        is_clip = generator.random() < CLIP_SHARE
        if is_clip:
            pixels = draw_clips(generator, "train", workspace.size(CLIPS_PER_STEP, 2))
        else:
            pixels = draw_pictures(generator, "train", workspace.size(PICTURES_PER_STEP, 4))
        with workspace.autocast():
            loss, figures = naming_loss(namer, pixels, look(thinker, pixels))
        kind = "clip" if is_clip else "picture"
        return loss, {f"{kind} {name}": value for name, value in figures.items()} | {f"{kind}s": len(pixels)}

    def evaluate() -> dict[str, float]:
        workspace.save_weights(NAME, weights_of(thinker, "visual."))
        workspace.save_weights(NAME, namer.state_dict(), NAMER_FILE)
        with workspace.autocast():
            return named_right(thinker, namer, workspace.size(3, 1), workspace.size(40, 2))

    state = {"tower": thinker.visual, "namer": namer}
    state |= {f"optimizer {number}": part for number, part in enumerate(optimizers)}
    training = Training(
        workspace,
        NAME,
        workspace.steps(NAME, NUM_STEPS, 4),
        state,
        evaluate=evaluate,
        evaluate_every_s=EVALUATE_EVERY_S,
    )
    training.run(step)
    workspace.save_report(NAME, evaluate())


@torch.no_grad()
def named_right(thinker: Thinker, namer: Namer, num_grids: int, per_grid: int) -> dict[str, float]:
    """Shares in percent of things that are named right in held-out pictures, drawn numbers and clips."""
    sums: dict[str, list[float]] = {}
    generator = random.Random(5)
    for _ in range(num_grids):
        for name, pixels in (
            ("picture", draw_pictures(generator, "test", per_grid, "describe")),
            ("number", draw_pictures(generator, "test", per_grid, "number")),
            ("clip", draw_clips(generator, "test", per_grid // 2)),
        ):
            _, figures = naming_loss(namer, pixels, look(thinker, pixels))
            for kind, value in figures.items():
                sums.setdefault(f"{name} {kind}", []).append(100 * value)
    return {name: round(sum(values) / len(values), 1) for name, values in sums.items()}
