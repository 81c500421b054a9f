"""Two pictures at once, one thing in each, with a question that compares them and the right reply; knows no model."""

import random
from dataclasses import dataclass

from training.domain.split import Split, belongs
from training.domain.words import COLOURS, SHAPES, with_article
from training.scenes.grids import Grid
from training.scenes.pictures import picture
from training.scenes.questions import CLEARLY_BIGGER, Answer
from training.scenes.things import Pair, Picture, Thing, draw_pair

ORDER = ("first", "second")
# What the second thing has in common with the first, and how often.
_COMMON = {"all": 0.3, "colour": 0.2, "shape": 0.2, "nothing": 0.3}
_SAME = (
    "are these the same",
    "are the pictures the same",
    "are both pictures the same",
    "do both pictures show the same",
)
_DIFFERENCE = ("what is the difference", "what is different", "compare the pictures", "compare the two pictures")
_BIGGER = ("which is bigger", "which one is bigger", "which shape is bigger", "which one is larger")


@dataclass(frozen=True, eq=False)
class TwoPictures:
    kind: str
    pictures: tuple[Picture, Picture]
    question: str
    reply: str


def two_pictures(generator: random.Random, split: Split, grid: Grid | None = None, camera: bool = False) -> TwoPictures:
    """Both of one grid where `grid` is given; what is first and what is second, and where, make the composition."""
    while True:
        first, second = (
            picture(generator, split, kind="where", grid=grid, camera=camera, pair=pair) for pair in _pairs(generator)
        )
        if belongs(f"{first.scene.key} then {second.scene.key}", split):
            break
    kind, (question, reply) = _ask(generator, first.things[0], second.things[0])
    return TwoPictures(kind, (first, second), question, reply)


def _pairs(generator: random.Random) -> tuple[Pair, Pair]:
    pair = colour, shape = draw_pair(generator)
    common = generator.choices(list(_COMMON), list(_COMMON.values()))[0]
    if common in ("colour", "nothing"):
        shape = generator.choice([other for other in SHAPES if other != shape])
    if common in ("shape", "nothing"):
        colour = generator.choice([other for other in COLOURS if other != colour])
    return pair, (colour, shape)


def _ask(generator: random.Random, one: Thing, two: Thing) -> tuple[str, Answer]:
    chance = generator.random()
    if chance < 0.25:
        return "two_same", (generator.choice(_SAME), _same(one, two))
    if chance < 0.5:
        return "two_differ", (generator.choice(_DIFFERENCE), _differ(one, two))
    if chance < 0.7 and one.pair != two.pair:
        big, small = (one, two) if one.size > two.size else (two, one)
        if big.size > CLEARLY_BIGGER * small.size:
            return "two_bigger", (generator.choice(_BIGGER), f"The {big.name} is bigger.")
    place = generator.randrange(2)
    thing, order = (one, two)[place], ORDER[place]
    if one.shape != two.shape and generator.random() < 0.5:
        question = f"which picture shows {with_article(thing.shape)}"
        return "two_which", (question, f"The {order} picture shows {with_article(thing.shape)}.")
    wordings = (f"what is in the {order} picture", f"what do you see in the {order} picture")
    return "two_one", (generator.choice(wordings), f"In the {order} picture I see {with_article(thing.name)}.")


def _same(one: Thing, two: Thing) -> str:
    if one.pair == two.pair:
        return f"Yes, both show {with_article(one.name)}."
    return f"No, I see {with_article(one.name)} and {with_article(two.name)}."


def _differ(one: Thing, two: Thing) -> str:
    if one.pair == two.pair:
        return f"Both show {with_article(one.name)}."
    return f"The first shows {with_article(one.name)} and the second {with_article(two.name)}."
