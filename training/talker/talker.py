"""Stage 1 of the Talker: the next codec token, from the Thinker's states of real conversations.

Run it again with more steps once the Thinker has been trained further: it goes on from where it stopped, on the
states of the newest Thinker.
"""

import random
from collections.abc import Mapping, Sequence

import torch

from training.loop import Training, make_optimizers
from training.talker.foresight import Foresight
from training.talker.guide import Guide
from training.talker.judge import Judge
from training.talker.layout import NOTHING
from training.talker.model import SIZES, Talker, from_library, library_weights
from training.talker.studio import Studio, judged
from training.workspace import Workspace

NAME = "talker"
NUM_STEPS = 12_500
# A text is read once and said by two voices.
TEXTS_PER_STEP, VOICES_PER_TEXT = 12, 2
# Texts of similar length among which those of a step are drawn.
BUCKET = 48
LEARNING_RATE = 2e-3
# Replies from which the start of the projection is measured.
NUM_MEASURED = 400


def run(workspace: Workspace) -> None:
    studio = Studio(workspace)
    torch.manual_seed(workspace.seed)
    talker = studio.new_talker().train()
    known = studio.groups()
    if started := workspace.started(NAME):
        from_library(talker, started)
    else:
        measure(workspace, studio, talker, known)
    foresight = Foresight(SIZES.hidden).to(workspace.device)
    optimizers = make_optimizers([*talker.named_parameters(), *foresight.named_parameters()], LEARNING_RATE)
    guide = Guide(talker)
    judge = Judge(workspace, studio)

    def step(index: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        generator = workspace.random(f"{NAME}/{index}")
        steps = studio.batch(talker, draw(generator, known), generator)
        is_target = steps.targets != NOTHING
        with workspace.autocast():
            hidden = talker(steps.states, steps.codes, steps.positions)[is_target]
            scores, is_right = judged(talker, hidden, steps.targets[is_target])
            missed, right_next = foresight(hidden, steps.ahead[is_target])
            astray, looks = guide.loss(steps)
        figures = {
            "entropy": -scores.mean().item(),
            "top1": is_right.float().mean().item(),
            "next_phone": right_next,
            "looks_at_word": looks,
        }
        return -scores.mean() + foresight.WEIGHT * missed + Guide.WEIGHT * astray, figures

    def evaluate() -> Mapping[str, float]:
        workspace.save_weights(NAME, library_weights(talker))
        return judge.brief(talker)

    training = Training(
        workspace,
        NAME,
        workspace.steps(NAME, NUM_STEPS, 3),
        {"talker": talker, "foresight": foresight} | {f"optimizer {i}": part for i, part in enumerate(optimizers)},
        evaluate=evaluate,
        evaluate_every_s=240.0,
    )
    training.run(step)
    workspace.save_weights(NAME, library_weights(talker))
    workspace.save_report(NAME, judge.full(talker.eval()))


def draw(generator: random.Random, groups: Sequence[Sequence[int]]) -> list[int]:
    """Recordings of similar length."""
    first = generator.randrange(max(1, len(groups) - BUCKET + 1))
    bucket = groups[first : first + BUCKET]
    chosen = generator.sample(bucket, min(TEXTS_PER_STEP, len(bucket)))
    return [index for group in chosen for index in generator.sample(group, min(VOICES_PER_TEXT, len(group)))]


def measure(workspace: Workspace, studio: Studio, talker: Talker, groups: Sequence[Sequence[int]]) -> None:
    """Lets the Talker begin with a projection that tells the Thinker's tokens apart."""
    generator = workspace.random(f"{NAME}/measure")
    chosen = generator.sample(groups, min(len(groups), NUM_MEASURED))
    texts = [studio.recordings.texts[group[0]] for group in chosen]
    states, ids = [], []
    for first in range(0, len(texts), 40):
        part = texts[first : first + 40]
        states += [reading.reply for reading in studio.read(part, generator)]
        ids += [torch.tensor(studio.encode(text)) for text in part]
    talker.begin_from(torch.cat(states), torch.cat(ids).to(states[0].device))
