"""Stage 3 of the Talker: every text by every voice, so that nothing but the speaker's token tells them apart."""

from collections.abc import Mapping

import torch

from training.loop import Training, cosine
from training.talker import dpo
from training.talker import talker as first_stage
from training.talker.judge import Judge
from training.talker.model import library_weights
from training.talker.studio import Studio, said
from training.workspace import Workspace

NAME = "talker_speakers"
NUM_STEPS = 240
TEXTS_PER_STEP = 5
# Texts of similar length among which a batch is drawn.
BUCKET = 30
LEARNING_RATE = 3e-4


def run(workspace: Workspace) -> None:
    """Goes on from stage 2, from stage 1 where that was left out."""
    studio = Studio(workspace)
    is_tuned = (workspace.folder / dpo.NAME / "model.safetensors").exists()
    talker = studio.load_talker(dpo.NAME if is_tuned else first_stage.NAME)
    groups = studio.groups()
    judge = Judge(workspace, studio)
    before = judge.voices(talker.eval())
    optimizer = torch.optim.AdamW(talker.train().parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)

    def step(index: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        generator = workspace.random(f"{NAME}/{index}")
        first = generator.randrange(max(1, len(groups) - BUCKET + 1))
        bucket = groups[first : first + BUCKET]
        chosen = generator.sample(bucket, min(TEXTS_PER_STEP, len(bucket)))
        steps = studio.batch(talker, [index for group in chosen for index in group], generator)
        with workspace.autocast():
            scores, is_right = said(talker, steps)
        return -scores.mean(), {"top1": is_right.float().mean().item()}

    state = {"talker": talker, "optimizer": optimizer}
    Training(workspace, NAME, workspace.steps(NAME, NUM_STEPS, 2), state, cosine, lambda: judge.brief(talker)).run(step)
    workspace.save_weights(NAME, library_weights(talker))
    workspace.save_report(NAME, {"before": before, "after": judge.full(talker.eval())})
