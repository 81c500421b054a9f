"""Conversations of every kind for the stage `joint`, and held-out questions; knows no model.

Turns are made first, of what was said, typed and shown; a conversation is made of turns.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from app.chatml.log_mel import log_mel
from training.domain.dialogue import Pool, dialogue
from training.domain.exchange import SKILLS, Exchange, exchange
from training.domain.split import Split
from training.scenes import clips, pictures, questions
from training.scenes.grids import CLIP_GRIDS, PICTURE_GRIDS, Grid, draw_grid
from training.scenes.things import BEEP, Clip, Picture
from training.scenes.two import TwoPictures, two_pictures
from training.thinker.conversation import begin, begin_default, typed
from training.thinker.decode import Question
from training.thinker.seeing import CAMERA_SHARE, clip_pixels, picture_pixels
from training.thinker.sequence import Conversation, Film, Part, Sound, Still, TextEncoder, Voice
from training.voices.bank import FRAMES_PER_S, MEL_RULES, Bank
from training.voices.mel_augment import augment_mel

# Skills whose reply stands only where nothing is shown.
_BLIND_SKILLS = ("nothing_to_see",)
# Messages of the bank that need no other turn to be answered.
_ALONE = (*SKILLS, "tell", "recall", "heard", "asked", "again")
MAX_SPOKEN = 4
# Another question about the same picture or clip, up to so many turns.
MORE_SHARE = 0.75
MAX_ABOUT = 6
# Of the conversations about pictures, those about two at once.
TWO_SHARE = 0.25
# Factors on the shares of kinds that need more practice: to find, count and compare what is named.
PRACTICE = {"exists": 3.5, "count_kind": 3.5, "where": 1.5, "number": 1.5, "colour": 1.5, "blink": 2.5, "jump": 2.0}
# Single words that must be heard without help by their neighbours, and the share of asides in a dialogue that they are.
_SINGLE_WORDS = ("letters", "repeat", "edge_word", "spell")
SINGLE_WORDS_SHARE = 0.35


@dataclass(frozen=True, eq=False)
class Turn:
    group: str
    parts: tuple[Part, ...]
    reply: str


class Mixture:
    """Draws turns out of a bank of recorded users, the domain and the scenes of one split.

    `is_disturbed`: sounds change a little each time that they are drawn.
    """

    def __init__(
        self, encode: TextEncoder, bank: Bank, split: Split, generator: random.Random, is_disturbed: bool
    ) -> None:
        self._encode = encode
        self._bank = bank
        self._split: Split = split
        self._generator = generator
        self._is_disturbed = is_disturbed
        self._pool = Pool(bank.exchanges)
        self._sighted = [item for item in self._pool.plain if item.skill not in _BLIND_SKILLS]
        self._single_words = [item for item in self._pool.plain if item.skill in _SINGLE_WORDS] or self._pool.plain
        self._sighted_skills = [skill for skill in SKILLS if skill not in _BLIND_SKILLS]

    def conversation(self, turns: Sequence[Turn]) -> Conversation:
        made = begin(self._encode, self._generator)
        for turn in turns:
            made.user(turn.parts)
            made.reply(turn.reply)
        return made

    def question(self, turns: Sequence[Turn], group: str | None = None) -> Question:
        """All turns but the last reply, which is asked for."""
        prompt = begin_default(self._encode)
        for turn in turns[:-1]:
            prompt.user(turn.parts)
            prompt.reply(turn.reply)
        prompt.user(turns[-1].parts)
        return Question(group or turns[-1].group, prompt, turns[-1].reply)

    def speech(self) -> list[Turn]:
        """A dialogue in recorded speech, now and then with something typed in between."""
        generator = self._generator
        voice_share = 1.0 if generator.random() < 0.75 else 0.6
        exchanges = dialogue(generator, self._split, spoken=True, pool=self._pool)
        for _ in range(generator.randint(0, max(0, MAX_SPOKEN - len(exchanges)))):
            is_single = generator.random() < SINGLE_WORDS_SHARE
            exchanges.append(generator.choice(self._single_words if is_single else self._pool.plain))
        return [self.turn(item, voice_share) for item in exchanges]

    def picture(self, grid: Grid, camera: bool | None = None, voice_share: float = 0.4) -> list[Turn]:
        """A picture with a question; often more about it, at once or later."""
        generator = self._generator
        camera = generator.random() < CAMERA_SHARE if camera is None else camera
        if generator.random() < TWO_SHARE:
            return [self.shown_two(two_pictures(generator, self._split, grid, camera), voice_share)]
        kind = questions.draw_kind(generator, PRACTICE)
        shown = pictures.picture(generator, self._split, kind=kind, grid=grid, camera=camera)
        turns = [self.aside(voice_share)] if generator.random() < 0.15 else []
        turns.append(self.shown_picture(shown, voice_share))
        while generator.random() < MORE_SHARE and len(turns) < MAX_ABOUT:
            kind, question, reply = questions.another(generator, shown.scene, PRACTICE)
            turns.append(Turn(f"again:{kind}", (self.say(question, voice_share),), reply))
        if can_be_recalled(shown) and generator.random() < 0.3:
            turns += self.recalled(questions.shown_before(shown), voice_share)
        elif generator.random() < 0.2:
            turns.append(self.aside(voice_share))
        return turns

    def shown_picture(self, shown: Picture, voice_share: float) -> Turn:
        parts = (Still(picture_pixels(shown.pixels, shown.things)), self.say(shown.question, voice_share))
        return Turn(f"picture:{shown.kind}", parts, shown.reply)

    def shown_two(self, shown: TwoPictures, voice_share: float) -> Turn:
        stills = [Still(picture_pixels(one.pixels, one.things)) for one in shown.pictures]
        return Turn(f"picture:{shown.kind}", (*stills, self.say(shown.question, voice_share)), shown.reply)

    def clip(self, grid: Grid, voice_share: float = 0.35) -> list[Turn]:
        generator = self._generator
        shown = self.draw_clip(grid)
        turns = [self.aside(voice_share)] if generator.random() < 0.15 else []
        turns.append(self.shown_clip(shown, voice_share))
        for kind, question, reply in shown.others:
            if generator.random() < MORE_SHARE:
                turns.append(Turn(f"again:{kind}", (self.say(question, voice_share),), reply))
        if generator.random() < 0.25:
            turns += self.recalled(clips.shown_before(shown), voice_share)
        elif generator.random() < 0.2:
            turns.append(self.aside(voice_share))
        return turns

    def draw_clip(self, grid: Grid, kind: str | None = None) -> Clip:
        """One whose sound can be made of the bank."""
        while True:
            drawn = clips.clip(self._generator, self._split, kind=kind, grid=grid, practice=PRACTICE)
            if drawn.word in (None, BEEP) or drawn.word in self._bank.by_text:
                return drawn

    def shown_clip(self, shown: Clip, voice_share: float) -> Turn:
        film = Film(clip_pixels(shown), self.track(shown))
        return Turn(f"clip:{shown.kind}", (film, self.say(shown.question, voice_share)), shown.reply)

    def recalled(self, reply: str, voice_share: float) -> list[Turn]:
        """Something else, perhaps, then the question for what was shown."""
        asides = [self.aside(voice_share) for _ in range(self._generator.choice((0, 1, 1, 2)))]
        wording = self._generator.choice(questions.SHOWN_BEFORE)
        return [*asides, Turn("shown", (self.say(wording, voice_share),), reply)]

    def aside(self, voice_share: float) -> Turn:
        """A question that has nothing to do with what is shown."""
        if self._generator.random() < voice_share:
            return self.turn(self._generator.choice(self._sighted), 1.0)
        item = exchange(self._generator, self._split, spoken=False, skills=None)
        while item.skill in _BLIND_SKILLS:
            item = exchange(self._generator, self._split, spoken=False, skills=None)
        return self.turn(item, 0.0)

    def turn(self, item: Exchange, voice_share: float) -> Turn:
        voice = self.voice(item.user) if self._generator.random() < voice_share else None
        group = f"{'typed' if voice is None else 'spoken'}:{item.skill}"
        return Turn(group, (voice or typed(self._generator, item),), item.reply)

    def say(self, text: str, voice_share: float) -> Part:
        """A question about what is shown: spoken, where somebody has recorded it, or typed."""
        voice = self.voice(text) if self._generator.random() < voice_share else None
        return voice or typed(self._generator, Exchange("picture", text, ""))

    def voice(self, text: str) -> Voice | None:
        clips_of_text = self._bank.by_text.get(text)
        return None if clips_of_text is None else Voice(self.sound(self._generator.choice(clips_of_text)))

    def sound(self, index: int) -> Sound:
        mel = self._bank.mel(index)
        target = tuple(self._encode(" " + self._bank.exchanges[index].user))
        return Sound(augment_mel(self._generator, mel) if self._is_disturbed else mel, target)

    def track(self, shown: Clip) -> Sound | None:
        """The clip's sound: a word or a tone in a quiet room; where there is neither, a quiet room or no sound."""
        generator = self._generator
        num_frames = len(shown.frames) * FRAMES_PER_S // clips.FPS
        start = int(shown.word_start_s * FRAMES_PER_S)
        if shown.word is None:
            return Sound(quiet(generator, num_frames), ()) if generator.random() < 0.6 else None
        if shown.word == BEEP:
            return Sound(tone(generator, num_frames, shown.word_start_s), ())
        word = self.sound(generator.choice(self._bank.by_text[shown.word]))
        mel = loud_part(word.mel)[: num_frames - start]
        floor = word.mel.sort(0).values[: max(1, len(word.mel) // 8)].mean(0)
        track = floor + 0.03 * torch.randn(num_frames, mel.shape[1])
        track[start : start + len(mel)] = mel
        return Sound(track, word.target)

    def spoken_questions(self, name: str, per_skill: int) -> list[Question]:
        """Clips of the bank, `per_skill` of each, as the first message of a conversation."""
        order = list(range(len(self._bank)))
        self._generator.shuffle(order)
        count: Counter[str] = Counter()
        found = []
        for index in order:
            item = self._bank.exchanges[index]
            if item.skill in _ALONE and count[item.skill] < per_skill:
                count[item.skill] += 1
                turn = Turn(f"{name}:{item.skill}", (Voice(self.sound(index)),), item.reply)
                found.append(self.question([turn]))
        return found

    def remembered_questions(self, name: str, number: int) -> list[Question]:
        """Spoken dialogues whose last question leans on what was said before."""
        found = []
        while len(found) < number:
            exchanges = dialogue(self._generator, self._split, spoken=True, pool=self._pool)
            if len(exchanges) > 1 and exchanges[-1].skill not in SKILLS:
                turns = [self.turn(item, 1.0) for item in exchanges]
                found.append(self.question(turns, f"{name}:{exchanges[-1].skill}"))
        return found

    def scene_questions(self, per_kind: int) -> list[Question]:
        """Pictures, camera pictures, spoken questions about pictures, clips, and what was shown before."""
        generator, found = self._generator, []
        for kind in questions.KINDS:
            for name, camera, voice_share in (
                ("picture", False, 0.0),
                ("camera", True, 0.0),
                ("spoken about picture", False, 1.0),
            ):
                for _ in range(per_kind if voice_share == 0 else max(1, per_kind // 2)):
                    grid = draw_grid(generator, PICTURE_GRIDS)
                    shown = pictures.picture(generator, self._split, kind=kind, grid=grid, camera=camera)
                    found.append(self.question([self.shown_picture(shown, voice_share)], f"{name}:{kind}"))
        for _ in range(3 * per_kind):
            two = two_pictures(generator, self._split, draw_grid(generator, PICTURE_GRIDS))
            found.append(self.question([self.shown_two(two, 0.3)]))
        for kind in clips.KINDS:
            for _ in range(per_kind):
                shown = self.draw_clip(draw_grid(generator, CLIP_GRIDS), kind)
                found.append(self.question([self.shown_clip(shown, 0.3)], f"clip:{kind}"))
        for _ in range(3 * per_kind):
            shown = pictures.picture(generator, self._split, kind="describe")
            turns = [self.shown_picture(shown, 0.3), *self.recalled(questions.shown_before(shown), 0.3)]
            found.append(self.question(turns, "shown:picture"))
            shown = self.draw_clip(draw_grid(generator, CLIP_GRIDS))
            turns = [self.shown_clip(shown, 0.3), *self.recalled(clips.shown_before(shown), 0.3)]
            found.append(self.question(turns, "shown:clip"))
        return found


def can_be_recalled(shown: Picture) -> bool:
    """Whether what was shown has one description."""
    if shown.text is not None:
        return True
    if len(shown.things) > 2 and len({thing.pair for thing in shown.things}) > 1:
        return False
    return questions.described(shown.things) is not None


def loud_part(mel: torch.Tensor) -> torch.Tensor:
    """The clip from where it gets loud to where it stops being so, with 50 ms around."""
    level = mel.mean(1)
    is_loud = (level > level.min() + 0.3 * (level.max() - level.min())).nonzero()[:, 0]
    return mel[max(0, int(is_loud[0]) - 5) : int(is_loud[-1]) + 6]


def quiet(generator: random.Random, num_frames: int) -> torch.Tensor:
    """Log-mel `[frame, mel]` of a room in which nobody speaks; seldom of nothing at all."""
    level = 0.0 if generator.random() < 0.15 else 10 ** generator.uniform(-4.5, -2.3)
    return _mel_of(_noise(generator, num_frames, level))


def tone(generator: random.Random, num_frames: int, start_s: float) -> torch.Tensor:
    """Log-mel `[frame, mel]` of a beep of 0.2 to 0.5 s in a quiet room."""
    rate = MEL_RULES.sample_rate
    samples = _noise(generator, num_frames, 10 ** generator.uniform(-4.5, -2.5))
    length = int(generator.uniform(0.2, 0.5) * rate)
    time_s = np.arange(length) / rate
    beep = np.sin(2 * np.pi * generator.uniform(440, 1500) * time_s)
    beep *= np.minimum(1, np.minimum(time_s, time_s[::-1]) / 0.01) * 10 ** generator.uniform(-1.4, -0.3)
    first = int(start_s * rate)
    place = samples[first : first + length]
    place += beep[: len(place)].astype(np.float32)
    return _mel_of(samples)


def _noise(generator: random.Random, num_frames: int, level: float) -> np.ndarray:
    source = np.random.default_rng(generator.getrandbits(32))
    return (source.standard_normal(num_frames * MEL_RULES.hop) * level).astype(np.float32)


def _mel_of(samples: np.ndarray) -> torch.Tensor:
    return log_mel(samples, MEL_RULES).T.contiguous()
