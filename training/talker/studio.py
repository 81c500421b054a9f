"""Recordings, their codes and the Thinker's states of their texts, as batches for the Talker; knows no stage."""

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from training.speech import words
from training.speech.codec import load_codebook, load_codes
from training.speech.phones import places
from training.speech.phones import said as phones_said
from training.speech.voices_out import Recordings, load_pronunciations, load_recordings
from training.talker.layout import NOTHING, NUM_AHEAD, Lesson, Steps, corrupted, layout, load_frame, side_by_side
from training.talker.model import Talker, from_library
from training.talker.prompts import Prompts
from training.talker.states import Disturbance, Question, Reading, load_thinker, read, shortened
from training.thinker.sequence import TextEncoder
from training.tokenizer import load
from training.workspace import Workspace

NUM_EXCHANGES = 30_000
# Most of what stands before the reply is left out most of the time: what was asked hardly bears on how to read.
PROMPT_LIMITS = ((0.4, 24), (0.8, 64), (1.0, 400))
CORRUPTION = (0.0, 0.1, 0.3)


class Studio:
    """`thinker_name`: the stage that the Thinker is from."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        tokenizer = load(workspace)
        self.encode = TextEncoder(tokenizer)
        self.thinker, self.thinker_name = load_thinker(workspace)
        self.frame = load_frame(self.thinker, tokenizer)
        self.recordings: Recordings = load_recordings(workspace)
        self._pronunciations = load_pronunciations(workspace)
        self.codes = load_codes(workspace)
        self.num_codes = len(load_codebook(workspace).centroids)
        number = workspace.size(NUM_EXCHANGES, 50)
        self._prompts = {
            held_out: Prompts(self.encode, workspace.random(f"talker/prompts/{split}"), split, number)
            for held_out, split in ((False, "train"), (True, "test"))
        }

    def new_talker(self) -> Talker:
        return Talker(self.num_codes).to(self._workspace.device)

    def load_talker(self, stage: str) -> Talker:
        talker = self.new_talker()
        from_library(talker, self._workspace.load_weights(stage))
        return talker

    def chosen(self, held_out: bool) -> list[int]:
        """Recordings by their length."""
        found = [i for i in range(len(self.recordings)) if self.recordings.held_out[i] == held_out]
        return sorted(found, key=lambda i: len(self.codes[i]))

    def groups(self) -> list[list[int]]:
        """Recordings to learn from, those of one text together, short texts first."""
        by_text: dict[str, list[int]] = {}
        for index in self.chosen(held_out=False):
            by_text.setdefault(self.recordings.texts[index], []).append(index)
        return sorted(by_text.values(), key=lambda group: len(self.codes[group[0]]))

    def read(
        self,
        texts: Sequence[str],
        generator: random.Random,
        held_out: bool = False,
        disturbance: Disturbance | None = None,
    ) -> list[Reading]:
        """Each text as the reply to some prompt."""
        return self.read_questions([self.question(text, generator, held_out) for text in texts], generator, disturbance)

    def question(self, text: str, generator: random.Random, held_out: bool = False) -> Question:
        return self._prompts[held_out].draw(generator, text)

    def read_questions(
        self, questions: Sequence[Question], generator: random.Random, disturbance: Disturbance | None = None
    ) -> list[Reading]:
        noise = torch.Generator().manual_seed(generator.getrandbits(60))
        with self._workspace.autocast():
            return read(self.thinker, questions, disturbance, noise)

    def batch(self, talker: Talker, indices: Sequence[int], generator: random.Random) -> Steps:
        """Recordings to learn from: disturbed states, prompts cut short, wrong codes among those read."""
        texts = [self.recordings.texts[i] for i in indices]
        distinct = list(dict.fromkeys(texts))
        by_text = dict(zip(distinct, self.read(distinct, generator, disturbance=Disturbance())))
        readings = [by_text[text] for text in texts]
        share = generator.random()
        limit = generator.randint(0, next(limit for most, limit in PROMPT_LIMITS if share <= most))
        steps = self.steps(talker, [shortened(reading, limit) for reading in readings], indices)
        noise = torch.Generator().manual_seed(generator.getrandbits(60))
        return replace(steps, codes=corrupted(talker, steps.codes, generator.choice(CORRUPTION), noise))

    def steps(
        self, talker: Talker, readings: Sequence[Reading], indices: Sequence[int], voices: Sequence[int] | None = None
    ) -> Steps:
        voices = [self.recordings.voice[i] for i in indices] if voices is None else voices
        return side_by_side(
            [
                layout(talker, self.frame, reading, voice, self.codes[i], self.lesson(i))
                for reading, voice, i in zip(readings, voices, indices)
            ]
        )

    def lesson(self, index: int) -> Lesson:
        text, phones = self.recordings.texts[index], self.recordings.phones[index]
        num_codes = len(self.codes[index])
        own = words.align([name for name, _ in phones], [self._pronunciations[word] for word in words.words_of(text)])
        return Lesson(
            phones_said(phones, num_codes, NUM_AHEAD)[:, 1:],
            torch.tensor(tokens_ahead(own, token_ranges(self.encode, text)))[places(phones, num_codes)],
        )


def token_ranges(encode: TextEncoder, text: str) -> list[tuple[int, int]]:
    """First and last token (exclusive) of every word of a text."""
    ends = np.cumsum([len(token) for token in encode.tokenizer.convert_ids_to_tokens(encode(text))])
    # The token in which a character lies is the first that ends behind it.
    return [
        (int(np.searchsorted(ends, first, side="right")), int(np.searchsorted(ends, last - 1, side="right")) + 1)
        for first, last in words.spans(text)
    ]


def tokens_ahead(word_of_phone: Sequence[int], ranges: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """For every phone the tokens of its word and of the next word; `NOTHING` in a silence and behind the last."""
    nothing = (NOTHING, NOTHING)
    found, following = [], len(ranges)
    for word in reversed(word_of_phone):
        is_said = word != words.NO_WORD
        following = word + 1 if is_said else following
        found.append([ranges[word] if is_said else nothing, ranges[following] if following < len(ranges) else nothing])
        following = word if is_said else following
    return found[::-1]


def said(talker: Talker, steps: Steps) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability `[step]` of every code to say, and whether it was the likeliest."""
    is_target = steps.targets != NOTHING
    return judged(talker, talker(steps.states, steps.codes, steps.positions)[is_target], steps.targets[is_target])


def judged(talker: Talker, hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of hidden states `[step, hidden]` and the codes `[step]` that should follow them."""
    scores = talker.counted(talker.logits(hidden))
    return scores.log_softmax(-1).gather(1, targets[:, None])[:, 0], scores.detach().argmax(-1) == targets
