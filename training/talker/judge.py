"""What a Talker can do with texts and recordings that it never learnt; knows no stage."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from training.speech.open_text import sentences
from training.speech.reply_voices import VOICES
from training.talker.generate import MAX_CODES, Drawing, speak
from training.talker.layout import NOTHING
from training.talker.model import Talker
from training.talker.sound import Ear, Loudspeaker, accuracy
from training.talker.states import Disturbance, Reading
from training.talker.studio import Studio, said
from training.workspace import Workspace

NO_STATES = Disturbance(noise=0.0, dropped=1.0)
NOISY = Disturbance(noise=0.2, dropped=0.0)
# As `generate()` draws by default.
DRAWN = Drawing(temperature=0.9, top_k=40, top_p=0.8)


class Judge:
    """Holds the held-out recordings and the prompts before them, the same at every call."""

    def __init__(self, workspace: Workspace, studio: Studio, num_texts: int = 16) -> None:
        """`num_texts` of plain English and as many replies of the domain, each by all voices."""
        self._workspace = workspace
        self._studio = studio
        recordings = studio.recordings
        generator = workspace.random("talker/judge")
        open_texts = set(sentences("test"))
        by_text: dict[bool, dict[str, list[int]]] = {True: {}, False: {}}
        for index in studio.chosen(held_out=True):
            text = recordings.texts[index]
            by_text[text in open_texts].setdefault(text, []).append(index)
        self._kinds: dict[str, list[int]] = {}
        for is_open, name in ((False, "replies"), (True, "open")):
            texts = sorted(by_text[is_open])
            chosen = generator.sample(texts, min(workspace.size(num_texts, 2), len(texts)))
            if chosen:
                self._kinds[name] = [index for text in chosen for index in by_text[is_open][text]]
        self._all_texts = {kind: list(texts) for kind, texts in (("replies", by_text[False]), ("open", by_text[True]))}

    @torch.no_grad()
    def brief(self, talker: Talker) -> dict[str, float]:
        """Cross entropy and share of right guesses, teacher-forced."""
        figures = {}
        for kind in self._kinds:
            figures |= {f"{name}_{kind}": value for name, value in self._scores(talker, kind).items()}
        return figures

    @torch.no_grad()
    def full(self, talker: Talker, loud: bool = True) -> dict:
        """With speech of its own: its length, its voice, and what a recognizer understands once there is sound."""
        report = {"thinker": self._studio.thinker_name, **self.brief(talker)}
        for kind in self._kinds:
            report |= {f"{name}_{kind}": value for name, value in self._spoken(talker, kind, loud).items()}
        report["entropy_without_hidden"] = self._scores(talker, next(iter(self._kinds)), NO_STATES)["entropy"]
        report["entropy_with_noise"] = self._scores(talker, next(iter(self._kinds)), NOISY)["entropy"]
        report |= self.voices(talker)
        return report

    def _readings(self, kind: str, disturbance: Disturbance | None = None) -> list[Reading]:
        """One per recording; the voices of a text read the same."""
        indices = self._kinds[kind]
        texts = list(dict.fromkeys(self._studio.recordings.texts[i] for i in indices))
        generator = self._workspace.random("talker/judge/prompts")
        found = dict(zip(texts, self._studio.read(texts, generator, held_out=True, disturbance=disturbance)))
        return [found[self._studio.recordings.texts[i]] for i in indices]

    def _scores(
        self, talker: Talker, kind: str, disturbance: Disturbance | None = None, voices: Sequence[int] | None = None
    ) -> Mapping[str, float]:
        steps = self._studio.steps(talker, self._readings(kind, disturbance), self._kinds[kind], voices)
        with self._workspace.autocast():
            scores, is_right = said(talker, steps)
        return {"entropy": round(-scores.mean().item(), 4), "top1": round(is_right.float().mean().item(), 4)}

    def _spoken(self, talker: Talker, kind: str, loud: bool) -> Mapping[str, float]:
        indices, studio = self._kinds[kind], self._studio
        readings, voices = self._readings(kind), [studio.recordings.voice[i] for i in indices]
        figures: dict[str, float] = {}
        noise = torch.Generator().manual_seed(1)
        # What has learnt nothing babbles until it is stopped.
        most = self._workspace.size(MAX_CODES, 60)
        for name, drawing in (("greedy", Drawing()), ("drawn", DRAWN)):
            codes, distance = speak(talker, studio.frame, readings, voices, drawing, noise, most)
            ratios = [len(made) / len(studio.codes[i]) for made, i in zip(codes, indices)]
            figures[f"length_{name}"] = round(float(np.mean(ratios)), 3)
            figures[f"worst_length_{name}"] = round(float(max(abs(ratio - 1) for ratio in ratios)), 3)
            figures[f"unused_below_{name}"] = round(distance.item(), 2)
            if loud:
                figures |= {f"{key}_{name}": value for key, value in self._heard(kind, codes, indices).items()}
        if loud:
            figures |= {
                f"{key}_recorded": value
                for key, value in self._heard(kind, [studio.codes[i] for i in indices], indices).items()
            }
        return figures

    def _heard(self, kind: str, codes: Sequence[torch.Tensor], indices: Sequence[int]) -> Mapping[str, float]:
        """Word accuracy of what the codes sound like, {} while there is no sound."""
        try:
            loudspeaker = Loudspeaker(self._workspace)
        except FileNotFoundError:
            return {}
        texts = self._studio.recordings.texts
        ear = Ear(self._all_texts[kind])
        counts = [
            ear.errors(texts[i], loudspeaker.play(made, self._studio.recordings.voice[i]))
            for made, i in zip(codes, indices)
        ]
        return {"words": round(accuracy(counts), 4)}

    @torch.no_grad()
    def voices(self, talker: Talker) -> dict[str, float]:
        """Share of the held-out recordings whose codes are likeliest after the token of their own speaker."""
        right = []
        for kind, indices in self._kinds.items():
            scores = torch.stack([self._of_voice(talker, kind, voice) for voice in range(len(VOICES))])
            own = torch.tensor([self._studio.recordings.voice[i] for i in indices], device=scores.device)
            right.append((scores.argmax(0) == own).float())
        return {"own_voice": round(torch.cat(right).mean().item(), 4)}

    def _of_voice(self, talker: Talker, kind: str, voice: int) -> torch.Tensor:
        """Log-probability `[recording]` of the recorded codes, were `voice` to say them."""
        indices = self._kinds[kind]
        steps = self._studio.steps(talker, self._readings(kind), indices, [voice] * len(indices))
        is_target = steps.targets != NOTHING
        with self._workspace.autocast():
            scores, _ = said(talker, steps)
        rows = is_target.nonzero()[:, 0]
        return torch.zeros(len(indices), device=scores.device).index_add_(0, rows, scores)
