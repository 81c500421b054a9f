"""Held-out questions by group, with their right answers; knows no checkpoint and no judge.

Every group is drawn from its own seed, so that one can be asked alone. Sounds are synthesized here and now, by voices
that training never hears.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from app.types.media import Audio, Image, Video
from app.types.turn import AudioPart, ImagePart, Part, TextPart, VideoPart
from training.domain.dialogue import dialogue
from training.domain.exchange import SKILLS, Exchange, exchange
from training.domain.typed import typed_form
from training.scenes import questions
from training.scenes.clips import clip
from training.scenes.pictures import picture
from training.scenes.things import BEEP, Clip, Picture
from training.scenes.two import two_pictures
from training.thinker.config import VIDEO_FPS
from training.thinker.mixture import can_be_recalled
from training.voices import rooms, synthesizers
from training.voices.stage import draw_voice, say_all

SEED = "evaluate"
SAMPLE_RATE = synthesizers.SAMPLE_RATE
KED = "festival/ked_diphone"
ORDER_KIND = "order"
MEMORY_SKILLS = ("recall", "heard", "asked", "again")


@dataclass(frozen=True, eq=False)
class Ask:
    """One message; `words` tells a person what it says."""

    parts: tuple[Part, ...]
    words: str


@dataclass(frozen=True, eq=False)
class Case:
    """A conversation whose last reply is judged. `asker`: the voice that asks, "" where all is typed."""

    skill: str
    asks: tuple[Ask, ...]
    reply: str
    asker: str = ""


def draw(group: str, num_cases: int) -> list[Case]:
    """Of one of GROUPS, always the same ones; fewer are not always the first of more."""
    return GROUPS[group](random.Random(f"{SEED}/{group}"), num_cases)


def typed(generator: random.Random, num_cases: int) -> list[Case]:
    cases = []
    for one in balanced(generator, num_cases, spoken=False):
        cases.append(Case(one.skill, (typed_ask(generator, one),), one.reply))
    return cases


def spoken(generator: random.Random, num_cases: int, is_clean: bool = True) -> list[Case]:
    """Unseen timbres of trained accents, clean or through rooms, noise and microphones."""
    return [
        Case(one.skill, (ask,), one.reply, asker)
        for one in balanced(generator, num_cases, spoken=True)
        for ask, asker in [spoken_ask(generator, one.user, is_clean)]
    ]


def spoken_in_rooms(generator: random.Random, num_cases: int) -> list[Case]:
    return spoken(generator, num_cases, is_clean=False)


def strangers(generator: random.Random, num_cases: int) -> list[Case]:
    """The same number by each voice that was left out with its synthesizer."""
    cases = []
    voices = synthesizers.STRANGERS
    for place, voice in enumerate(voices):
        share = (num_cases + place) // len(voices)
        exchanges = balanced(generator, share, spoken=True) if share else []
        waves = say_all([one.user for one in exchanges], voice) if exchanges else []
        for one, wave in zip(exchanges, waves):
            sound = rooms.recording(generator, wave)
            cases.append(Case(one.skill, (Ask((audio_part(sound),), one.user),), one.reply, voice))
    return cases


def images(generator: random.Random, num_cases: int, camera: bool = False) -> list[Case]:
    cases = []
    for _ in range(num_cases):
        shown = picture(generator, "test", camera=camera)
        words = typed_question(generator, shown.kind, shown.question, shown.reply)
        cases.append(Case(shown.kind, (Ask((image_part(shown), TextPart(words)), words),), shown.reply))
    return cases


def camera_images(generator: random.Random, num_cases: int) -> list[Case]:
    return images(generator, num_cases, camera=True)


def two_images(generator: random.Random, num_cases: int) -> list[Case]:
    """Two pictures in one message, every other pair as a webcam shows them."""
    cases = []
    for index in range(num_cases):
        shown = two_pictures(generator, "test", camera=index % 2 == 1)
        words = typed_question(generator, shown.kind, shown.question, shown.reply)
        parts = (*(image_part(one) for one in shown.pictures), TextPart(words))
        cases.append(Case(shown.kind, (Ask(parts, words),), shown.reply))
    return cases


def spoken_about_images(generator: random.Random, num_cases: int) -> list[Case]:
    cases = []
    for _ in range(num_cases):
        shown = picture(generator, "test")
        ask, asker = spoken_ask(generator, shown.question, is_clean=True)
        cases.append(Case(shown.kind, (Ask((image_part(shown), *ask.parts), ask.words),), shown.reply, asker))
    return cases


def videos(generator: random.Random, num_cases: int, kind: str | None = None) -> list[Case]:
    """Clips of every kind, their word spoken by an unseen voice where they have one."""
    cases = []
    for _ in range(num_cases):
        shown = clip(generator, "test", kind=kind)
        part, asker = video_part(generator, shown)
        words = typed_question(generator, shown.kind, shown.question, shown.reply)
        cases.append(Case(shown.kind, (Ask((part, TextPart(words)), words),), shown.reply, asker))
    return cases


def video_order(generator: random.Random, num_cases: int) -> list[Case]:
    return videos(generator, num_cases, ORDER_KIND)


def memories(generator: random.Random, num_cases: int) -> list[Case]:
    """What was typed, spoken or shown before; the answers in between are the model's own."""
    makers = (told, heard, shown_before)
    return [makers[index % len(makers)](generator) for index in range(num_cases)]


def told(generator: random.Random) -> Case:
    exchanges = remembering(generator, spoken=False)
    return Case(
        f"{exchanges[-1].skill} typed", tuple(typed_ask(generator, one) for one in exchanges), exchanges[-1].reply
    )


def heard(generator: random.Random) -> Case:
    """Each message by another unseen voice."""
    exchanges = remembering(generator, spoken=True)
    said = [spoken_ask(generator, one.user, is_clean=True) for one in exchanges]
    return Case(f"{exchanges[-1].skill} spoken", tuple(ask for ask, _ in said), exchanges[-1].reply, said[-1][1])


def shown_before(generator: random.Random) -> Case:
    """A picture with a question, up to two questions about other things, then what the picture was."""
    while True:
        shown = picture(generator, "test")
        if can_be_recalled(shown):
            break
    words = typed_question(generator, shown.kind, shown.question, shown.reply)
    asides = [exchange(generator, "test", spoken=False) for _ in range(generator.choice((0, 1, 2)))]
    recall = typed_question(generator, "recall", generator.choice(questions.SHOWN_BEFORE), "")
    asks = [
        Ask((image_part(shown), TextPart(words)), words),
        *(typed_ask(generator, one) for one in asides if one.skill != "nothing_to_see"),
        Ask((TextPart(recall),), recall),
    ]
    return Case("shown typed", tuple(asks), questions.shown_before(shown))


def remembering(generator: random.Random, spoken: bool) -> list[Exchange]:
    """A dialogue of at least two exchanges whose last cannot be answered without the others."""
    while True:
        exchanges = dialogue(generator, "test", spoken=spoken)
        if len(exchanges) > 1 and exchanges[-1].skill in MEMORY_SKILLS:
            return exchanges


# Group -> who draws it. The names are the keys of the JSON line.
GROUPS: dict[str, Callable[[random.Random, int], list[Case]]] = {
    "typed": typed,
    "spoken": spoken,
    "spoken_rooms": spoken_in_rooms,
    "spoken_other_synth": strangers,
    "image": images,
    "image_camera": camera_images,
    "image_spoken": spoken_about_images,
    "image_two": two_images,
    "video": videos,
    "av_order": video_order,
    "memory": memories,
}


def balanced(generator: random.Random, num_cases: int, *, spoken: bool) -> list[Exchange]:
    """Single questions, as many of every skill."""
    skills = list(SKILLS)
    return [
        exchange(generator, "test", spoken=spoken, skills=(skills[index % len(skills)],)) for index in range(num_cases)
    ]


def typed_ask(generator: random.Random, one: Exchange) -> Ask:
    words = one.typed or typed_form(generator, one)
    return Ask((TextPart(words),), words)


def typed_question(generator: random.Random, skill: str, question: str, reply: str) -> str:
    return typed_form(generator, Exchange(skill, question, reply))


def spoken_ask(generator: random.Random, words: str, is_clean: bool) -> tuple[Ask, str]:
    """The message and its voice's full name."""
    asker, wave = draw_voice(generator, words, "unseen")
    if is_clean:
        sound = rooms.recording(generator, wave)
    else:
        sound = rooms.augment(generator, wave, babble(generator), other_speaker=False)
    return Ask((audio_part(sound),), words), asker


def babble(generator: random.Random) -> Sequence[np.ndarray]:
    return [draw_voice(generator, "how many days has a week and what comes after", "unseen")[1] for _ in range(2)]


def audio_part(samples: np.ndarray) -> AudioPart:
    return AudioPart(Audio(np.asarray(samples, np.float32), SAMPLE_RATE))


def image_part(shown: Picture) -> ImagePart:
    return ImagePart(Image(shown.pixels))


def video_part(generator: random.Random, shown: Clip) -> tuple[VideoPart, str]:
    """The clip with its sound track, and who speaks in it. A track without a word is faint noise, or is missing."""
    sound, asker = None, ""
    if shown.word is not None or generator.random() < 0.5:
        noise = np.random.default_rng(generator.getrandbits(63))
        num_samples = int(len(shown.frames) / VIDEO_FPS * SAMPLE_RATE)
        sound = noise.normal(0.0, 10 ** generator.uniform(-4.0, -2.7), num_samples).astype(np.float32)
    if shown.word is not None:
        if shown.word == BEEP:
            wave = tone(generator)
        else:
            asker, wave = draw_voice(generator, shown.word, "unseen")
        start = int(shown.word_start_s * SAMPLE_RATE)
        wave = wave[: len(sound) - start]
        sound[start : start + len(wave)] += generator.uniform(0.15, 0.7) * wave / (np.abs(wave).max() + 1e-6)
    audio = None if sound is None else Audio(sound, SAMPLE_RATE)
    return VideoPart(Video(shown.frames, VIDEO_FPS, audio)), asker


def tone(generator: random.Random) -> np.ndarray:
    """A beep, faded in and out."""
    length = int(generator.uniform(0.2, 0.45) * SAMPLE_RATE)
    time_s = np.arange(length) / SAMPLE_RATE
    wave = np.sin(2 * np.pi * generator.uniform(400.0, 1500.0) * time_s)
    fade = np.minimum(1.0, np.minimum(np.arange(length), np.arange(length)[::-1]) / (0.01 * SAMPLE_RATE))
    return (wave * fade).astype(np.float32)
