"""The stages of a run in order: what each is for and which module runs it; knows no stage from inside."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from training.workspace import Workspace


@dataclass(frozen=True)
class Stage:
    """`module` has `run(workspace)`, or the function named after the colon; imported only when the stage runs."""

    name: str
    module: str
    purpose: str
    # Whether several processes may run it with `training.parallel`.
    learns_together: bool = False

    def run(self) -> Callable[[Workspace], None]:
        module, _, function = self.module.partition(":")
        return getattr(importlib.import_module(module), function or "run")


STAGES = (
    Stage("tokenizer", "training.tokenizer:build", "byte-level BPE over the domain and plain English"),
    Stage(
        "voices_in",
        "training.voices.stage",
        "people to hear: synthesized questions in rooms, through cheap microphones",
    ),
    Stage("voices_out", "training.speech.voices_out", "the three reply voices read replies and plain English"),
    Stage("codec", "training.speech.codec", "k-means over phone and mel: one code per 20 ms"),
    Stage("vocoder", "training.speech.vocoder", "BigVGAN: mel to wave, spectral losses"),
    Stage("vocoder_gan", "training.speech.vocoder_gan", "BigVGAN goes on against discriminators"),
    Stage("flow", "training.speech.flow", "DiT: codes to mel by flow matching, classifier-free guidance"),
    Stage(
        "language",
        "training.thinker.language",
        "the Thinker's language model alone, on text and pseudo-speech",
        learns_together=True,
    ),
    Stage(
        "hearing",
        "training.thinker.hearing",
        "stage 1: the audio tower against the frozen word vectors",
        learns_together=True,
    ),
    Stage(
        "seeing",
        "training.thinker.seeing",
        "stage 1: the vision tower against the frozen word vectors",
        learns_together=True,
    ),
    Stage(
        "joint",
        "training.thinker.joint",
        "stages 2 and 3: all parts, many turns, ChatML instructions",
        learns_together=True,
    ),
    Stage(
        "talker",
        "training.talker.talker",
        "stage 1: the next codec token on the Thinker's states",
        learns_together=True,
    ),
    Stage("talker_dpo", "training.talker.dpo", "stage 2: pairs ranked by recognizer errors"),
    Stage("talker_speakers", "training.talker.speakers", "stage 3: the voice follows the speaker token"),
    Stage("export", "training.export", "one folder that plain transformers loads"),
)


def run_beside(rank: int, name: str, workspace: Workspace) -> None:
    """What the others do while the first process runs a stage."""
    next(stage for stage in STAGES if stage.name == name).run()(replace(workspace, rank=rank))
