"""Stage 2 of the Talker: direct preference optimisation on pairs that a recognizer ranked.

The Talker says a text twice; what was understood better is preferred (DPO, https://arxiv.org/abs/2305.18290). Pairs are
kept in the stage's folder, so that the stage can be run again on a Talker that was trained further.
"""

import copy
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from training.domain.replies import reply_texts
from training.loop import Training, cosine
from training.speech.reply_voices import VOICES
from training.talker import talker as first_stage
from training.talker.generate import Drawing, speak
from training.talker.judge import Judge
from training.talker.layout import NOTHING, Steps, layout, side_by_side
from training.talker.model import Talker, library_weights
from training.talker.sound import Ear, Loudspeaker
from training.talker.states import Disturbance
from training.talker.studio import Studio, said
from training.workspace import Workspace

NAME = "talker_dpo"
NUM_STEPS = 240
PAIRS_PER_STEP, RECORDINGS_PER_STEP = 6, 6
LEARNING_RATE = 1.5e-4
BETA = 0.1
# Weight of the recordings' own loss, which keeps the Talker at speech.
HOLD = 5.0
NUM_TEXTS, TEXTS_AT_ONCE = 420, 30
# Drawn freely: where the Talker is unsure its two tries should differ.
DRAWING = Drawing(temperature=1.0, top_k=40, top_p=0.95)
HELD_OUT_EVERY = 10


@dataclass(frozen=True)
class Pair:
    """`good` and `bad`: codes of the same text by the same voice, and how many words were misheard in each."""

    text: str
    voice: int
    good: list[int]
    bad: list[int]
    errors: tuple[int, int]


def run(workspace: Workspace) -> None:
    studio = Studio(workspace)
    talker = studio.load_talker(first_stage.NAME)
    path = workspace.stage(NAME) / "pairs.json"
    if not path.exists():
        write_pairs(path, find_pairs(workspace, studio, talker.eval()))
    pairs = read_pairs(path)
    learnt = [pair for number, pair in enumerate(pairs) if number % HELD_OUT_EVERY]
    held_out = pairs[::HELD_OUT_EVERY]
    judge = Judge(workspace, studio)
    report = {"pairs": len(pairs), "before": judge.full(talker)}
    if learnt:
        prefer(workspace, studio, talker, learnt, held_out, report)
    workspace.save_weights(NAME, library_weights(talker))
    workspace.save_report(NAME, report | {"after": judge.full(talker.eval())})


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    path.write_text(json.dumps([asdict(pair) for pair in pairs]) + "\n")


def read_pairs(path: Path) -> list[Pair]:
    return [Pair(**{**fields, "errors": tuple(fields["errors"])}) for fields in json.loads(path.read_text())]


def find_pairs(workspace: Workspace, studio: Studio, talker: Talker) -> list[Pair]:
    """Says replies twice and keeps those of which one was understood better."""
    texts = reply_texts(workspace.random(f"{NAME}/texts"), "train", workspace.size(NUM_TEXTS, 6))
    loudspeaker, ear = Loudspeaker(workspace), Ear(texts)
    noise = torch.Generator().manual_seed(workspace.seed)
    generator = workspace.random(f"{NAME}/prompts")
    pairs = []
    for first in tqdm(range(0, len(texts), TEXTS_AT_ONCE), desc=f"{NAME} pairs", mininterval=5):
        part = texts[first : first + TEXTS_AT_ONCE]
        voices = [(first + number) % len(VOICES) for number in range(len(part))]
        readings = studio.read(part, generator)
        tries = [speak(talker, studio.frame, readings, voices, DRAWING, noise)[0] for _ in range(2)]
        for text, voice, one, other in zip(part, voices, *tries):
            ranked = sorted(
                ((ear.errors(text, loudspeaker.play(codes, voice))[0], codes) for codes in (one, other)),
                key=lambda item: item[0],
            )
            (fewer, good), (more, bad) = ranked
            if fewer < more and len(good) and len(bad):
                pairs.append(Pair(text, voice, good.tolist(), bad.tolist(), (fewer, more)))
    return pairs


def prefer(
    workspace: Workspace, studio: Studio, talker: Talker, learnt: list[Pair], held_out: list[Pair], report: dict
) -> None:
    reference = copy.deepcopy(talker).requires_grad_(False)
    known = studio.groups()
    optimizer = torch.optim.AdamW(talker.train().parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)

    def step(index: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        generator = workspace.random(f"{NAME}/{index}")
        chosen = generator.sample(learnt, min(PAIRS_PER_STEP, len(learnt)))
        recordings = first_stage.draw(generator, known)[:RECORDINGS_PER_STEP]
        with workspace.autocast():
            margins = preference(studio, talker, reference, chosen, generator, Disturbance())
            scores, _ = said(talker, studio.batch(talker, recordings, generator))
        loss = -F.logsigmoid(BETA * margins).mean() - HOLD * scores.mean()
        return loss, {"margin": margins.mean().item(), "preferred": (margins > 0).float().mean().item()}

    training = Training(
        workspace, NAME, workspace.steps(NAME, NUM_STEPS, 2), {"talker": talker, "optimizer": optimizer}, cosine
    )
    training.run(step)
    with torch.no_grad():
        margins = preference(studio, talker, reference, held_out, workspace.random(f"{NAME}/held out"))
    report["held_out_preferred"] = round((margins > 0).float().mean().item(), 3)
    report["held_out_margin"] = round(margins.mean().item(), 3)


def preference(
    studio: Studio,
    talker: Talker,
    reference: Talker,
    pairs: Sequence[Pair],
    generator: random.Random,
    disturbance: Disturbance | None = None,
) -> torch.Tensor:
    """By how much more than the reference the Talker prefers the good one `[pair]`, in nats."""
    readings = studio.read([pair.text for pair in pairs], generator, disturbance=disturbance)
    margins = []
    for name in ("good", "bad"):
        steps = side_by_side(
            [
                layout(talker, studio.frame, reading, pair.voice, torch.tensor(getattr(pair, name)))
                for reading, pair in zip(readings, pairs)
            ]
        )
        margins.append(whole(talker, steps) - whole(reference, steps).detach())
    return margins[0] - margins[1]


def whole(talker: Talker, steps: Steps) -> torch.Tensor:
    """Log-probability `[row]` of everything a row says."""
    scores, _ = said(talker, steps)
    rows = (steps.targets != NOTHING).nonzero()[:, 0]
    return torch.zeros(len(steps.codes), device=scores.device).index_add(0, rows, scores)
