"""Pictures with a question each; a scene is made up first and drawn afterwards, so that texts cost no pixels."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.domain.split import HELD_OUT_SHARE, Split, belongs
from training.domain.words import COLOURS
from training.scenes import drawing, questions
from training.scenes.camera import Shot, draw_shot, photograph, seen
from training.scenes.grids import PICTURE_GRIDS, TOKEN_SIDE, Grid, draw_aspect, draw_grid
from training.scenes.things import SHEET, Pair, Picture, Scene, Thing, draw_pair, other_pair

# Half heights as shares of the shorter side, by how many things there are.
_SIZES = {1: (0.15, 0.36), 2: (0.12, 0.25), 3: (0.12, 0.19), 4: (0.12, 0.17)}
_CAMERA_SIZES = {1: (0.2, 0.38), 2: (0.16, 0.27), 3: (0.13, 0.2), 4: (0.13, 0.18)}
# Of the space between two things, beyond their half sizes.
_APART = 1.25
_MARGIN = 1.2
_NUMBER_HALF_HEIGHT = (0.16, 0.36)


def picture(
    generator: random.Random,
    split: Split,
    *,
    kind: str | None = None,
    grid: Grid | None = None,
    camera: bool = False,
    pair: Pair | None = None,
) -> Picture:
    """`kind`: one of `questions.KINDS`, drawn by their weights where None; `grid`: (rows, columns) of tokens. `pair`:
    the one thing that is shown; then it is the caller who keeps to the split."""
    grid = grid or draw_grid(generator, PICTURE_GRIDS)
    aspect = draw_aspect(generator, grid)
    kind = kind or questions.draw_kind(generator)
    if camera:
        scene, (question, reply), paper, shot = draw_shot_scene(generator, split, kind, aspect, pair)
        pixels = photograph(generator, split, paper, shot, grid, aspect)
    else:
        scene, (question, reply) = draw_scene(generator, split, kind, aspect, pair)
        pixels = render(generator, split, scene, grid)
    return Picture(kind, pixels, question, reply, scene.things, scene.text, aspect)


def draw_scene(
    generator: random.Random,
    split: Split,
    kind: str,
    aspect: float,
    pair: Pair | None = None,
) -> tuple[Scene, questions.Answer]:
    """A scene that allows a question of this kind, and the question with its reply."""
    while True:
        scene = _laid_out(generator, kind, _content(generator, kind, pair), aspect, _SIZES)
        if scene is None or (pair is None and not _may_show(generator, scene, split)):
            continue
        answer = questions.ask(generator, scene, kind)
        if answer is not None:
            return scene, answer


def draw_shot_scene(
    generator: random.Random,
    split: Split,
    kind: str,
    aspect: float,
    pair: Pair | None = None,
) -> tuple[Scene, questions.Answer, Scene, Shot]:
    """The scene as the camera sees it, the question with its reply, what is on the paper and how that is held."""
    while True:
        content = _content(generator, kind, pair)
        shot = draw_shot(generator, aspect, len(content.pairs), sheet=content.sheet is not None)
        paper = _laid_out(generator, kind, content, shot.paper_aspect, _CAMERA_SIZES)
        scene = paper and seen(paper, shot, aspect)
        if scene is None or questions.described(scene.things, scene.text) is None:
            continue
        if pair is None and not _may_show(generator, scene, split):
            continue
        # On the left of the sheet and of the picture, or there would be two right answers.
        if kind == "where" and shot.on_paper:
            places = (
                (questions.place(one, shot.paper_aspect), questions.place(two, aspect))
                for one, two in zip(paper.things, scene.things)
            )
            if any(one != two for one, two in places):
                continue
        answer = questions.ask(generator, scene, kind)
        if answer is not None:
            return scene, answer, paper, shot


def _may_show(generator: random.Random, scene: Scene, split: Split) -> bool:
    """Whether the composition is of this split. What is none passes tests as seldom as the others do, or tests would
    show little else."""
    if scene.key is None:
        return split == "train" or generator.random() < HELD_OUT_SHARE
    return belongs(scene.key, split)


def render(generator: random.Random, split: Split, scene: Scene, grid: Grid) -> np.ndarray:
    """uint8 `[28 * rows, 28 * columns, 3]`."""
    height, width = (side * TOKEN_SIDE * drawing.OVERSAMPLING for side in grid)
    canvas = np.empty((height, width, 3), np.uint8)
    shades = {colour: drawing.shade(generator, colour) for colour in sorted({thing.colour for thing in scene.things})}
    if scene.sheet is not None:
        drawing.fill_background(generator, split, canvas, shades[scene.sheet.colour])
        return drawing.shrink(canvas)
    drawing.fill_background(generator, split, canvas, drawing.background(generator, list(shades.values())))
    matrix = drawing.flat_view(height, width, scene.aspect)
    font = drawing.draw_font(generator, split)
    draw_things(generator, canvas, matrix, scene, shades, font)
    return drawing.shrink(canvas)


def draw_things(
    generator: random.Random,
    canvas: np.ndarray,
    matrix: np.ndarray,
    scene: Scene,
    shades: dict[str, drawing.Rgb],
    font: str,
) -> None:
    """Shapes and digits of a scene, whose plane `matrix` takes to the canvas."""
    for thing in scene.shapes:
        style = drawing.draw_style(generator)
        drawing.draw_thing(canvas, matrix, thing, scene.aspect, shades[thing.colour], style)
    if scene.text is not None:
        drawing.draw_number(canvas, matrix, scene.things, scene.aspect, font, shades[scene.things[0].colour])


@dataclass(frozen=True)
class _Content:
    """What a picture holds before anything has its place: shapes, or a sheet's colour, or a number."""

    pairs: tuple[Pair, ...] = ()
    sheet: str | None = None
    text: str | None = None


def _content(generator: random.Random, kind: str, pair: Pair | None) -> _Content:
    if pair is not None:
        return _Content((pair,))
    chance = generator.random()
    if kind == "sheet" or kind in ("describe", "unknown") and chance < 0.07:
        return _Content(sheet=generator.choice(COLOURS))
    if kind == "number" or kind in ("describe", "unknown") and chance < 0.14:
        # Ten numbers have one digit, ninety have two.
        return _Content(text=str(generator.randint(0, 9) if generator.random() < 0.2 else generator.randint(10, 99)))
    return _Content(pairs=tuple(_pairs(generator, kind)))


def _laid_out(
    generator: random.Random, kind: str, content: _Content, aspect: float, sizes: dict[int, tuple[float, float]]
) -> Scene | None:
    """Places and sizes; None where there is no room or two things are in no clear order."""
    if content.sheet is not None:
        return Scene((Thing(content.sheet, SHEET, 0.5, 0.5, 0.5 / min(1.0, aspect)),), aspect)
    if content.text is not None:
        return _number(generator, content.text, aspect)
    things = _shapes(generator, kind, content.pairs, aspect, sizes)
    if things is None or questions.described(things) is None:
        return None
    return Scene(things, aspect)


def _pairs(generator: random.Random, kind: str) -> list[Pair]:
    """At most two different things, at most four of one kind."""
    first = draw_pair(generator)
    share_of_two, share_of_many = {
        "describe": (0.5, 0.12),
        "colour": (0.65, 0.05),
        "shape": (0.65, 0.0),
        "count": (0.2, 0.6),
        "count_kind": (0.3, 0.55),
        "where": (0.4, 0.0),
        "side": (1.0, 0.0),
        "bigger": (1.0, 0.0),
        "exists": (0.6, 0.1),
        "unknown": (0.3, 0.1),
    }[kind]
    chance = generator.random()
    if chance < share_of_many:
        return [first] * generator.randint(2, 4)
    if chance > 1 - share_of_two:
        second = other_pair(generator, first)
        return generator.sample([first, second], 2)
    return [first]


def _shapes(
    generator: random.Random, kind: str, pairs: Sequence[Pair], aspect: float, sizes: dict[int, tuple[float, float]]
) -> tuple[Thing, ...] | None:
    """Places and sizes so that nothing touches anything."""
    smallest, largest = sizes[len(pairs)]
    things: list[Thing] = []
    short = min(1.0, aspect)
    for colour, shape in pairs:
        size = generator.uniform(smallest, largest)
        if kind == "bigger":
            # Small and large in turn, or most pairs would be of like size.
            size = smallest * generator.uniform(1, 1.15) if len(things) == 0 else largest * generator.uniform(0.75, 1.1)
        half_x, half_y = _MARGIN * size * short / aspect, _MARGIN * size * short
        if half_x > 0.5 or half_y > 0.5:
            return None
        for _ in range(30):
            x, y = generator.uniform(half_x, 1 - half_x), generator.uniform(half_y, 1 - half_y)
            if kind == "where" and len(pairs) == 1:
                x, y = _towards_a_place(generator, x, y)
            thing = Thing(colour, shape, x, y, size)
            if all(_distance(thing, other, aspect) > _APART * (size + other.size) * short for other in things):
                things.append(thing)
                break
        else:
            return None
    generator.shuffle(things)
    return tuple(things)


def _towards_a_place(generator: random.Random, x: float, y: float) -> tuple[float, float]:
    """Nearer to the middle, a side, the top or the bottom than to a corner."""
    chance = generator.random()
    if chance < 0.2:
        return 0.5 + generator.uniform(-0.09, 0.09), 0.5 + generator.uniform(-0.09, 0.09)
    if chance < 0.6:
        return x, 0.5 + (y - 0.5) * 0.3
    return 0.5 + (x - 0.5) * 0.3, y


def _distance(first: Thing, second: Thing, aspect: float) -> float:
    return float(np.hypot((first.x - second.x) * aspect, first.y - second.y))


def _number(generator: random.Random, text: str, aspect: float) -> Scene:
    colour = generator.choice(COLOURS)
    short = min(1.0, aspect)
    # A digit takes up to its own height in width.
    largest = min(_NUMBER_HALF_HEIGHT[1], 0.46 * aspect / len(text) / short)
    size = generator.uniform(_NUMBER_HALF_HEIGHT[0], largest)
    half_y, step = size * short, 1.6 * size * short / aspect
    half_x = 1.05 * size * short * len(text) / aspect
    x, y = generator.uniform(half_x, 1 - half_x), generator.uniform(half_y * 1.1, 1 - half_y * 1.1)
    things = tuple(Thing(colour, digit, x + (i - (len(text) - 1) / 2) * step, y, size) for i, digit in enumerate(text))
    return Scene(things, aspect, text)
