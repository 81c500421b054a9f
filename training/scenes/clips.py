"""Clips of one thing that moves, changes, comes, goes, blinks or jumps, with a sound, a question and the right reply.

Two frames a second. The sound itself is made elsewhere: a clip says which word (or tone) starts when.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from training.domain.split import Split, belongs
from training.domain.unknown import UNKNOWN
from training.domain.words import COLOURS, SOUND_WORDS, number_words, with_article, written
from training.scenes import drawing
from training.scenes.camera import film
from training.scenes.grids import CLIP_GRIDS, TOKEN_SIDE, Grid, draw_aspect, draw_grid
from training.scenes.things import BEEP, Clip, Thing, draw_pair, other_pair

FPS = 2
_NUM_FRAMES = ((8, 0.76), (4, 0.12), (12, 0.12))
# A word is over by then, and the ear has noticed.
_WORD_S = 0.7
# Between a word's end and the change, or the change and a word's start.
_APART_S = 1.0
_BEEP_SHARE = 0.2
_NUM_OTHERS = 3

_STILL, _MOVE, _CHANGE, _APPEAR, _DISAPPEAR, _BLINK, _JUMP = (
    "still",
    "move",
    "change",
    "appear",
    "disappear",
    "blink",
    "jump",
)
_DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class Story:
    """What happens in a clip before it is drawn. `frames`: the things of each frame; `at`: the frame with which a
    change begins; `times`: of blinks and jumps; `to`: the new colour."""

    event: str
    main: Thing
    frames: tuple[tuple[Thing, ...], ...]
    motion: str | None = None
    at: int = 0
    times: int = 0
    to: str | None = None
    word: str | None = None
    word_start_s: float = 0.0

    @property
    def key(self) -> str:
        """The composition, for `training.domain.split`: `red circle left top move right`, `... change blue`, `... blink
        2`, `... appear`."""
        return " ".join(filter(None, (self.main.name, self.main.third, self.event, self.how)))

    @property
    def how(self) -> str | None:
        return self.motion or self.to or (str(self.times) if self.times else None)

    @property
    def duration_s(self) -> float:
        return len(self.frames) / FPS

    @property
    def has_order(self) -> bool:
        """Whether everybody would say the same of what came first, the sound or the change."""
        if self.to is None or self.word is None:
            return False
        gap_s = self.at / FPS - self.word_start_s
        return gap_s >= _WORD_S + _APART_S or gap_s <= -_APART_S

    @property
    def changes(self) -> tuple[str | None, ...]:
        """What happens within each two frames: left, right, up, down, appears, disappears, or None."""
        return tuple(_change_within(*self.frames[i : i + 2], self.motion) for i in range(0, len(self.frames), 2))

    @property
    def pairs(self) -> tuple[tuple[Thing, ...], ...]:
        """Of two frames: what is in either, as in the later one, half-way between the two where it moves."""
        return tuple(_between(*self.frames[i : i + 2]) for i in range(0, len(self.frames), 2))


Answer = tuple[str, str]
_Asker = Callable[[random.Random, Story], Answer]

_VIDEO_SEE = (
    "what do you see in the video",
    "what is in the video",
    "what do you see",
    "describe the video",
    "what does the video show",
)
_HAPPENS = ("what happens", "what happens in the video", "tell me what happens")
_HEAR = ("what do you hear", "what can you hear", "what do you hear in the video")
_HEAR_WORD = (
    "what word do you hear",
    "which word do you hear",
    "what is said in the video",
    "which word is said",
    "what word is it",
)
_SEE_HEAR = (
    "what do you see and hear",
    "what do you see and what do you hear",
    "describe what you see and hear",
    "what can you see and hear",
)
_UNKNOWN = (
    "who made this video",
    "where was this video made",
    "when was this video made",
    "how much does it cost",
    "who is speaking in the video",
    "how long did it take to make this video",
)


def clip(
    generator: random.Random,
    split: Split,
    *,
    kind: str | None = None,
    grid: Grid | None = None,
    camera: bool = False,
    practice: Mapping[str, float] = {},
) -> Clip:
    """`kind`: one of KINDS, drawn by their weights times `practice` where None; `grid`: (rows, columns) of tokens."""
    grid = grid or draw_grid(generator, CLIP_GRIDS)
    aspect = draw_aspect(generator, grid, clip=True)
    kind = kind or draw_kind(generator, practice)
    story, (question, reply) = draw_story(generator, split, kind, aspect)
    frames = (
        film(generator, split, story.frames, grid, aspect) if camera else render(generator, split, story, grid, aspect)
    )
    others = tuple(another(generator, story, practice) for _ in range(_NUM_OTHERS))
    return Clip(
        kind,
        frames,
        question,
        reply,
        story.word,
        story.word_start_s,
        story.pairs,
        story.changes,
        story.motion,
        aspect,
        others,
    )


def draw_kind(generator: random.Random, practice: Mapping[str, float] = {}) -> str:
    """`practice`: factors on the kinds' shares."""
    weights = [weight * practice.get(kind, 1.0) for kind, (weight, _, _) in KINDS.items()]
    return generator.choices(list(KINDS), weights)[0]


def draw_story(generator: random.Random, split: Split, kind: str, aspect: float) -> tuple[Story, Answer]:
    """A story of this kind, and the question with its reply."""
    _, events, asker = KINDS[kind]
    event = generator.choice(events)
    while True:
        num_frames = 8 if kind == "order" else generator.choices(*zip(*_NUM_FRAMES))[0]
        bystander = kind == "move" and generator.random() < 0.25
        story = _told(generator, event, num_frames, aspect, bystander=bystander)
        if belongs(story.key, split):
            break
    story = _with_sound(generator, story, kind)
    return story, asker(generator, story)


def another(generator: random.Random, story: Story, practice: Mapping[str, float] = {}) -> tuple[str, str, str]:
    """Kind, question and reply of one more question about what was shown already."""
    while True:
        kind = draw_kind(generator, practice)
        _, events, asker = KINDS[kind]
        if story.event not in events or kind == "order" and not story.has_order:
            continue
        # What is seen is told of one thing.
        if kind in ("see", "see_hear") and len(story.frames[0]) > 1:
            continue
        return kind, *asker(generator, story)


def render(generator: random.Random, split: Split, story: Story, grid: Grid, aspect: float) -> np.ndarray:
    """uint8 `[frame, 28 * rows, 28 * columns, 3]`."""
    height, width = (side * TOKEN_SIDE * drawing.OVERSAMPLING for side in grid)
    colours = sorted({thing.colour for things in story.frames for thing in things})
    shades = {colour: drawing.shade(generator, colour) for colour in colours}
    empty = np.empty((height, width, 3), np.uint8)
    drawing.fill_background(generator, split, empty, drawing.background(generator, list(shades.values())))
    matrix = drawing.flat_view(height, width, aspect)
    styles = {thing.shape: drawing.draw_style(generator) for things in story.frames for thing in things}
    frames = []
    for index, things in enumerate(story.frames):
        if index and things == story.frames[index - 1]:
            frames.append(frames[-1])
            continue
        canvas = empty.copy()
        for thing in things:
            drawing.draw_thing(canvas, matrix, thing, aspect, shades[thing.colour], styles[thing.shape])
        frames.append(drawing.shrink(canvas))
    return np.stack(frames)


def shown_before(shown: Clip) -> str:
    """The reply to `questions.SHOWN_BEFORE`: `You showed me a red circle moving to the left.`"""
    return story_shown_before(shown.things, shown.motion)


def story_shown_before(pairs: tuple[tuple[Thing, ...], ...], motion: str | None) -> str:
    states = [things[0] for things in pairs if things]
    first, last = states[0], states[-1]
    if first.colour != last.colour:
        return f"You showed me {_changing(first, last.colour)}."
    return f"You showed me {with_article(first.name)}{_moving(motion)}."


def _told(generator: random.Random, event: str, num_frames: int, aspect: float, *, bystander: bool) -> Story:
    colour, shape = draw_pair(generator)
    short = min(1.0, aspect)
    size = generator.uniform(0.14, 0.22)
    half_x, half_y = 1.2 * size * short / aspect, 1.2 * size * short
    x, y = generator.uniform(half_x, 1 - half_x), generator.uniform(half_y, 1 - half_y)
    main = Thing(colour, shape, x, y, size)
    visible = [True] * num_frames
    if event == _MOVE:
        return _moved(generator, main, num_frames, aspect, bystander)
    if event == _CHANGE:
        at = generator.randint(2, num_frames - 2)
        to = generator.choice([colour for colour in COLOURS if colour != main.colour])
        frames = tuple((main if index < at else replace(main, colour=to),) for index in range(num_frames))
        return Story(event, main, frames, at=at, to=to)
    if event in (_APPEAR, _DISAPPEAR):
        at = generator.randint(2, num_frames - 2)
        visible = [(index >= at) == (event == _APPEAR) for index in range(num_frames)]
        return Story(event, main, tuple((main,) if seen else () for seen in visible), at=at)
    if event in (_BLINK, _JUMP):
        moments = _moments(generator, num_frames)
        if event == _BLINK:
            frames = tuple(() if index in moments else (main,) for index in range(num_frames))
        else:
            rise = generator.uniform(0.25, 0.4)
            main = replace(main, y=generator.uniform(min(0.6, 1 - half_y), 1 - half_y))
            up = replace(main, y=max(half_y * 0.8, main.y - rise))
            frames = tuple((up if index in moments else main,) for index in range(num_frames))
        return Story(event, main, frames, times=len(moments))
    return Story(event, main, ((main,),) * num_frames)


def _moved(generator: random.Random, main: Thing, num_frames: int, aspect: float, bystander: bool) -> Story:
    motion = generator.choice(list(_DIRECTIONS))
    across, down = _DIRECTIONS[motion]
    short = min(1.0, aspect)
    half = 1.1 * main.size * short / (aspect if across else 1.0)
    way = generator.uniform(0.35, 0.62)
    start = generator.uniform(half, max(half, 1 - half - way))
    end = min(start + way, 1 - half)
    if across + down < 0:
        start, end = end, start
    places = np.linspace(start, end, num_frames)
    if across:
        states = [replace(main, x=float(place)) for place in places]
    else:
        states = [replace(main, y=float(place)) for place in places]
    frames = tuple((state,) for state in states)
    other = _bystander(generator, main, states, aspect) if bystander else None
    if other is not None:
        frames = tuple((*things, other) for things in frames)
    return Story(_MOVE, main, frames, motion=motion)


def _bystander(generator: random.Random, main: Thing, states: list[Thing], aspect: float) -> Thing | None:
    """Another shape that stays beside the way, None where there is no room."""
    short = min(1.0, aspect)
    for _ in range(20):
        colour, shape = other_pair(generator, main.pair)
        size = generator.uniform(0.13, 0.18)
        half_x, half_y = 1.2 * size * short / aspect, 1.2 * size * short
        x, y = generator.uniform(half_x, 1 - half_x), generator.uniform(half_y, 1 - half_y)
        gap = min(np.hypot((state.x - x) * aspect, state.y - y) for state in states)
        if shape != main.shape and gap > 1.25 * (size + main.size) * short:
            return Thing(colour, shape, x, y, size)
    return None


def _moments(generator: random.Random, num_frames: int) -> set[int]:
    """One to three frames, none the first or the last and no two in a row."""
    number = generator.randint(1, 1 if num_frames < 6 else 3)
    while True:
        moments = sorted(generator.sample(range(1, num_frames - 1), number))
        if all(later - earlier > 1 for earlier, later in zip(moments, moments[1:])):
            return set(moments)


def _with_sound(generator: random.Random, story: Story, kind: str) -> Story:
    chance = generator.random()
    silent_share = {"hear": 0.1, "see_hear": 0.0, "order": 0.0}.get(kind, 0.65)
    if chance < silent_share:
        return story
    word = BEEP if generator.random() < _BEEP_SHARE else generator.choice(SOUND_WORDS)
    latest = story.duration_s - _WORD_S - 0.1
    start_s = generator.uniform(0.1, latest)
    if kind == "order":
        if generator.random() < 0.5:
            start_s = generator.uniform(0.1, 0.9)
            first = int(np.ceil((start_s + _WORD_S + _APART_S) * FPS))
            at = generator.randint(first, len(story.frames) - 2)
        else:
            at = generator.randint(1, 3)
            start_s = generator.uniform(at / FPS + _APART_S, latest)
        changed = replace(story.main, colour=story.to)
        frames = tuple((story.main if index < at else changed,) for index in range(len(story.frames)))
        story = replace(story, frames=frames, at=at)
    return replace(story, word=word, word_start_s=round(start_s, 3))


def _between(earlier: tuple[Thing, ...], later: tuple[Thing, ...]) -> tuple[Thing, ...]:
    if len(earlier) != len(later):
        return later or earlier
    return tuple(
        replace(last, x=(first.x + last.x) / 2, y=(first.y + last.y) / 2) for first, last in zip(earlier, later)
    )


def _change_within(earlier: tuple[Thing, ...], later: tuple[Thing, ...], motion: str | None) -> str | None:
    if motion is not None:
        return motion
    if len(earlier) != len(later):
        return "appears" if later else "disappears"
    if not earlier or earlier[0].y == later[0].y:
        return None
    return "up" if later[0].y < earlier[0].y else "down"


def _see(generator: random.Random, story: Story) -> Answer:
    return generator.choice(_VIDEO_SEE), f"I see {_seen(story)}."


def _move(generator: random.Random, story: Story) -> Answer:
    shape, told = story.main.shape, f"The {story.main.name} {_moves(story.motion)}."
    if len(story.frames[0]) > 1:
        wordings = ("what moves", "what moves in the video", f"which way does the {shape} move", *_HAPPENS)
        return generator.choice(wordings), told
    wordings = (
        "which way does it move",
        "where does it go",
        "where does it move",
        f"which way does the {shape} move",
        f"where does the {shape} go",
        "in which direction does it move",
    )
    if story.motion is not None:
        wordings += _HAPPENS[:1]
    return generator.choice(wordings), told


def _change(generator: random.Random, story: Story) -> Answer:
    shape = story.main.shape
    wordings = (
        "what changes",
        "what changes in the video",
        "how does the colour change",
        f"which colour does the {shape} become",
        "what colour does it become",
        *_HAPPENS[:2],
    )
    return generator.choice(wordings), f"The {shape} changes from {story.main.colour} to {story.to}."


def _come_or_go(generator: random.Random, story: Story) -> Answer:
    verb = "appears" if story.event == _APPEAR else "disappears"
    wordings = (f"what {verb}", f"what {verb} in the video", f"which shape {verb}", *_HAPPENS)
    return generator.choice(wordings), f"The {story.main.name} {verb}."


def _times(generator: random.Random, story: Story) -> Answer:
    verb, shape = story.event, story.main.shape
    wordings = (
        f"how many times does it {verb}",
        f"how many times does the {shape} {verb}",
        f"how often does it {verb}",
        f"how often does the {shape} {verb}",
    )
    number = f"{number_words(story.times)} time{'' if story.times == 1 else 's'}"
    return generator.choice(wordings), f"The {shape} {verb}s {number}."


def _hear(generator: random.Random, story: Story) -> Answer:
    wordings = _HEAR if story.word == BEEP else (*_HEAR, *_HEAR_WORD)
    return generator.choice(wordings), f"I hear {_heard(story.word)}."


def _see_hear(generator: random.Random, story: Story) -> Answer:
    return generator.choice(_SEE_HEAR), f"I see {_seen(story)} and I hear {_heard(story.word)}."


def _order(generator: random.Random, story: Story) -> Answer:
    sound = "beep" if story.word == BEEP else "word"
    both = [sound, "change"]
    generator.shuffle(both)
    one, two = both
    wordings = (
        f"what came first the {one} or the {two}",
        f"which came first the {one} or the {two}",
        f"what was first the {one} or the {two}",
        f"what comes first the {one} or the {two}",
    )
    first = sound if story.word_start_s < story.at / FPS else "change"
    return generator.choice(wordings), f"The {first} came first."


def _unknown(generator: random.Random, story: Story) -> Answer:
    return generator.choice(_UNKNOWN), UNKNOWN


# Kind -> its share of the clips, what may happen in one, and who asks.
KINDS: dict[str, tuple[float, tuple[str, ...], _Asker]] = {
    "see": (1.5, (_STILL, _MOVE, _MOVE, _CHANGE), _see),
    "move": (1.5, (_MOVE,) * 8 + (_STILL,), _move),
    "change": (1.2, (_CHANGE,), _change),
    "come_or_go": (0.9, (_APPEAR, _DISAPPEAR), _come_or_go),
    "blink": (0.8, (_BLINK,), _times),
    "jump": (0.8, (_JUMP,), _times),
    "hear": (1.5, (_STILL, _MOVE, _CHANGE), _hear),
    "see_hear": (1.2, (_STILL, _MOVE, _CHANGE), _see_hear),
    "order": (1.6, (_CHANGE,), _order),
    "unknown": (0.3, (_STILL, _MOVE, _CHANGE), _unknown),
}


def _seen(story: Story) -> str:
    if story.to is not None:
        return _changing(story.main, story.to)
    return with_article(story.main.name) + _moving(story.motion)


def _changing(thing: Thing, to: str) -> str:
    return f"{with_article(thing.shape)} changing from {thing.colour} to {to}"


def _moving(motion: str | None) -> str:
    if motion is None:
        return ""
    return f" moving {_way(motion)}"


def _moves(motion: str | None) -> str:
    return "does not move" if motion is None else f"moves {_way(motion)}"


def _way(motion: str) -> str:
    return motion if motion in ("up", "down") else f"to the {motion}"


def _heard(word: str | None) -> str:
    if word is None:
        return "nothing"
    return "a beep" if word == BEEP else f"the word {written(word)}"
