"""The stage `joint`: all parts together, on conversations of many turns that are typed, spoken and shown.

At first the towers stand still and the language model learns to read them, which is faster; then everything learns,
the towers with their own tasks of `hearing` and `seeing` besides. The embedding table never moves.
"""

import random
from collections.abc import Callable, Iterator

import torch

from training.loop import Training, make_optimizers, trapezoid
from training.scenes.grids import CLIP_GRIDS, PICTURE_GRIDS, draw_grid
from training.thinker import hearing, language, seeing
from training.thinker.batch import Batch, Features, buckets, collate, embed, perceive, reply_loss
from training.thinker.config import ThinkerSizes, vocabulary_size
from training.thinker.decode import Question, mark
from training.thinker.mixture import Mixture
from training.thinker.model import Thinker, weights_of
from training.thinker.sequence import Conversation, TextEncoder
from training.tokenizer import load
from training.workspace import Workspace

NAME = "joint"
NUM_STEPS = 3000
LEARNING_RATE = 1.5e-3
FLAT_SHARE = 0.4
# Of the steps, with the towers as they are.
FROZEN_SHARE = 0.5
FROZEN_AGAIN_SHARE = 0.1
SPELLING_WEIGHT = 0.3
NAMING_WEIGHT = 0.3
SHARES = {"text": 0.16, "speech": 0.34, "picture": 0.29, "clip": 0.21}
# Conversations sorted by length together.
POOLS = {"text": 400, "speech": 240, "picture": 160, "clip": 64}
EVALUATE_EVERY_S = 900.0


def run(workspace: Workspace) -> None:
    """Writes all weights, also at every evaluation, so that a run can be tried before its end."""
    tokenizer = load(workspace)
    encode = TextEncoder(tokenizer)
    thinker = Thinker(ThinkerSizes(), vocabulary_size(tokenizer)).to(workspace.device)
    started = workspace.started(NAME)
    thinker.load_state_dict(workspace.load_weights(language.NAME) if started is None else started, strict=False)
    # They may have learnt further by themselves.
    for stage in (hearing.NAME, seeing.NAME):
        thinker.load_state_dict(workspace.load_weights(stage), strict=False)
    speller, namer = load_teachers(workspace, thinker, encode)
    thinker.model.embed_tokens.requires_grad_(False)
    optimizers = make_optimizers(
        [(name, value) for name, value in thinker.named_parameters() if value.requires_grad], LEARNING_RATE
    )
    generator = workspace.random(NAME)
    # Processes that learn together wait for each other: each takes a batch of the same kind, and so as long.
    kinds = workspace.common_random(f"{NAME}/kinds")
    batches = draw_batches(workspace, generator, encode)
    num_steps = workspace.steps(NAME, NUM_STEPS, 8)
    # Parts that have been together before need less time to get acquainted.
    num_frozen = int((FROZEN_SHARE if started is None else FROZEN_AGAIN_SHARE) * num_steps)
    small = questions(workspace, encode, workspace.size(3, 1))
    padding = encode.ids.ends_of_text[0]

    def step(index: int) -> tuple[torch.Tensor, dict[str, float]]:
        kind = kinds.choices(list(SHARES), list(SHARES.values()))[0]
        batch = collate(next(batches[kind]), padding, workspace.device)
        is_frozen = index < num_frozen
        with workspace.autocast():
            with torch.set_grad_enabled(not is_frozen):
                features = perceive(thinker, batch)
            loss, accuracy = reply_loss(thinker, batch, embed(thinker, batch, features))
            figures = {f"{kind} loss": float(loss.detach()), f"{kind} accuracy": accuracy, f"{kind}s": len(batch)}
            if not is_frozen:
                loss = loss + tower_losses(speller, namer, batch, features, figures)
        return loss, figures

    def evaluate(asked: list[Question]) -> dict:
        workspace.save_weights(NAME, weights_of(thinker))
        with workspace.autocast():
            marks = mark(thinker, asked, encode)
        workspace.save_report(NAME, marks.report())
        return marks.main()

    state = {"thinker": thinker} | {f"optimizer {number}": part for number, part in enumerate(optimizers)}
    training = Training(
        workspace,
        NAME,
        num_steps,
        state,
        schedule=lambda index, steps: trapezoid(index, steps, FLAT_SHARE),
        evaluate=lambda: evaluate(small),
        evaluate_every_s=EVALUATE_EVERY_S,
    )
    training.run(step)
    evaluate(questions(workspace, encode, workspace.size(12, 1)))


def load_teachers(workspace: Workspace, thinker: Thinker, encode: TextEncoder) -> tuple[hearing.Speller, seeing.Namer]:
    """The towers' own tasks as the earlier stages left them."""
    table = thinker.model.embed_tokens.weight
    spoken = workspace.load_weights(hearing.NAME, hearing.SPELLER_FILE)
    speller = hearing.Speller(table, encode.ids.audio, spoken["token_ids"].tolist())
    speller.scale.data.copy_(spoken["scale"])
    namer = seeing.Namer(table, encode)
    namer.load_state_dict(workspace.load_weights(seeing.NAME, seeing.NAMER_FILE))
    return speller.to(workspace.device).requires_grad_(False), namer.to(workspace.device).requires_grad_(False)


def tower_losses(
    speller: hearing.Speller, namer: seeing.Namer, batch: Batch, features: Features, figures: dict[str, float]
) -> torch.Tensor:
    """The weighted losses of `hearing` and `seeing` on this batch."""
    total = torch.zeros((), device=batch.ids.device)
    spelled = [
        (vectors, sound.target)
        for sound, vectors in zip(batch.sounds, features.sounds)
        if sound.target is not None and speller.can_spell(sound.target)
    ]
    if spelled:
        loss = speller.loss([vectors for vectors, _ in spelled], [target for _, target in spelled])
        figures["spelling"] = float(loss.detach())
        total = total + SPELLING_WEIGHT * loss
    if batch.pixels:
        loss, _ = seeing.naming_loss(namer, batch.pixels, features.pixels)
        figures["naming"] = float(loss.detach())
        total = total + NAMING_WEIGHT * loss
    return total


def draw_batches(
    workspace: Workspace, generator: random.Random, encode: TextEncoder
) -> dict[str, Iterator[list[Conversation]]]:
    """Endless batches of each kind. Pictures (clips) of one pool share a grid, so that the tower takes them at once."""
    mixture = Mixture(encode, hearing.open_bank(workspace, "train"), "train", generator, is_disturbed=True)

    def of_one_grid(make: Callable, grids: dict) -> Callable[[int], list[Conversation]]:
        def draw(number: int) -> list[Conversation]:
            grid = draw_grid(generator, grids)
            return [mixture.conversation(make(grid)) for _ in range(number)]

        return draw

    makers: dict[str, Callable[[int], list[Conversation]]] = {
        "text": lambda number: [language.draw(generator, encode) for _ in range(number)],
        "speech": lambda number: [mixture.conversation(mixture.speech()) for _ in range(number)],
        "picture": of_one_grid(mixture.picture, PICTURE_GRIDS),
        "clip": of_one_grid(mixture.clip, CLIP_GRIDS),
    }
    return {kind: buckets(make, generator, workspace.size(POOLS[kind], 4)) for kind, make in makers.items()}


def questions(workspace: Workspace, encode: TextEncoder, number: int) -> list[Question]:
    """Held-out questions of every group, `number` of each skill or kind; the same on every call."""
    generator = random.Random(77)
    found = [item for item in language.questions(generator, encode, number) if item.group.startswith("typed")]
    for name, split in (("spoken", "test"), ("stranger", "stranger")):
        mixture = Mixture(encode, hearing.open_bank(workspace, split), "test", generator, is_disturbed=False)
        found += mixture.spoken_questions(name, number)
        if split == "test":
            found += mixture.remembered_questions("memory", 6 * number)
            found += mixture.scene_questions(number)
    return found
