"""What a picture can hold and what it is called: coloured shapes, coloured sheets, digits; draws nothing."""

import random
from dataclasses import dataclass

import numpy as np

from training.domain.words import COLOURS, SHAPES, number_words

SHEET = "sheet"
# In place of a sound track's word: a tone.
BEEP = "beep"

Pair = tuple[str, str]


@dataclass(frozen=True)
class Thing:
    """`x`, `y`: the centre as shares of the picture's width and height, from the top left; `size`: half the height as a
    share of the picture's shorter side before it was resized to its grid.

    `shape`: one of SHAPES, or `sheet` (a coloured sheet, or a picture of one colour), or one digit of a drawn number.
    """

    colour: str
    shape: str
    x: float
    y: float
    size: float

    @property
    def pair(self) -> Pair:
        return self.colour, self.shape

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def third(self) -> str:
        """Where it is, roughly: `left top`, `middle bottom`."""
        return f"{_third(self.x, 'left', 'right')} {_third(self.y, 'top', 'bottom')}"


@dataclass(frozen=True)
class Scene:
    """What is in a picture before it is drawn. `aspect`: its width / height; `text`: a drawn number."""

    things: tuple[Thing, ...]
    aspect: float = 1.0
    text: str | None = None

    @property
    def shapes(self) -> tuple[Thing, ...]:
        return tuple(thing for thing in self.things if thing.shape in SHAPES)

    @property
    def sheet(self) -> Thing | None:
        return next((thing for thing in self.things if thing.shape == SHEET), None)

    @property
    def key(self) -> str | None:
        """The composition, for `training.domain.split`: `red circle left top`, `blue star, red circle`, `3 red circle
        left top` (where the leftmost is), `number 73`; None for a sheet, for a single digit and for ten to nineteen,
        whose words are not composed of their digits'."""
        if self.text is not None:
            return f"number {self.text}" if int(self.text) >= 20 else None
        if not self.shapes:
            return None
        names = sorted(thing.name for thing in self.shapes)
        if names[0] != names[-1]:
            return ", ".join(names)
        number = f"{len(names)} " if len(names) > 1 else ""
        return f"{number}{names[0]} {min(self.shapes, key=lambda thing: thing.x).third}"


@dataclass(frozen=True, eq=False)
class Picture:
    """`pixels` uint8 `[height, width, 3]`, both multiples of 28; `question` as spoken, `reply` as written.

    `text`: a drawn number's digits, which are also among `things`. `aspect`: width / height before the resize.
    """

    kind: str
    pixels: np.ndarray
    question: str
    reply: str
    things: tuple[Thing, ...]
    text: str | None
    aspect: float = 1.0

    @property
    def scene(self) -> Scene:
        return Scene(self.things, self.aspect, self.text)


@dataclass(frozen=True, eq=False)
class Clip:
    """`frames` uint8 `[frame, height, width, 3]`, two a second, an even number; `question`, `reply` as in `Picture`.

    `word`: what the sound track says at `word_start_s`, BEEP for a tone, None where there is no sound. `things`: what
    each pair of frames shows, `changes`: what happens within each (left, right, up, down, appears, disappears, None).
    `motion`: the way that the thing goes, None where it stays. `others`: kind, question and reply of more that can be
    asked about it.
    """

    kind: str
    frames: np.ndarray
    question: str
    reply: str
    word: str | None
    word_start_s: float
    things: tuple[tuple[Thing, ...], ...]
    changes: tuple[str | None, ...]
    motion: str | None
    aspect: float = 1.0
    others: tuple[tuple[str, str, str], ...] = ()


def counted(number: int, name: str) -> str:
    """`one red circle`, `three red circles`, `no red circles`."""
    return f"{number_words(number) if number else 'no'} {name}{'' if number == 1 else 's'}"


def draw_pair(generator: random.Random) -> Pair:
    return generator.choice(COLOURS), generator.choice(SHAPES)


def other_pair(generator: random.Random, pair: Pair) -> Pair:
    """One that differs from `pair`, half of the time in the colour or the shape alone."""
    while True:
        colour, shape = draw_pair(generator)
        chance = generator.random()
        if chance < 0.25:
            colour = pair[0]
        elif chance < 0.5:
            shape = pair[1]
        if (colour, shape) != pair:
            return colour, shape


def _third(share: float, first: str, last: str) -> str:
    return (first, "middle", last)[min(2, int(3 * share))]
