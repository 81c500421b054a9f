"""Questions about what a picture shows and the right replies; knows no pixels.

Questions are as spoken (lower case, no punctuation), replies as written on the page. A question is only asked where
every onlooker would give the same answer: `ask` answers None otherwise.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from training.domain.split import Split
from training.domain.unknown import UNKNOWN
from training.domain.words import COLOURS, SHAPES, number_words, with_article
from training.scenes.things import Picture, Scene, Thing, counted, other_pair

# As shares of the picture's width and height.
_MIDDLE = 0.1
_AWAY = 0.19
# One thing is on a side when it is that much farther from the middle this way than the other way.
_CLEARLY_MORE = 1.7
_NEXT_TO, _ABOVE = 0.15, 0.2
CLEARLY_BIGGER = 1.45


Answer = tuple[str, str]
_Asker = Callable[[random.Random, Scene], Answer | None]

_SEE = (
    "what do you see",
    "what do you see in the picture",
    "what is in the picture",
    "describe the picture",
    "what can you see",
    "tell me what you see",
)
_THIS = ("what is this", "what is that")
_WHICH_COLOUR = ("what colour is this", "which colour is this", "what colour do you see", "what colour is it")
_WHICH_SHAPE = ("what shape is this", "which shape is this", "what shape do you see", "what shape is it")
_NUMBER = (
    "which number is this",
    "what number is this",
    "which number do you see",
    "what number is in the picture",
    "read the number",
)
_UNKNOWN = (
    "who made this picture",
    "who drew this",
    "how much does it cost",
    "how old is this picture",
    "where did i buy this",
    "when was this picture made",
    "how heavy is it",
    "what does it smell like",
    "who gave me this",
    "is it expensive",
    "why did i draw this",
)
_SIDES = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}
SHOWN_BEFORE = (
    "what did i show you before",
    "what did i show you",
    "what was in the picture",
    "what did you see before",
    "what was it that i showed you",
)


def described(things: Sequence[Thing], text: str | None = None) -> str | None:
    """`a red circle and a blue square`, from left to right, from top to bottom where one stands above the other."""
    if text is not None:
        return f"the number {number_words(int(text))}"
    kinds = Counter(thing.pair for thing in things)
    if len(kinds) == 1:
        thing = things[0]
        return counted(len(things), thing.name) if len(things) > 1 else with_article(thing.name)
    ordered = reading_order(things)
    return ordered and " and ".join(with_article(thing.name) for thing in ordered)


def reading_order(things: Sequence[Thing]) -> list[Thing] | None:
    """Two things in the order in which they are told; None where that is a matter of taste."""
    assert len(things) <= 2, things
    ordered = sorted(things, key=lambda thing: thing.x)
    if len(ordered) == 2:
        across, down = ordered[1].x - ordered[0].x, abs(ordered[1].y - ordered[0].y)
        if across < _NEXT_TO:
            if down < _ABOVE or across > 0.4 * down:
                return None
            ordered.sort(key=lambda thing: thing.y)
    return ordered


def place(thing: Thing, aspect: float) -> str | None:
    """left, right, top, bottom or middle; None between them. Both as shares and by eye, in a wide picture too."""
    across, down = thing.x - 0.5, thing.y - 0.5
    if abs(across) < _MIDDLE and abs(down) < _MIDDLE:
        return "middle"
    if abs(across) > _AWAY and abs(across) * min(1.0, aspect) > _CLEARLY_MORE * abs(down):
        return "right" if across > 0 else "left"
    if abs(down) > _AWAY and abs(down) > _CLEARLY_MORE * abs(across) * max(1.0, aspect):
        return "bottom" if down > 0 else "top"
    return None


def _see(generator: random.Random, scene: Scene) -> Answer | None:
    told = described(scene.things, scene.text)
    if told is None:
        return None
    if len(scene.shapes) < 2 and generator.random() < 0.2:
        return generator.choice(_THIS), f"This is {told}."
    return generator.choice(_SEE), f"I see {told}."


def _colour(generator: random.Random, scene: Scene) -> Answer | None:
    if scene.sheet is not None:
        return generator.choice(_WHICH_COLOUR), f"This is {scene.sheet.colour}."
    if not scene.shapes:
        return None
    thing = generator.choice(scene.shapes)
    if len({other.colour for other in scene.shapes if other.shape == thing.shape}) > 1:
        return None
    shape = thing.shape
    if len(scene.shapes) == 1 and generator.random() < 0.25:
        return generator.choice(_WHICH_COLOUR), f"The {shape} is {thing.colour}."
    if generator.random() < 0.1:
        missing = generator.choice([other for other in SHAPES if all(other != here.shape for here in scene.shapes)])
        return f"what colour is the {missing}", f"There is no {missing}."
    several = sum(other.shape == shape for other in scene.shapes) > 1
    if several:
        wordings = (f"what colour are the {shape}s", f"which colour do the {shape}s have")
        return generator.choice(wordings), f"The {shape}s are {thing.colour}."
    wordings = (
        f"what colour is the {shape}",
        f"which colour is the {shape}",
        f"which colour does the {shape} have",
        f"tell me the colour of the {shape}",
    )
    return generator.choice(wordings), f"The {shape} is {thing.colour}."


def _shape(generator: random.Random, scene: Scene) -> Answer | None:
    if not scene.shapes:
        return None
    thing = generator.choice(scene.shapes)
    if sum(other.colour == thing.colour for other in scene.shapes) > 1:
        return None
    if len(scene.shapes) == 1 and generator.random() < 0.3:
        return generator.choice(_WHICH_SHAPE), f"This is {with_article(thing.shape)}."
    colour = thing.colour
    if generator.random() < 0.1:
        colour = generator.choice([other for other in COLOURS if all(other != here.colour for here in scene.shapes)])
        return f"what shape is {colour}", f"There is no {colour} shape."
    wordings = (
        f"what shape is {colour}",
        f"which shape is {colour}",
        f"what is {colour}",
        f"what is the {colour} shape",
    )
    return generator.choice(wordings), f"The {colour} shape is {with_article(thing.shape)}."


def _count(generator: random.Random, scene: Scene) -> Answer | None:
    if not scene.shapes:
        return None
    wordings = (
        "how many shapes do you see",
        "how many shapes are there",
        "how many things do you see",
        "how many shapes are in the picture",
        "count the shapes",
    )
    return generator.choice(wordings), _there_are(len(scene.shapes), "shape")


def _count_kind(generator: random.Random, scene: Scene) -> Answer | None:
    if not scene.shapes:
        return None
    colour, shape = generator.choice(scene.shapes).pair
    if generator.random() < 0.2:
        colour, shape = other_pair(generator, (colour, shape))
    chance = generator.random()
    if chance < 0.45:
        name, number = f"{colour} {shape}", sum(thing.pair == (colour, shape) for thing in scene.shapes)
    elif chance < 0.85:
        name, number = shape, sum(thing.shape == shape for thing in scene.shapes)
    else:
        name, number = f"{colour} shape", sum(thing.colour == colour for thing in scene.shapes)
    wordings = (f"how many {name}s do you see", f"how many {name}s are there", f"count the {name}s")
    return generator.choice(wordings), _there_are(number, name)


def _where(generator: random.Random, scene: Scene) -> Answer | None:
    if not scene.shapes:
        return None
    thing = generator.choice(scene.shapes)
    where = place(thing, scene.aspect)
    if where is None:
        return None
    told = _SIDES.get(where, "in the middle")
    if len(scene.shapes) == 1 and generator.random() < 0.2:
        return "where is it", f"It is {told}."
    name = thing.name
    if sum(other.shape == thing.shape for other in scene.shapes) == 1 and generator.random() < 0.6:
        name = thing.shape
    elif sum(other.pair == thing.pair for other in scene.shapes) > 1:
        return None
    wordings = (f"where is the {name}", f"where do you see the {name}", f"tell me where the {name} is")
    return generator.choice(wordings), f"The {name} is {told}."


def _side(generator: random.Random, scene: Scene) -> Answer | None:
    """What is on the left (right, at the top, at the bottom): of two things that stand apart that way."""
    if len({thing.pair for thing in scene.shapes}) != 2 or len(scene.shapes) != 2:
        return None
    across = scene.shapes[1].x - scene.shapes[0].x
    down = scene.shapes[1].y - scene.shapes[0].y
    width, height = abs(across) * scene.aspect, abs(down)
    if abs(across) > 0.25 and width > height:
        side, first = generator.choice((("left", across > 0), ("right", across < 0)))
    elif abs(down) > 0.25 and height > width:
        side, first = generator.choice((("top", down > 0), ("bottom", down < 0)))
    else:
        return None
    thing = scene.shapes[0] if first else scene.shapes[1]
    where = _SIDES[side]
    wordings = (f"what is {where}", f"what do you see {where}", f"which shape is {where}")
    return generator.choice(wordings), f"The {thing.name} is {where}."


def _bigger(generator: random.Random, scene: Scene) -> Answer | None:
    if len({thing.pair for thing in scene.shapes}) != 2 or len(scene.shapes) != 2:
        return None
    small, big = sorted(scene.shapes, key=lambda thing: thing.size)
    if big.size < CLEARLY_BIGGER * small.size:
        return None
    if generator.random() < 0.6:
        wordings = ("which is bigger", "which shape is bigger", "what is bigger", "which one is larger")
        return generator.choice(wordings), f"The {big.name} is bigger."
    wordings = ("which is smaller", "which shape is smaller", "what is smaller", "which one is smaller")
    return generator.choice(wordings), f"The {small.name} is smaller."


def _exists(generator: random.Random, scene: Scene) -> Answer | None:
    if not scene.shapes:
        return None
    colour, shape = generator.choice(scene.shapes).pair
    if generator.random() < 0.5:
        colour, shape = other_pair(generator, (colour, shape))
    if generator.random() < 0.3:
        name, found = shape, any(thing.shape == shape for thing in scene.shapes)
    else:
        name, found = f"{colour} {shape}", any(thing.pair == (colour, shape) for thing in scene.shapes)
    one = with_article(name)
    wordings = (f"is there {one}", f"do you see {one}", f"is there {one} in the picture", f"can you see {one}")
    return generator.choice(wordings), f"Yes, there is {one}." if found else f"No, there is no {name}."


def _number(generator: random.Random, scene: Scene) -> Answer | None:
    if scene.text is None:
        return None
    return generator.choice(_NUMBER), f"The number is {number_words(int(scene.text))}."


def _unknown(generator: random.Random, scene: Scene) -> Answer:
    return generator.choice(_UNKNOWN), UNKNOWN


# Kind of question -> its share of the pictures, and who asks.
KINDS: dict[str, tuple[float, _Asker]] = {
    "describe": (2.5, _see),
    "colour": (1.5, _colour),
    "shape": (1.0, _shape),
    "count": (1.0, _count),
    "count_kind": (1.2, _count_kind),
    "where": (1.5, _where),
    "side": (1.0, _side),
    "bigger": (0.8, _bigger),
    "exists": (1.0, _exists),
    "sheet": (1.0, _colour),
    "number": (1.5, _number),
    "unknown": (0.3, _unknown),
}


def draw_kind(generator: random.Random, practice: Mapping[str, float] = {}) -> str:
    """`practice`: factors on the kinds' shares."""
    weights = [weight * practice.get(kind, 1.0) for kind, (weight, _) in KINDS.items()]
    return generator.choices(list(KINDS), weights)[0]


def ask(generator: random.Random, scene: Scene, kind: str) -> Answer | None:
    """Question and reply; None where the scene does not allow such a question."""
    return KINDS[kind][1](generator, scene)


def another(generator: random.Random, scene: Scene, practice: Mapping[str, float] = {}) -> tuple[str, str, str]:
    """Kind, question and reply of one more question about what was shown already."""
    while True:
        kind = draw_kind(generator, practice)
        answer = ask(generator, scene, kind)
        if answer is not None:
            return kind, *answer


def shown_before(picture: Picture) -> str:
    """The reply to SHOWN_BEFORE: `You showed me a red circle.`"""
    return f"You showed me {described(picture.things, picture.text)}."


def texts(generator: random.Random, split: Split, num_texts: int) -> list[Answer]:
    """Distinct questions with their replies, of pictures and of clips, without drawing any."""
    # Both ask their questions from here.
    from training.scenes.clips import draw_kind as draw_clip_kind
    from training.scenes.clips import draw_story, story_shown_before
    from training.scenes.pictures import draw_scene

    found: dict[Answer, None] = {}
    while len(found) < num_texts:
        aspect = generator.choice((0.75, 1.0, 1.4, 1.6))
        chance = generator.random()
        if chance < 0.6:
            scene, answer = draw_scene(generator, split, draw_kind(generator), aspect)
            shown = f"You showed me {described(scene.things, scene.text)}."
        else:
            story, answer = draw_story(generator, split, draw_clip_kind(generator), aspect)
            shown = story_shown_before(story.pairs, story.motion)
        if generator.random() < 0.06:
            answer = generator.choice(SHOWN_BEFORE), shown
        found[answer] = None
    return list(found)


def _there_are(number: int, name: str) -> str:
    return f"There {'is' if number == 1 else 'are'} {counted(number, name)}."
