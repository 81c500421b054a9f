"""Which grids of tokens pictures and clips come in: what `smart_resize` makes of the usual cameras and screens.

Knows no pixels: a grid is (rows, columns) of tokens of 28 x 28, and the aspect is width / height before the resize,
which stretches a little. Things are drawn through the same stretch.
"""

import math
import random

Grid = tuple[int, int]

TOKEN_SIDE = 28
# Least and most tokens: of a picture, and of a pair of a clip's frames. The checkpoint's own limits.
PICTURE_TOKENS = (16, 32)
CLIP_TOKENS = (12, 20)

# Width, height, weight: webcams, phones held upright and across, screens, squares.
_SOURCES = (
    (1280, 720, 5.0),
    (640, 480, 5.0),
    (1920, 1080, 2.0),
    (720, 1280, 1.5),
    (480, 640, 1.0),
    (3024, 4032, 2.0),
    (4032, 3024, 1.5),
    (3000, 2000, 0.5),
    (1440, 900, 1.0),
    (2560, 1600, 0.5),
    (1170, 2532, 0.5),
    (1000, 1000, 2.5),
    (1280, 1024, 0.5),
)
# Cut-outs and windows of any form, their weight taken together.
_CUT_OUTS = (0.5, 2.2, 61, 4.0)
_CUT_OUT_AREA = 640 * 480


def fitted_grid(width: int, height: int, tokens: tuple[int, int]) -> Grid:
    """The grid of a picture by the rule of Qwen's `smart_resize`, without loading what that one needs."""
    least, most = tokens
    rows, columns = (max(1, round(side / TOKEN_SIDE)) for side in (height, width))
    tokens_of_source = width * height / TOKEN_SIDE**2
    if rows * columns > most:
        scale = math.sqrt(tokens_of_source / most)
        rows, columns = (math.floor(side / scale / TOKEN_SIDE) for side in (height, width))
    elif rows * columns < least:
        scale = math.sqrt(least / tokens_of_source)
        rows, columns = (math.ceil(side * scale / TOKEN_SIDE) for side in (height, width))
    return rows, columns


def _sources() -> list[tuple[int, int, float]]:
    narrowest, widest, num_forms, weight = _CUT_OUTS
    found = list(_SOURCES)
    for i in range(num_forms):
        aspect = narrowest * (widest / narrowest) ** (i / (num_forms - 1))
        height = round(math.sqrt(_CUT_OUT_AREA / aspect))
        found.append((round(height * aspect), height, weight / num_forms))
    return found


def _weights(tokens: tuple[int, int]) -> dict[Grid, float]:
    sums: dict[Grid, float] = {}
    for width, height, weight in _sources():
        grid = fitted_grid(width, height, tokens)
        sums[grid] = sums.get(grid, 0.0) + weight
    total = sum(sums.values())
    return {grid: weight / total for grid, weight in sorted(sums.items())}


def _aspects(tokens: tuple[int, int]) -> dict[Grid, tuple[tuple[float, float], ...]]:
    found: dict[Grid, tuple[tuple[float, float], ...]] = {}
    for width, height, weight in _sources():
        grid = fitted_grid(width, height, tokens)
        found[grid] = (*found.get(grid, ()), (width / height, weight))
    return found


# Grid -> share of the pictures (clips) that come in it.
PICTURE_GRIDS: dict[Grid, float] = _weights(PICTURE_TOKENS)
CLIP_GRIDS: dict[Grid, float] = _weights(CLIP_TOKENS)
_PICTURE_ASPECTS = _aspects(PICTURE_TOKENS)
_CLIP_ASPECTS = _aspects(CLIP_TOKENS)


def draw_grid(generator: random.Random, grids: dict[Grid, float]) -> Grid:
    return generator.choices(list(grids), list(grids.values()))[0]


def draw_aspect(generator: random.Random, grid: Grid, *, clip: bool = False) -> float:
    """Width / height of a source that ends up in `grid`."""
    known = (_CLIP_ASPECTS if clip else _PICTURE_ASPECTS).get(grid)
    if known is None:
        return grid[1] / grid[0]
    return generator.choices([aspect for aspect, _ in known], [weight for _, weight in known])[0]
