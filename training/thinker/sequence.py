"""One conversation as token ids, positions, labels and media, as `app.chatml` lays it out; knows no model.

`PromptBuilder` does the same for one turn of the running program, on tensors. Here whole conversations are made by the
hundred per second, so positions are plain lists; a test holds the two together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from training.thinker.config import (
    MERGE_SIZE,
    PATCH_SIZE,
    POSITION_IDS_PER_S,
    S_PER_CHUNK,
    TEMPORAL_PATCH_SIZE,
    VIDEO_FPS,
    token_ids,
)
from training.thinker.model import num_sound_tokens

TOKENS_PER_CHUNK = POSITION_IDS_PER_S * S_PER_CHUNK
POSITIONS_PER_GROUP = int(POSITION_IDS_PER_S * TEMPORAL_PATCH_SIZE / VIDEO_FPS)


class TextEncoder:
    """Plain text to ids, remembering what it has seen: the domain's sentences come again and again."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, size: int = 200_000) -> None:
        self.tokenizer = tokenizer
        self.ids = token_ids(tokenizer)
        self._fast = tokenizer.backend_tokenizer
        self._seen: dict[str, list[int]] = {}
        self._size = size

    def __call__(self, text: str) -> list[int]:
        """Raises nothing for control tokens: the texts of training hold none."""
        found = self._seen.get(text)
        if found is None:
            found = self._fast.encode(text, add_special_tokens=False).ids
            if len(self._seen) < self._size:
                self._seen[text] = found
        return found


@dataclass(frozen=True, eq=False)
class Sound:
    """`mel` float32 `[frame, mel]`; `target`: ids that the audio tower should spell, None where it has no words."""

    mel: torch.Tensor
    target: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Pixels:
    """Patches uint8 `[group, patch, value]` of a picture (one group) or a clip, `grid` in tokens (rows, columns).

    `labels` int64 `[group, token, kind of label]`: what the vision tower should see at each token, None where unknown.
    """

    patches: np.ndarray
    grid: tuple[int, int]
    labels: np.ndarray | None = None


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True, eq=False)
class Voice:
    sound: Sound


@dataclass(frozen=True)
class PseudoVoice:
    """Words spread among sound tokens, as the audio tower will one day deliver them."""

    ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Still:
    pixels: Pixels


@dataclass(frozen=True, eq=False)
class Film:
    pixels: Pixels
    sound: Sound | None


Part = Text | Voice | PseudoVoice | Still | Film


class Conversation:
    """Token by token what the Thinker reads. Build it with `system`, then `user` and `reply` in turn.

    `sound_places`: index of every token that takes a vector of `sounds`, in their order. `pixel_places`: likewise for
    `pixels`. `is_learnt`: tokens that the loss counts.
    """

    def __init__(self, encode: TextEncoder) -> None:
        self._encode = encode
        self._next = 0
        self._top = 0
        self.ids: list[int] = []
        self.positions: tuple[list[int], list[int], list[int]] = ([], [], [])
        self.is_learnt: list[bool] = []
        self.sounds: list[Sound] = []
        self.sound_places: list[int] = []
        self.pixels: list[Pixels] = []
        self.pixel_places: list[int] = []

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def next_position(self) -> int:
        return self._next

    def system(self, prompt: str) -> None:
        ids = self._encode.ids
        self._line([ids.im_start, *self._encode(f"system\n{prompt}"), ids.im_end, *self._encode("\n")])

    def user(self, parts: Sequence[Part]) -> None:
        """The user's message and the opening of the answer."""
        ids = self._encode.ids
        self._line([ids.im_start])
        text = "user\n"
        for part in parts:
            if isinstance(part, Text):
                text += part.text
                continue
            self._line(self._encode(text))
            text = ""
            match part:
                case Voice(sound):
                    self._voice(sound)
                case PseudoVoice(tokens):
                    self._line([ids.audio_start, *tokens, ids.audio_end])
                case Still(pixels):
                    self._still(pixels)
                case Film(pixels, sound):
                    self._film(pixels, sound)
        if text:
            self._line(self._encode(text))
        self._line([ids.im_end, *self._encode("\n"), ids.im_start, *self._encode("assistant\n")])
        self._next = self._top

    def reply(self, text: str, is_learnt: bool = True) -> None:
        self._line([*self._encode(text), self._encode.ids.im_end], is_learnt)
        self._line(self._encode("\n"))

    def _line(self, ids: Sequence[int], is_learnt: bool = False) -> None:
        """Text or sound: all three axes count on together."""
        self._place(ids, *[range(self._next, self._next + len(ids))] * 3, is_learnt=is_learnt)

    def _place(
        self,
        ids: Sequence[int],
        times: Sequence[int],
        rows: Sequence[int],
        columns: Sequence[int],
        is_learnt: bool = False,
    ) -> None:
        if not ids:
            return
        self.ids += ids
        for axis, values in zip(self.positions, (times, rows, columns)):
            axis += values
        self.is_learnt += [is_learnt] * len(ids)
        self._next = 1 + max(max(times), max(rows), max(columns))
        self._top = max(self._top, self._next)

    def _voice(self, sound: Sound) -> None:
        ids = self._encode.ids
        self._line([ids.audio_start])
        self.sounds.append(sound)
        self._sound_tokens(num_sound_tokens(len(sound.mel)))
        self._line([ids.audio_end])

    def _sound_tokens(self, number: int, start: int | None = None) -> None:
        start = self._next if start is None else start
        self.sound_places += range(len(self.ids), len(self.ids) + number)
        self._place([self._encode.ids.audio] * number, *[range(start, start + number)] * 3)

    def _still(self, pixels: Pixels) -> None:
        ids = self._encode.ids
        self._line([ids.vision_start])
        self.pixels.append(pixels)
        self._group(ids.image, pixels.grid, self._next, self._next)
        self._line([ids.vision_end])

    def _group(self, id_: int, grid: tuple[int, int], start: int, time: int) -> None:
        rows, columns = grid
        number = rows * columns
        self.pixel_places += range(len(self.ids), len(self.ids) + number)
        row_places = [start + index // columns for index in range(number)]
        column_places = [start + index % columns for index in range(number)]
        self._place([id_] * number, [time] * number, row_places, column_places)

    def _film(self, pixels: Pixels, sound: Sound | None) -> None:
        """Pictures and sound take turns, chunk by chunk of 2 s; both count their time from the film's start."""
        ids = self._encode.ids
        num_groups, num_sound = len(pixels.patches), 0
        self.pixels.append(pixels)
        if sound is not None:
            self.sounds.append(sound)
            num_sound = num_sound_tokens(len(sound.mel))
            self._together([ids.vision_start, ids.audio_start])
        else:
            self._line([ids.vision_start])
        start = self._next
        groups_per_chunk = TOKENS_PER_CHUNK // POSITIONS_PER_GROUP
        num_chunks = max(-(-num_groups // groups_per_chunk), -(-num_sound // TOKENS_PER_CHUNK))
        for chunk in range(num_chunks):
            for group in range(chunk * groups_per_chunk, min((chunk + 1) * groups_per_chunk, num_groups)):
                self._group(ids.video, pixels.grid, start, start + group * POSITIONS_PER_GROUP)
            first = chunk * TOKENS_PER_CHUNK
            if first < num_sound:
                self._sound_tokens(min(TOKENS_PER_CHUNK, num_sound - first), start + first)
        if sound is not None:
            self._together([ids.audio_end, ids.vision_end])
        else:
            self._line([ids.vision_end])

    def _together(self, ids: list[int]) -> None:
        """Control tokens that share one position."""
        self._place(ids, *[[self._next] * len(ids)] * 3)


def patches_of(frames: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Frames uint8 `[frame, height, width, 3]` to patches uint8 `[group, patch, value]`, in the order of the published
    processor, and the grid in tokens. A single frame is seen twice."""
    if len(frames) == 1:
        frames = np.repeat(frames, TEMPORAL_PATCH_SIZE, 0)
    num_frames, height, width, _ = frames.shape
    rows, columns = height // (PATCH_SIZE * MERGE_SIZE), width // (PATCH_SIZE * MERGE_SIZE)
    groups = num_frames // TEMPORAL_PATCH_SIZE
    cut = frames.reshape(groups, TEMPORAL_PATCH_SIZE, rows, MERGE_SIZE, PATCH_SIZE, columns, MERGE_SIZE, PATCH_SIZE, 3)
    cut = cut.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return cut.reshape(groups, rows * columns * MERGE_SIZE**2, -1), (rows, columns)
