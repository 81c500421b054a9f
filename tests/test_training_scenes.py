"""The drawn pictures and clips: sizes as the page's own resize gives them, what is held out, replies that are true."""

import os
import random
import re
import subprocess
import sys

import numpy as np
import pytest

from app.media.image import fitted_size
from training.domain.split import Split, is_held_out
from training.domain.words import COLOURS, SHAPES
from training.scenes import clips, drawing, questions
from training.scenes.clips import clip, draw_story
from training.scenes.grids import CLIP_GRIDS, CLIP_TOKENS, PICTURE_GRIDS, PICTURE_TOKENS, TOKEN_SIDE, fitted_grid
from training.scenes.pictures import draw_scene, picture
from training.scenes.things import Scene, Thing
from training.scenes.two import two_pictures

SPOKEN = re.compile(r"[a-z]+( [a-z]+)*")
WRITTEN = re.compile(r"[A-Z][A-Za-z]*(,? [A-Za-z]+)*\.")


@pytest.mark.parametrize("tokens", [PICTURE_TOKENS, CLIP_TOKENS])
def test_the_grids_follow_the_rule_of_the_page(tokens: tuple[int, int]) -> None:
    low, high = (number * TOKEN_SIDE**2 for number in tokens)
    generator = random.Random(1)
    for _ in range(300):
        width, height = generator.randint(200, 1500), generator.randint(200, 1500)
        fitted = fitted_size(height, width, TOKEN_SIDE, low, high, "test")
        rows, columns = fitted_grid(width, height, tokens)
        assert fitted == (rows * TOKEN_SIDE, columns * TOKEN_SIDE), (width, height)


@pytest.mark.parametrize("camera", [False, True])
def test_a_picture_fills_its_grid_and_a_clip_too(camera: bool) -> None:
    generator = random.Random(2)
    for grid in PICTURE_GRIDS:
        shown = picture(generator, "train", grid=grid, camera=camera)
        assert shown.pixels.shape == (grid[0] * TOKEN_SIDE, grid[1] * TOKEN_SIDE, 3) and shown.pixels.dtype == np.uint8
    for grid in CLIP_GRIDS:
        moving = clip(generator, "train", grid=grid)
        assert moving.frames.shape[1:] == (grid[0] * TOKEN_SIDE, grid[1] * TOKEN_SIDE, 3)
        assert len(moving.frames) == 2 * len(moving.things)


def test_a_seed_gives_the_same_picture_and_the_same_clip() -> None:
    first, second = (picture(random.Random(3), "train", camera=True) for _ in range(2))
    assert first.reply == second.reply and (first.pixels == second.pixels).all()
    one, two = (clip(random.Random(3), "train") for _ in range(2))
    assert one.reply == two.reply and (one.frames == two.frames).all()


def test_training_never_shows_a_held_out_composition_and_a_test_shows_nothing_else() -> None:
    generator = random.Random(4)
    for split, number in (("train", 400), ("test", 200)):
        for _ in range(number):
            scene, answer = draw_scene(generator, split, questions.draw_kind(generator), 1.5)
            assert scene.key is None or is_held_out(scene.key) == (split == "test"), (scene, answer)
            story, told = draw_story(generator, split, clips.draw_kind(generator), 1.5)
            assert is_held_out(story.key) == (split == "test"), (story.key, told)
            shown = picture(generator, split, camera=True)
            assert shown.scene.key is None or is_held_out(shown.scene.key) == (split == "test"), shown


def test_only_sheets_and_numbers_of_one_word_are_no_compositions() -> None:
    def at(colour: str, shape: str, x: float = 0.2, y: float = 0.9) -> Thing:
        return Thing(colour, shape, x, y, 0.1)

    assert Scene((at("red", "circle"),)).key == "red circle left bottom"
    assert Scene((at("red", "star", 0.5, 0.5), at("blue", "star"))).key == "blue star, red star"
    assert Scene((at("red", "star", 0.5, 0.5), at("red", "star"))).key == "2 red star left bottom"
    assert Scene((at("red", "7"), at("red", "3", 0.4)), text="73").key == "number 73"
    assert Scene((at("red", "7"),), text="7").key is None
    assert Scene((at("red", "1"), at("red", "3", 0.4)), text="13").key is None
    assert Scene((at("red", "sheet"),)).key is None


@pytest.mark.parametrize("event", ["blink", "jump"])
def test_each_blink_and_each_jump_shows_within_two_frames(event: str) -> None:
    generator = random.Random(6)
    for _ in range(100):
        story, _ = draw_story(generator, "train", event, 1.5)
        seen = [change for change in story.changes if change is not None]
        assert (
            len(seen) == story.times
            and set(seen) <= {"blink": {"appears", "disappears"}, "jump": {"up", "down"}}[event]
        )


def test_no_answer_is_held_out_for_any_thing() -> None:
    """Else a model learns that there is no third red circle, and that green stars never blink once."""
    generator = random.Random(8)
    answers = set()
    for _ in range(12000):
        scene, _ = draw_scene(generator, "train", "count", 1.5)
        if len({thing.pair for thing in scene.shapes}) == 1:
            answers.add((scene.shapes[0].pair, len(scene.shapes)))
    assert len(answers) == 60 * 4


def test_training_shows_every_shape_in_every_colour() -> None:
    generator, seen = random.Random(5), set()
    while len(seen) < len(COLOURS) * len(SHAPES):
        seen |= {thing.pair for thing in draw_scene(generator, "train", "where", 1.5)[0].shapes}


@pytest.mark.parametrize("split", ["train", "test"])
def test_texts_are_spoken_questions_and_written_replies(split: Split) -> None:
    found = questions.texts(random.Random(6), split, 800)
    assert len(set(found)) == 800
    for question, reply in found:
        assert SPOKEN.fullmatch(question) and WRITTEN.fullmatch(reply), (question, reply)


def test_more_can_be_asked_about_what_was_shown() -> None:
    generator = random.Random(9)
    for camera in (False, True):
        for _ in range(30):
            shown = picture(generator, "train", camera=camera)
            kind, question, reply = questions.another(generator, shown.scene)
            assert kind in questions.KINDS and SPOKEN.fullmatch(question) and WRITTEN.fullmatch(reply)
            assert WRITTEN.fullmatch(questions.shown_before(shown))
    assert WRITTEN.fullmatch(clips.shown_before(clip(generator, "train", camera=True)))


@pytest.mark.parametrize(
    ("aspect", "x", "y", "where"),
    [
        (1.0, 0.5, 0.5, "middle"),
        (1.6, 0.2, 0.5, "left"),
        (1.6, 0.5, 0.8, "bottom"),
        (0.6, 0.5, 0.2, "top"),
        (0.6, 0.8, 0.5, "right"),
        (1.0, 0.8, 0.8, None),
        (1.0, 0.65, 0.5, None),
    ],
)
def test_a_place_is_told_only_where_all_agree(aspect: float, x: float, y: float, where: str | None) -> None:
    assert questions.place(Thing("red", "circle", x, y, 0.1), aspect) == where


def test_two_things_are_told_from_left_to_right_or_not_at_all() -> None:
    def at(x: float, y: float) -> Thing:
        return Thing("blue", "star", x, y, 0.1)

    red = Thing("red", "star", 0.5, 0.5, 0.1)
    assert questions.described([red, at(0.2, 0.9)]) == "a blue star and a red star"
    assert questions.described([at(0.52, 0.9), red]) == "a red star and a blue star"
    assert questions.described([red, at(0.4, 0.6)]) is None


@pytest.mark.parametrize("camera", [False, True])
@pytest.mark.parametrize("colour", ["red", "green", "blue", "yellow"])
def test_a_thing_lies_where_the_picture_says_in_its_own_colour(colour: str, camera: bool) -> None:
    generator = random.Random(7)
    checked = 0
    while checked < 5:
        shown = picture(generator, "train", kind="colour", camera=camera)
        for thing in shown.scene.shapes:
            if thing.colour != colour or thing.size * min(shown.pixels.shape[:2]) < 14:
                continue
            height, width = shown.pixels.shape[:2]
            half = int(1.1 * thing.size * min(height, width))
            x, y = int(thing.x * width), int(thing.y * height)
            part = shown.pixels[max(0, y - half) : y + half, max(0, x - half) : x + half].reshape(-1, 3)
            shades = [drawing.shade(random.Random(seed), colour) for seed in range(6)]
            nearest = min(drawing.contrast(tuple(map(int, pixel)), shade) for pixel in part[::3] for shade in shades)
            assert nearest < 45, (thing, nearest)
            checked += 1


def test_the_word_and_the_change_are_a_second_apart() -> None:
    generator = random.Random(8)
    for _ in range(200):
        story, (_, reply) = draw_story(generator, "train", "order", 1.5)
        gap = story.at / clips.FPS - story.word_start_s
        assert abs(gap) >= 1.0 and ("change" in reply) == (gap < 0), (story, reply)
        assert 0 <= story.word_start_s < story.duration_s - 0.5


def test_a_seed_draws_the_same_in_every_process() -> None:
    """Python's hashes of strings differ from process to process, and with them the order in sets."""
    script = (
        "import hashlib, random; from training.scenes.pictures import picture; from training.scenes.clips import clip\n"
        "generator, digest = random.Random(7), hashlib.md5()\n"
        "for number in range(20):\n"
        "    shown = picture(generator, 'train', camera=number % 2 == 0)\n"
        "    digest.update(shown.pixels.tobytes() + shown.question.encode())\n"
        "    digest.update(clip(generator, 'train').frames.tobytes())\n"
        "print(digest.hexdigest())"
    )
    drawn = {
        subprocess.run(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(drawn) == 1, drawn


def test_more_can_be_asked_about_a_clip_and_only_what_has_one_answer() -> None:
    generator = random.Random(11)
    orders = 0
    for _ in range(300):
        story, _ = draw_story(generator, "train", clips.draw_kind(generator), 1.5)
        kind, question, reply = clips.another(generator, story)
        assert SPOKEN.fullmatch(question) and WRITTEN.fullmatch(reply), (question, reply)
        if kind == "order":
            orders += 1
            gap = story.at / clips.FPS - story.word_start_s
            assert abs(gap) >= 1.0 and ("change" in reply) == (gap < 0), (story, reply)
    assert orders > 0


@pytest.mark.parametrize("camera", [False, True])
def test_two_pictures_are_compared_as_they_are(camera: bool) -> None:
    generator = random.Random(12)
    kinds = set()
    for _ in range(60):
        shown = two_pictures(generator, "test", camera=camera)
        assert SPOKEN.fullmatch(shown.question) and WRITTEN.fullmatch(shown.reply), (shown.question, shown.reply)
        one, two = (picture.scene.shapes for picture in shown.pictures)
        assert len(one) == len(two) == 1
        kinds.add(shown.kind)
        names = [thing.name for thing in (*one, *two)]
        assert is_held_out(" then ".join(picture.scene.key for picture in shown.pictures))
        if shown.kind in ("two_same", "two_differ"):
            assert ("oth show" in shown.reply) == (names[0] == names[1]), shown.reply
            assert [name for name in names if name in shown.reply] == names
        if shown.kind == "two_one":
            assert names["second" in shown.question] in shown.reply
    assert {"two_same", "two_differ", "two_which", "two_one"} <= kinds
