"""How hearing begins: few voices, undisturbed, at guessed places; more as they are understood. Knows no model."""

import random
from collections.abc import Sequence

import torch

from training.thinker.model import num_sound_tokens
from training.voices.bank import Bank

# Running share of right guesses with which the guess has done its work.
ENOUGH_RIGHT = 0.3
# Running CTC loss below which more voices join, by how much, and after how many steps at the earliest.
UNDERSTOOD = 1.5
GROWTH = 1.15
SETTLING_STEPS = 20
# Shares of the steps by which guessing ends, and by which all have joined, understood or not.
LAST_GUESS, ALL_JOINED = 0.2, 0.6
MEMORY = 0.95


class Curriculum:
    """Which clips are drawn at a step, and whether their words' places are still guessed.

    CTC alone does not get off the ground on thousands of voices in noise: it settles on silence. So it begins with
    the clean clips of a few voices, and with a guess at which token is said when. Has a `state_dict`, so that a
    resumed run goes on with it. Whoever hears already (`is_beginner` False) is given all clips at once.
    """

    def __init__(self, bank: Bank, num_steps: int, is_beginner: bool = True) -> None:
        self._bank = bank
        self._num_steps = max(1, num_steps)
        self._order = easy_first(bank)
        self._first = max(1, sum(bank.is_clean[index] for index in self._order))
        self._number = self._first if is_beginner else len(self._order)
        self._right = 0.0
        self._loss = 10.0
        self._settled = 0
        self._by_length: list[int] = []
        self.is_guessing = is_beginner

    @property
    def share(self) -> float:
        """Of the clips, how many have joined since the beginning."""
        return (self._number - self._first) / max(1, len(self._order) - self._first)

    def draw(self, generator: random.Random, size: int) -> list[int]:
        """Clips of similar length out of those that have joined."""
        if len(self._by_length) != self._number:
            self._by_length = sorted(self._order[: self._number], key=lambda index: self._bank.num_frames[index])
        first = generator.randrange(max(1, self._number - size + 1))
        return self._by_length[first : first + size]

    def guessed(self, right: float, step: int) -> None:
        """`right`: share of the places of this step that the model found as guessed."""
        self._right = MEMORY * self._right + (1 - MEMORY) * right
        if self._right > ENOUGH_RIGHT or step > LAST_GUESS * self._num_steps:
            self.is_guessing = False

    def spelled(self, loss: float, step: int) -> None:
        self._loss = MEMORY * self._loss + (1 - MEMORY) * min(loss, 20.0)
        self._settled += 1
        if self._loss < UNDERSTOOD and self._settled >= SETTLING_STEPS:
            self._number = int(self._number * GROWTH) + 1
            self._settled = 0
        late = (step / self._num_steps - LAST_GUESS) / (ALL_JOINED - LAST_GUESS)
        least = self._first + int(max(0.0, 2 * late - 1) * (len(self._order) - self._first))
        self._number = min(len(self._order), max(self._number, least))

    def state_dict(self) -> dict[str, float]:
        return {
            "number": self._number,
            "right": self._right,
            "loss": self._loss,
            "settled": self._settled,
            "is_guessing": self.is_guessing,
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._number = min(int(state["number"]), len(self._order))
        self._right, self._loss = float(state["right"]), float(state["loss"])
        self._settled, self.is_guessing = int(state["settled"]), bool(state["is_guessing"])


def easy_first(bank: Bank) -> list[int]:
    """The clean clips before all others, both in an order of their own."""
    order = [index for index in range(len(bank)) if num_sound_tokens(bank.num_frames[index]) > 0]
    random.Random(0).shuffle(order)
    return sorted(order, key=lambda index: not bank.is_clean[index])


def guess_places(mel: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Which token of a clip `[frame, mel]` each of the tower's vectors may belong to, int64 `[vector]`, -1 for silence.

    Letters spread evenly over the loud part: the flat start of older recognizers. `lengths`: letters of each token.
    """
    places = torch.full((num_sound_tokens(len(mel)),), -1)
    level = mel.mean(1)
    ordered = level.sort().values
    quiet, loud = ordered[len(ordered) // 10], ordered[-max(1, len(ordered) // 10)]
    is_loud = (level > quiet + 0.35 * (loud - quiet)).nonzero()[:, 0]
    if len(is_loud) == 0:
        return places
    # A vector takes four frames.
    first, last = int(is_loud[0]) / 4, min(len(places), int(is_loud[-1]) / 4 + 1)
    done = 0
    for index, length in enumerate(lengths):
        start = first + (last - first) * done / sum(lengths)
        done += length
        end = first + (last - first) * done / sum(lengths)
        places[round(start) : max(round(start) + 1, round(end))] = index
    return places
