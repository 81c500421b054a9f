"""Draws things on a canvas: shades of a colour, backgrounds that they stand out from, outlines, digits.

Knows no questions. A plane's coordinates have their origin in the middle of the picture (or the sheet of paper), one
unit is its height, y goes down; a 3 x 3 matrix takes them to pixels of the canvas, so that the same lines of code draw
a flat picture, one that `smart_resize` stretched, and a sheet held askew in front of a camera. Canvases have twice the
side of the picture that comes out.
"""

import colorsys
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.domain.split import Split
from training.scenes.things import Thing

Rgb = tuple[int, int, int]

OVERSAMPLING = 2
# Fractional bits of a point's coordinates in OpenCV.
_SHIFT = 4

# Hue in degrees, saturation and value, each from-to: all of it bears the name.
_SHADES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-7, 5), (0.8, 0.97), (0.75, 0.95)),
    "orange": ((21, 31), (0.85, 1.0), (0.92, 1.0)),
    "yellow": ((48, 55), (0.75, 1.0), (0.93, 1.0)),
    "green": ((105, 150), (0.65, 1.0), (0.45, 0.78)),
    "blue": ((212, 236), (0.7, 1.0), (0.6, 0.95)),
    "purple": ((278, 295), (0.6, 0.9), (0.45, 0.7)),
    "pink": ((322, 345), (0.3, 0.5), (0.95, 1.0)),
    "brown": ((18, 28), (0.6, 0.8), (0.33, 0.48)),
    "black": ((0, 360), (0.0, 0.2), (0.0, 0.12)),
    "white": ((0, 360), (0.0, 0.03), (0.95, 1.0)),
}
_LIGHT = ("hue", (0.0, 0.12), (0.85, 1.0))
_GREY = ("hue", (0.0, 0.08), (0.4, 0.7))
_DARK = ("hue", (0.2, 0.6), (0.1, 0.25))
_COLOURED = ("hue", (0.3, 0.7), (0.5, 0.9))
_BACKGROUNDS = ((_LIGHT, 6.0), (_GREY, 1.5), (_DARK, 1.0), (_COLOURED, 1.5))
_MIN_CONTRAST = 42.0

_FONTS = Path("/usr/share/fonts/truetype")
_TRAINED_FONTS = (
    "dejavu/DejaVuSans-Bold",
    "dejavu/DejaVuSans",
    "dejavu/DejaVuSans-Oblique",
    "dejavu/DejaVuSans-ExtraLight",
    "dejavu/DejaVuSansCondensed-Bold",
    "dejavu/DejaVuSansCondensed",
    "dejavu/DejaVuSansMono-Bold",
    "dejavu/DejaVuSansMono",
    "dejavu/DejaVuSerif-Bold",
    "dejavu/DejaVuSerif",
    "dejavu/DejaVuSerifCondensed-Bold",
    "liberation/LiberationSans-Bold",
    "liberation/LiberationSans-Regular",
    "liberation/LiberationSans-BoldItalic",
    "liberation/LiberationSansNarrow-Bold",
    "liberation/LiberationMono-Bold",
    "liberation/LiberationMono-Regular",
    "liberation/LiberationSerif-Regular",
    "liberation/LiberationSerif-BoldItalic",
)
_TEST_FONT = "liberation/LiberationSerif-Bold"
# Pixels of a digit before it is warped onto the canvas; more than it will have there.
_FONT_SIZE = 160
_DIGIT_HEIGHT = 0.72


def shade(generator: random.Random, colour: str) -> Rgb:
    """One of the shades that bear the name."""
    return from_hsv(*(generator.uniform(*span) for span in _SHADES[colour]))


def from_hsv(hue: float, saturation: float, value: float) -> Rgb:
    red, green, blue = colorsys.hsv_to_rgb(hue / 360 % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def contrast(first: Rgb, second: Rgb) -> float:
    """Distance in CIELAB: 2 is just noticeable, 100 is black against white."""
    return math.dist(_lab(first), _lab(second))


def background(generator: random.Random, avoid: list[Rgb]) -> Rgb:
    """A colour from which all of `avoid` stand out."""
    best, best_contrast = (255, 255, 255), 0.0
    for _ in range(40):
        kinds, weights = zip(*_BACKGROUNDS)
        _, saturation, value = generator.choices(kinds, weights)[0]
        rgb = from_hsv(generator.uniform(0, 360), generator.uniform(*saturation), generator.uniform(*value))
        least = min((contrast(rgb, other) for other in avoid), default=100.0)
        if least > _MIN_CONTRAST:
            return rgb
        if least > best_contrast:
            best, best_contrast = rgb, least
    return best


def fill_background(generator: random.Random, split: Split, canvas: np.ndarray, rgb: Rgb) -> None:
    """Mostly plain; else a soft gradient or faint lines; stripes aslant in tests alone."""
    height, width = canvas.shape[:2]
    # Several times as fast as `canvas[:] = rgb`.
    cv2.rectangle(canvas, (0, 0), (width, height), rgb, -1)
    chance = generator.random()
    if chance < 0.15:
        angle, depth = generator.uniform(0, 2 * math.pi), generator.uniform(5, 16)
        ramp = np.linspace(-depth, depth, 9)
        slope = ramp[:, None] * math.sin(angle) + ramp * math.cos(angle)
        small = np.clip(slope[..., None] + rgb, 0, 255).astype(np.uint8)
        canvas[:] = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    elif chance < 0.25:
        faint = tuple(max(0, min(255, value + generator.choice((-1, 1)) * generator.randint(8, 18))) for value in rgb)
        step, thick = generator.randint(14, 40), generator.randint(1, 2)
        if split == "test":
            for start in range(-height, width, step):
                cv2.line(canvas, (start, height), (start + height, 0), faint, thick)
            return
        for y in range(step // 2, height, step):
            cv2.line(canvas, (0, y), (width, y), faint, thick)
        if generator.random() < 0.5:
            for x in range(step // 2, width, step):
                cv2.line(canvas, (x, 0), (x, height), faint, thick)


def flat_view(height: int, width: int, aspect: float) -> np.ndarray:
    """The matrix of a picture of `aspect` that fills a canvas of any size: it is stretched as a resize would."""
    return np.array([[width / aspect, 0, width / 2], [0, height, height / 2], [0, 0, 1]])


def to_plane(thing: Thing, aspect: float) -> tuple[float, float, float]:
    """Centre and half size in the plane's coordinates."""
    return (thing.x - 0.5) * aspect, thing.y - 0.5, thing.size * min(1.0, aspect)


def project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points `[point, 2]` of the plane to pixels."""
    homogeneous = points @ matrix[:, :2].T + matrix[:, 2]
    return homogeneous[:, :2] / homogeneous[:, 2:]


@cache
def outline(shape: str) -> np.ndarray:
    """The shape's edge `[point, 2]`, about 2 high."""
    if shape == "circle":
        return _ring(48, 1.0)
    if shape == "square":
        return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.9
    if shape == "triangle":
        return np.array([(0, -0.95), (1.05, 0.85), (-1.05, 0.85)])
    if shape == "diamond":
        return np.array([(0, -1.1), (0.75, 0), (0, 1.1), (-0.75, 0)])
    if shape == "star":
        turns = np.arange(10) * math.pi / 5
        radius = np.where(np.arange(10) % 2 == 0, 1.15, 0.47)
        return np.stack((radius * np.sin(turns), 0.05 - radius * np.cos(turns)), 1)
    if shape == "heart":
        turns = np.linspace(0, 2 * math.pi, 48, endpoint=False)
        across = 16 * np.sin(turns) ** 3
        up = 13 * np.cos(turns) - 5 * np.cos(2 * turns) - 2 * np.cos(3 * turns) - np.cos(4 * turns)
        return np.stack((across / 15.5, -(up + 2.5) / 14.5), 1)
    raise ValueError(f"no such shape: {shape!r}")


@dataclass(frozen=True)
class Style:
    """How one thing is drawn, the same in every frame of a clip: turned by `angle` (radians), `width` times as wide as
    usual, filled or only an edge of `edge` times its half height; `waves` of an uneven hand: number, height, phase."""

    angle: float
    width: float
    edge: float | None
    waves: tuple[tuple[int, float, float], ...] = ()


def draw_style(generator: random.Random, edge_share: float = 0.2, unevenness: float = 0.0) -> Style:
    # A square on its corner would be a diamond.
    angle = math.radians(generator.gauss(0, 4))
    edge = generator.uniform(0.16, 0.3) if generator.random() < edge_share else None
    waves = tuple(
        (number, generator.uniform(0, unevenness), generator.uniform(0, 2 * math.pi)) for number in range(2, 5)
    )
    return Style(angle, generator.uniform(0.93, 1.07), edge, waves if unevenness else ())


def draw_thing(canvas: np.ndarray, matrix: np.ndarray, thing: Thing, aspect: float, rgb: Rgb, style: Style) -> None:
    """`aspect`: of the plane that `thing` lies in."""
    x, y, size = to_plane(thing, aspect)
    turn = np.array([[math.cos(style.angle), math.sin(style.angle)], [-math.sin(style.angle), math.cos(style.angle)]])
    points = outline(thing.shape)
    if style.waves:
        points = _many_points(thing.shape)
        turns = np.arctan2(points[:, 1], points[:, 0])
        points = (
            points * (1 + sum(high * np.cos(number * turns + phase) for number, high, phase in style.waves))[:, None]
        )
    points = project(matrix, points * (style.width, 1 / style.width) @ turn * size + (x, y))
    if style.edge is not None:
        thick = max(3, round(style.edge * size * scale_at(matrix, x, y)))
        cv2.polylines(canvas, [_fixed(points)], True, rgb, thick, cv2.LINE_AA, _SHIFT)
    else:
        fill(canvas, points, rgb)


def fill(canvas: np.ndarray, points: np.ndarray, rgb: Rgb) -> None:
    """A polygon, its corners `[point, 2]` in pixels."""
    cv2.fillPoly(canvas, [_fixed(points)], rgb, cv2.LINE_AA, _SHIFT)


def scale_at(matrix: np.ndarray, x: float, y: float) -> float:
    """Pixels for one unit of the plane, at one of its points."""
    step = 1e-3
    start, right, down = project(matrix, np.array([[x, y], [x + step, y], [x, y + step]]))
    return abs(float(np.linalg.det(np.stack((right - start, down - start))))) ** 0.5 / step


def draw_font(generator: random.Random, split: Split) -> str:
    return _TEST_FONT if split == "test" else generator.choice(_TRAINED_FONTS)


def draw_number(
    canvas: np.ndarray, matrix: np.ndarray, digits: Sequence[Thing], aspect: float, font: str, rgb: Rgb
) -> None:
    """Digits next to each other as the font sets them, around the middle of where `digits` are.

    `aspect`: of the plane that they lie in.
    """
    places = np.array([to_plane(digit, aspect) for digit in digits])
    x, y, half_height = places.mean(0)
    masks = [digit_mask(font, digit.shape) for digit in digits]
    scale = 2 * half_height / (_DIGIT_HEIGHT * _FONT_SIZE)
    widths = [mask.shape[1] * scale for mask in masks]
    left = x - sum(widths) / 2
    for mask, width in zip(masks, widths):
        half = np.array((width, mask.shape[0] * scale)) / 2
        _draw_mask(canvas, matrix, mask, np.array((left + width / 2, y)), half, rgb)
        left += width


def _draw_mask(
    canvas: np.ndarray, matrix: np.ndarray, mask: np.ndarray, middle: np.ndarray, half: np.ndarray, rgb: Rgb
) -> None:
    """`middle`, `half` (width, height): where it lies on the plane."""
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half + middle
    target = project(matrix, corners)
    low = np.maximum(np.floor(target.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(target.max(0)).astype(int) + 1, canvas.shape[1::-1])
    if (high <= low).any():
        return
    height, width = mask.shape
    # Smaller than the mask: shrunk first, or thin strokes fall between the samples.
    factor = float(np.ptp(target[:, 1])) / height
    if factor < 0.7:
        mask = cv2.resize(mask, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        height, width = mask.shape
    source = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    warp = cv2.getPerspectiveTransform(source, (target - low).astype(np.float32))
    size = int(high[0] - low[0]), int(high[1] - low[1])
    share = cv2.warpPerspective(mask, warp, size, flags=cv2.INTER_LINEAR)[..., None].astype(np.float32) / 255
    part = canvas[low[1] : high[1], low[0] : high[0]]
    part[:] = (part + share * (np.array(rgb, np.float32) - part)).astype(np.uint8)


@lru_cache(maxsize=256)
def digit_mask(font: str, letter: str) -> np.ndarray:
    """uint8 `[height, width]`, the digit in the middle, as wide as the font sets it."""
    face = _face(font)
    width = math.ceil(face.getlength(letter))
    left, top, right, bottom = face.getbbox(letter)
    image = Image.new("L", (max(width, right - left) + 4, bottom - top + 4), 0)
    ImageDraw.Draw(image).text(((image.width - left - right) / 2, 2 - top), letter, fill=255, font=face)
    return np.asarray(image)


def shrink(canvas: np.ndarray) -> np.ndarray:
    """The canvas to the picture's own size."""
    height, width = canvas.shape[:2]
    return cv2.resize(canvas, (width // OVERSAMPLING, height // OVERSAMPLING), interpolation=cv2.INTER_AREA)


@lru_cache(maxsize=64)
def _face(font: str) -> ImageFont.FreeTypeFont:
    path = _FONTS / f"{font}.ttf"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: install fonts-dejavu and fonts-liberation")
    return ImageFont.truetype(str(path), _FONT_SIZE)


@cache
def _many_points(shape: str) -> np.ndarray:
    """The same edge with points along its straight lines too."""
    points = outline(shape)
    if len(points) > 20:
        return points
    steps = np.linspace(0, 1, 8, endpoint=False)[:, None]
    return np.concatenate([start + steps * (end - start) for start, end in zip(points, np.roll(points, -1, axis=0))])


def _ring(num_points: int, radius: float) -> np.ndarray:
    turns = np.linspace(0, 2 * math.pi, num_points, endpoint=False)
    return np.stack((np.cos(turns), np.sin(turns)), 1) * radius


def _fixed(points: np.ndarray) -> np.ndarray:
    """Points for OpenCV, whose pixels have their centres at whole numbers."""
    return np.round((points - 0.5) * (1 << _SHIFT)).astype(np.int32)


@lru_cache(maxsize=4096)
def _lab(rgb: Rgb) -> tuple[float, float, float]:
    """CIELAB of sRGB under D65."""
    red, green, blue = ((v / 255 / 12.92 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4) for v in rgb)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    a, b, c = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return 116 * b - 16, 500 * (a - b), 200 * (b - c)
