"""Makes a drawn scene look like what a webcam sends: a sheet of paper or a cut-out, held up by a hand in a room.

Knows no questions. A shot is the geometry alone, so that questions can be asked about where things come to lie before
anything is drawn; `photograph` draws the room, the sheet, the things on it and the hand, and `Lens` does to the pixels
what light and a cheap camera do. Shades stay within what people still call by the colour's name.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from training.domain.split import Split
from training.scenes import drawing
from training.scenes.drawing import Rgb
from training.scenes.grids import TOKEN_SIDE, Grid
from training.scenes.things import SHEET, Scene, Thing

# Half heights of things that are still made out through blur and noise.
_LEAST_SIZE = 0.12
_LEAST_DIGIT_SIZE = 0.15
# None: as wide for its height as the picture.
_PAPER_ASPECTS = (0.71, 1.41, 1.0, None, None)
_SHEET_ASPECTS = (0.71, 1.41, None)
# Distance of the eye from the sheet, in heights of the sheet.
_EYE = 2.5
_MOST_TILT, _MOST_ROLL = math.radians(24), math.radians(11)

_WHITE_PAPERS = ((252, 252, 250), (245, 244, 238), (238, 240, 244), (248, 242, 228))
_PAPER_CONTRAST, _BACKDROP_CONTRAST, _MUTED_CONTRAST, _HAND_CONTRAST = 30.0, 22.0, 38.0, 24.0
_SKINS = (
    (255, 224, 196),
    (241, 194, 160),
    (224, 172, 132),
    (198, 134, 92),
    (172, 112, 76),
    (141, 85, 54),
    (104, 62, 40),
    (72, 44, 32),
)
_HAIRS = ((30, 24, 22), (70, 46, 30), (120, 84, 50), (180, 150, 100), (130, 130, 130))
# How much light there may be before a colour goes by another name: orange in the dark is brown.
_LIGHT = {
    "orange": (0.86, 1.15),
    "brown": (0.8, 1.05),
    "yellow": (0.8, 1.2),
    "white": (0.75, 1.2),
    "pink": (0.82, 1.08),
    "black": (0.65, 1.1),
}
_ANY_LIGHT = (0.65, 1.2)
# Most of a sensor's noise is in all three colours alike.
_GRAIN = np.array([[0.9, 0.4, 0.4], [0.4, 0.9, 0.4], [0.4, 0.4, 0.9]], np.float32)


@dataclass(frozen=True, eq=False)
class Shot:
    """`matrix`: from the plane of the paper, `paper_aspect` wide, to the picture's; `on_paper`: False where the things
    themselves are held up."""

    matrix: np.ndarray
    paper_aspect: float
    on_paper: bool


def draw_shot(generator: random.Random, aspect: float, num_shapes: int, *, sheet: bool = False) -> Shot:
    """For a picture of `aspect`. Shapes may be held up by themselves, more than two and numbers are always on paper."""
    on_paper = sheet or not 0 < num_shapes < 3 or generator.random() < 0.65
    if not on_paper:
        paper_aspect, scale = aspect, generator.uniform(0.9, 1.05)
    elif sheet:
        # Oblong or wider than the picture: a small one with equal sides would be a square.
        paper_aspect = generator.choice(_SHEET_ASPECTS) or aspect
        least = 0.75 if not 0.75 < paper_aspect < 1.35 else 1.15
        scale = min(1.0, aspect / paper_aspect) * generator.uniform(least, 1.6)
    else:
        paper_aspect = generator.choice(_PAPER_ASPECTS) or aspect
        scale = min(1.0, aspect / paper_aspect) * generator.uniform(0.72, 1.3)
    yaw, pitch = (max(-_MOST_TILT, min(_MOST_TILT, generator.gauss(0, 0.17))) for _ in range(2))
    roll = max(-_MOST_ROLL, min(_MOST_ROLL, generator.gauss(0, 0.08)))
    x, y = generator.gauss(0, 0.05) * aspect, generator.gauss(0, 0.05)
    return Shot(_held(scale, yaw, pitch, roll, x, y), paper_aspect, on_paper)


def seen(paper: Scene, shot: Shot, aspect: float) -> Scene | None:
    """What lies on the paper as shares of the picture; None where something is cut off or too small."""
    found = []
    for thing in paper.things:
        x, y, size = drawing.to_plane(thing, paper.aspect)
        (px, py), scale = drawing.project(shot.matrix, np.array([[x, y]]))[0], drawing.scale_at(shot.matrix, x, y)
        size *= scale
        if thing.shape != SHEET:
            inside_x, inside_y = aspect / 2 - abs(px), 0.5 - abs(py)
            # A digit takes less room across than it is high.
            if inside_y < 1.05 * size or inside_x < (0.8 if thing.shape.isdigit() else 1.05) * size:
                return None
            if size < (_LEAST_DIGIT_SIZE if thing.shape.isdigit() else _LEAST_SIZE) * min(1.0, aspect):
                return None
        place = float(np.clip(px / aspect + 0.5, 0.01, 0.99)), float(np.clip(py + 0.5, 0.01, 0.99))
        found.append(replace(thing, x=place[0], y=place[1], size=float(size) / min(1.0, aspect)))
    return Scene(tuple(found), aspect, paper.text)


def photograph(
    generator: random.Random, split: Split, paper: Scene, shot: Shot, grid: Grid, aspect: float
) -> np.ndarray:
    """uint8 `[28 * rows, 28 * columns, 3]`."""
    height, width = (side * TOKEN_SIDE * drawing.OVERSAMPLING for side in grid)
    view = drawing.flat_view(height, width, aspect)
    matrix = view @ shot.matrix
    shades = {colour: drawing.shade(generator, colour) for colour in sorted({thing.colour for thing in paper.things})}
    if paper.sheet is not None:
        sheet_rgb = shades[paper.sheet.colour]
    else:
        sheet_rgb = _paper(generator, list(shades.values()))
    behind = [sheet_rgb] if shot.on_paper else list(shades.values())
    canvas = room(generator, split, (height, width), behind, muted=not shot.on_paper)
    if generator.random() < 0.3:
        _draw_person(generator, canvas, view, aspect, behind)
    skin = generator.choice(_SKINS)
    if shot.on_paper:
        _draw_paper(generator, canvas, matrix, shot.paper_aspect, sheet_rgb)
        _draw_things(generator, canvas, matrix, paper, shades, split, edge_share=0.3)
        if generator.random() < 0.6:
            _draw_thumbs(generator, canvas, matrix, paper, shot.paper_aspect, skin)
    else:
        if generator.random() < 0.6:
            sleeve = _room_colour(generator, behind)
            draw_arms(generator, canvas, matrix, paper, skin, sleeve, behind)
        _draw_things(generator, canvas, matrix, paper, shades, split, edge_share=0.05)
    lens = draw_lens(generator, grid, set(shades))
    return lens.take(canvas, generator)


def film(
    generator: random.Random, split: Split, frames: Sequence[Sequence[Thing]], grid: Grid, aspect: float
) -> np.ndarray:
    """Frames of cut-outs that are held into the camera, as `photograph` makes one: uint8
    `[frame, 28 * rows, 28 * columns, 3]`."""
    height, width = (side * TOKEN_SIDE * drawing.OVERSAMPLING for side in grid)
    shades = {
        colour: drawing.shade(generator, colour)
        for colour in sorted({one.colour for things in frames for one in things})
    }
    avoid = list(shades.values())
    view = drawing.flat_view(height, width, aspect)
    behind = room(generator, split, (height, width), avoid, muted=True)
    if generator.random() < 0.3:
        _draw_person(generator, behind, view, aspect, avoid)
    # A hand would stay where the thing is gone.
    held = all(frames) and generator.random() < 0.6
    skin, sleeve, seed = generator.choice(_SKINS), _room_colour(generator, avoid), generator.getrandbits(32)
    styles = {
        shape: drawing.draw_style(generator, 0.1, unevenness=0.02)
        for shape in dict.fromkeys(one.shape for things in frames for one in things)
    }
    lens = draw_lens(generator, grid, set(shades))
    shake = generator.uniform(0, 1.5)
    taken = []
    for things in frames:
        canvas = behind.copy()
        matrix = view.copy()
        matrix[:2, 2] += generator.gauss(0, shake), generator.gauss(0, shake)
        if held:
            draw_arms(random.Random(seed), canvas, matrix, Scene(tuple(things), aspect), skin, sleeve, avoid)
        for thing in things:
            drawing.draw_thing(canvas, matrix, thing, aspect, shades[thing.colour], styles[thing.shape])
        taken.append(lens.take(canvas, generator))
    return np.stack(taken)


@dataclass(frozen=True, eq=False)
class Lens:
    """`light`: what is left of the light, float32 `[height, width, 3]`; `mixing` `[3, 3]`: white balance and
    saturation; `blur`: out of focus, in pixels of the canvas; `motion`: a kernel, None where the hand is still; `lift`:
    grey haze, 0 to 255; `noise`: standard deviation; `quality`: of JPEG, None where it is perfect."""

    light: np.ndarray
    mixing: np.ndarray
    blur: float
    motion: np.ndarray | None
    lift: float
    noise: float
    quality: int | None
    sharpening: float

    def take(self, canvas: np.ndarray, generator: random.Random) -> np.ndarray:
        """The canvas as a picture of its own size; only the noise is drawn anew each time."""
        if self.motion is not None:
            canvas = cv2.filter2D(canvas, -1, self.motion, borderType=cv2.BORDER_REPLICATE)
        if self.blur:
            canvas = cv2.GaussianBlur(canvas, (0, 0), self.blur, borderType=cv2.BORDER_REPLICATE)
        if self.quality is not None:
            _, data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            canvas = cv2.imdecode(data, cv2.IMREAD_COLOR)
        pixels = drawing.shrink(canvas).astype(np.float32)
        if self.sharpening:
            soft = cv2.GaussianBlur(pixels, (0, 0), 1.2)
            pixels = cv2.addWeighted(pixels, 1 + self.sharpening, soft, -self.sharpening, 0)
        pixels = cv2.transform(pixels, self.mixing) * self.light
        if self.noise:
            numbers = np.random.Generator(np.random.SFC64(generator.getrandbits(32)))
            grain = numbers.standard_normal(pixels.shape, np.float32)
            pixels += cv2.transform(grain, self.noise * _GRAIN)
        pixels += self.lift
        return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)


def draw_lens(generator: random.Random, grid: Grid, colours: set[str]) -> Lens:
    """Light, lens and sensor under which `colours` keep their names."""
    height, width = (side * TOKEN_SIDE for side in grid)
    spans = [_LIGHT.get(colour, _ANY_LIGHT) for colour in colours] or [_ANY_LIGHT]
    least, most = max(low for low, _ in spans), min(high for _, high in spans)
    balance = np.array([math.exp(max(-0.07, min(0.07, generator.gauss(0, 0.035)))) for _ in range(3)], np.float32)
    across, down = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    angle = generator.uniform(0, 2 * math.pi)
    slope = math.cos(angle) * across + math.sin(angle) * down
    depth = generator.uniform(0, 0.5 * (most - least))
    if generator.random() < 0.25:
        # The edge of a shadow.
        shade = 1 / (1 + np.exp(-(slope - generator.uniform(-0.6, 0.6)) * generator.uniform(4, 30)))
    else:
        shade = 0.5 + 0.35 * slope
    light = generator.uniform(least + depth, most) - depth * np.clip(1 - shade, 0, 1)
    if generator.random() < 0.5:
        light = light * (1 - generator.uniform(0, 0.16) * (across**2 + down**2) / 2)
    saturation = generator.uniform(0.78, 1.05)
    mixing = saturation * np.eye(3) + (1 - saturation) / 3
    lift = generator.uniform(0, 26) if generator.random() < 0.6 else 0.0
    chance = generator.random()
    return Lens(
        light=cv2.merge([(light * (1 - lift / 255)).astype(np.float32)] * 3),
        mixing=(balance[:, None] * mixing).astype(np.float32),
        blur=generator.uniform(0.5, 2.2) if chance < 0.45 else 0.0,
        motion=_motion(generator) if chance > 0.7 else None,
        lift=lift,
        noise=generator.uniform(0.5, 6) if generator.random() < 0.8 else 0.0,
        quality=generator.randint(35, 90) if generator.random() < 0.5 else None,
        sharpening=generator.uniform(0.3, 0.9) if generator.random() < 0.25 else 0.0,
    )


def room(generator: random.Random, split: Split, size: tuple[int, int], avoid: list[Rgb], muted: bool) -> np.ndarray:
    """A wall with blurred furniture or clutter, in no colour near those of `avoid`; blinds in tests alone.

    `muted`: greyer and softer, so that nothing in it could be taken for a thing that is shown.
    """
    height, width = size
    small = np.empty((height // 4, width // 4, 3), np.uint8)
    wall = _room_colour(generator, avoid, muted)
    small[:] = wall
    short = min(small.shape[:2])
    for _ in range(generator.choice((0, 1, 3, 5) if muted else (0, 2, 4, 8))):
        rgb = _room_colour(generator, avoid, muted)
        x, y = generator.randint(0, small.shape[1]), generator.randint(0, small.shape[0])
        half = generator.uniform(0.15, 0.6) * short, generator.uniform(0.3, 0.9) * short
        if generator.random() < 0.7:
            corners = (round(x - half[0]), round(y - half[1])), (round(x + half[0]), round(y + half[1]))
            cv2.rectangle(small, *corners, rgb, -1)
        else:
            axes = round(half[0]), round(half[1])
            cv2.ellipse(small, (x, y), axes, generator.uniform(0, 180), 0, 360, rgb, -1)
    if split == "test" and generator.random() < 0.25:
        dim = tuple(round(0.85 * value) for value in wall)
        for y in range(0, small.shape[0], 6):
            cv2.line(small, (0, y), (small.shape[1], y), dim, 2)
    small = cv2.GaussianBlur(small, (0, 0), generator.uniform(1.5, 3.5) if muted else generator.uniform(0.5, 2.5))
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def draw_arms(
    generator: random.Random,
    canvas: np.ndarray,
    matrix: np.ndarray,
    scene: Scene,
    skin: Rgb,
    sleeve: Rgb,
    avoid: list[Rgb],
) -> None:
    """Behind each thing a hand that holds it from below, none where it would hide another or look like the thing."""
    if min(drawing.contrast(skin, rgb) for rgb in avoid) < _HAND_CONTRAST:
        return
    for thing in scene.shapes:
        x, y, size = drawing.to_plane(thing, scene.aspect)
        others = (drawing.to_plane(other, scene.aspect) for other in scene.shapes if other is not thing)
        if any(other_y > y and abs(other_x - x) < 1.5 * (size + other_size) for other_x, other_y, other_size in others):
            continue
        hand = (x + generator.uniform(-0.3, 0.3) * size, y + generator.uniform(0.95, 1.2) * size)
        foot = (hand[0] + generator.uniform(-0.25, 0.25), 1.0)
        wrist = tuple(near + 0.35 * (far - near) for near, far in zip(hand, foot))
        thick = generator.uniform(0.07, 0.1) / max(1.0, 1.2 - size)
        _draw_limb(canvas, matrix, wrist, foot, 1.5 * thick, sleeve)
        _draw_limb(canvas, matrix, hand, wrist, thick, skin)
        _draw_limb(canvas, matrix, hand, hand, 1.7 * thick, skin)


def _held(scale: float, yaw: float, pitch: float, roll: float, x: float, y: float) -> np.ndarray:
    """A plane of height 1 that is turned, put at (x, y) and looked at from `_EYE` away."""
    turn = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    turn = turn @ np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    turn = turn @ np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    # Rows: x, y and depth of a point of the plane, then moved and divided by its distance.
    depth = np.array([turn[2, 0] * scale, turn[2, 1] * scale, _EYE])
    rows = [np.array([*(scale * _EYE * turn[i, :2]), 0.0]) + place * depth for i, place in enumerate((x, y))]
    return np.stack((*rows, depth))


def _draw_things(
    generator: random.Random,
    canvas: np.ndarray,
    matrix: np.ndarray,
    scene: Scene,
    shades: dict[str, Rgb],
    split: Split,
    edge_share: float,
) -> None:
    for thing in scene.shapes:
        style = drawing.draw_style(generator, edge_share, unevenness=0.02)
        drawing.draw_thing(canvas, matrix, thing, scene.aspect, shades[thing.colour], style)
    if scene.text is not None:
        font = drawing.draw_font(generator, split)
        drawing.draw_number(canvas, matrix, scene.things, scene.aspect, font, shades[scene.things[0].colour])


def _paper(generator: random.Random, things: list[Rgb]) -> Rgb:
    white = generator.choice(_WHITE_PAPERS)
    if generator.random() < 0.75 and all(drawing.contrast(white, rgb) > _PAPER_CONTRAST for rgb in things):
        return white
    return drawing.background(generator, things)


def _room_colour(generator: random.Random, avoid: list[Rgb], muted: bool = False) -> Rgb:
    least = _MUTED_CONTRAST if muted else _BACKDROP_CONTRAST
    best, best_contrast = (128, 128, 128), 0.0
    for _ in range(30):
        rgb = drawing.from_hsv(
            generator.uniform(0, 360), generator.uniform(0, 0.2 if muted else 0.35), generator.uniform(0.12, 0.95)
        )
        nearest = min((drawing.contrast(rgb, other) for other in avoid), default=100.0)
        if nearest > least:
            return rgb
        if nearest > best_contrast:
            best, best_contrast = rgb, nearest
    return best


def _draw_paper(
    generator: random.Random, canvas: np.ndarray, matrix: np.ndarray, paper_aspect: float, rgb: Rgb
) -> None:
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (paper_aspect / 2, 0.5)
    quad = drawing.project(matrix, corners)
    if generator.random() < 0.5:
        shadow = [int(value) for value in canvas[::16, ::16].mean((0, 1)) * generator.uniform(0.45, 0.75)]
        drawing.fill(canvas, quad + (generator.uniform(-5, 5), generator.uniform(1, 6)), tuple(shadow))
    drawing.fill(canvas, quad, rgb)


def _draw_thumbs(
    generator: random.Random, canvas: np.ndarray, matrix: np.ndarray, paper: Scene, paper_aspect: float, skin: Rgb
) -> None:
    """One or two at the sides or below, each unless it would touch a thing."""
    half = paper_aspect / 2
    thick = generator.uniform(0.035, 0.055)
    places = [
        ((-half, generator.uniform(-0.1, 0.4)), (1, generator.uniform(-0.5, 0.1))),
        ((half, generator.uniform(-0.1, 0.4)), (-1, generator.uniform(-0.5, 0.1))),
        ((generator.uniform(-0.3, 0.3) * paper_aspect, 0.5), (generator.uniform(-0.5, 0.5), -1)),
    ]
    for (x, y), (right, down) in generator.sample(places, generator.randint(1, 2)):
        reach = generator.uniform(0.06, 0.11)
        tip = (x + reach * right, y + reach * down)
        away = (x - 0.5 * right, y - 0.5 * down)
        spaces = (
            math.hypot(place[0] - tip[0], place[1] - tip[1]) - 1.15 * place[2]
            for place in (drawing.to_plane(thing, paper.aspect) for thing in paper.things if thing.shape != SHEET)
        )
        if min(spaces, default=1.0) > thick:
            _draw_limb(canvas, matrix, (x - 0.12 * right, y - 0.12 * down), away, 2.2 * thick, skin)
            _draw_limb(canvas, matrix, tip, (x - 0.05 * right, y - 0.05 * down), thick, skin)


def _draw_limb(
    canvas: np.ndarray,
    matrix: np.ndarray,
    start: tuple[float, float],
    end: tuple[float, float],
    thick: float,
    rgb: Rgb,
) -> None:
    """Half as thick as `thick` says, with round ends; lit from above a little."""
    points = drawing.project(matrix, np.array([start, end]))
    pixels = max(2, round(2 * thick * drawing.scale_at(matrix, *start)))
    one, two = (tuple(int(value) for value in point.clip(-2000, 2000)) for point in points)
    dim = tuple(round(0.86 * value) for value in rgb)
    cv2.line(canvas, one, two, dim, pixels, cv2.LINE_AA)
    cv2.line(
        canvas,
        (one[0], one[1] - pixels // 8),
        (two[0], two[1] - pixels // 8),
        rgb,
        max(1, pixels * 3 // 4),
        cv2.LINE_AA,
    )


def _draw_person(
    generator: random.Random, canvas: np.ndarray, view: np.ndarray, aspect: float, avoid: list[Rgb]
) -> None:
    """Head and shoulders behind what is held up, none where they would look like it."""
    skin, hair, shirt = generator.choice(_SKINS), generator.choice(_HAIRS), _room_colour(generator, avoid)
    if any(drawing.contrast(own, rgb) < _MUTED_CONTRAST for own in (skin, hair) for rgb in avoid):
        return
    x, y = generator.uniform(-0.35, 0.35) * aspect, generator.uniform(-0.35, 0.0)
    size = generator.uniform(0.14, 0.24)
    ring = drawing.outline("circle")
    for rgb, (middle_x, middle_y), (half_x, half_y) in (
        (shirt, (x, y + 2.9 * size), (2.0 * size, 1.6 * size)),
        (skin, (x, y + size), (0.4 * size, 0.8 * size)),
        (hair, (x, y - 0.15 * size), (0.9 * size, 1.12 * size)),
        (skin, (x, y + 0.1 * size), (0.75 * size, 1.0 * size)),
    ):
        points = drawing.project(view, ring * (half_x, half_y) + (middle_x, middle_y))
        drawing.fill(canvas, points, rgb)


def _motion(generator: random.Random) -> np.ndarray:
    """A kernel that smears along a line."""
    length = generator.randint(3, 9)
    kernel = np.zeros((length, length), np.float32)
    angle = generator.uniform(0, math.pi)
    middle = (length - 1) / 2
    half = np.array((math.cos(angle), math.sin(angle))) * middle
    one, two = (tuple(int(round(middle + sign * value)) for value in half) for sign in (-1, 1))
    cv2.line(kernel, one, two, 1.0, 1)
    return kernel / kernel.sum()
