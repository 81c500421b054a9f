"""Codes made audible with the trained DiT and vocoder, and judged by an independent recognizer; knows no Talker."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from training.evaluate.recognizer import Recognizer, missing_words, word_errors, words_of
from training.speech.flow import load_flow, load_speakers
from training.speech.reply_voices import SAMPLE_RATE
from training.speech.vocoder import load_vocoder
from training.workspace import Workspace

# As shipped: of 72 held-out recordings, whose words are understood to 0.89, codes alone give 0.84 with four points and
# no guidance, 0.83 with ten, 0.87 with three and guidance, which cost an eighth more.
ODE_POINTS, GUIDANCE = 3, 0.5
# The DiT works in blocks of 12 codes.
MIN_CODES = 12


class Loudspeaker:
    """Raises FileNotFoundError when the DiT or the vocoder is not trained yet."""

    def __init__(self, workspace: Workspace) -> None:
        self._flow = load_flow(workspace)
        self._vocoder = load_vocoder(workspace)
        self._speakers = load_speakers(workspace)

    @torch.no_grad()
    def play(self, codes: torch.Tensor, voice: int, seed: int = 0) -> np.ndarray:
        """Codes `[code]` to samples `[480 * code]`."""
        cond, reference = self._speakers[voice]
        number = max(MIN_CODES, len(codes))
        padded = torch.cat([codes, codes[-1:].expand(number - len(codes))]) if len(codes) else codes.new_ones(number)
        torch.manual_seed(seed)
        mel = self._flow.sample(cond, reference, padded[None], num_steps=ODE_POINTS, guidance_scale=GUIDANCE)
        return self._vocoder(mel).float().cpu().numpy().reshape(-1)[: 480 * max(1, len(codes))]


class Ear:
    """Counts the words that were not heard as they should be, among the words of `texts` in any order."""

    def __init__(self, texts: Iterable[str]) -> None:
        words = {word for text in texts for word in words_of(text)}
        self._recognizer = Recognizer(words - set(missing_words(words)))

    def errors(self, text: str, wave: np.ndarray) -> tuple[int, int]:
        """Wrong words, words."""
        return word_errors(text, self._recognizer.recognize(wave, SAMPLE_RATE))


def accuracy(counts: Sequence[tuple[int, int]]) -> float:
    """1 - errors / words."""
    return 1 - sum(wrong for wrong, _ in counts) / max(1, sum(words for _, words in counts))
