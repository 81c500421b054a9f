"""All that the model families differ in when a prompt is written, a class for each; knows no token and no weights."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch

from app.chatml.cursor import Cursor
from app.engine.spec import QWEN2_5, QWEN3, ModelSpec


class Family(Protocol):
    """`mirrors_end`: the last windows of a clip's log-mel see its end mirrored, not zeros behind it."""

    mirrors_end: bool

    def pair(self, cursor: Cursor) -> torch.Tensor:
        """Positions `[3, 2]` of the two control tokens before a video with sound, or behind it."""

    def times(self, first: int, last: int, s_per_group: float) -> torch.Tensor:
        """When groups of frames are, `[last - first]`, in positions since the video's beginning; each stands at the
        nearest one."""

    def steps(self, times: list[float], per_group: int, sound_ends: list[int]) -> list[tuple[int, int]]:
        """The order of a video's tokens: step by step pictures up to the first count, then sound up to the second.

        `times`: of the groups, each of `per_group` tokens, in positions since the first token of the sound;
        `sound_ends`: tokens of sound up to the end of each tower block, after each of which a step ends.
        """


def family_of(spec: ModelSpec) -> Family:
    if spec.family == QWEN3:
        return Qwen3(spec.position_ids_per_s)
    assert spec.family == QWEN2_5, spec.family
    return Qwen2_5(spec.position_ids_per_s, int(spec.position_ids_per_s * spec.s_per_chunk))


@dataclass(frozen=True)
class Qwen2_5:
    """Pictures and sound take turns, chunk by chunk: `Qwen2_5OmniProcessor` and its model's `get_rope_index`.

    `per_chunk`: positions of one chunk, which has as many tokens of sound as a tower block.
    """

    position_ids_per_s: float
    per_chunk: int
    mirrors_end = False

    def pair(self, cursor: Cursor) -> torch.Tensor:
        return cursor.together(2)

    def times(self, first: int, last: int, s_per_group: float) -> torch.Tensor:
        # float32 as in the library: a product of .999... must fall to the same position.
        seconds = torch.tensor(s_per_group, dtype=torch.float32)
        return (torch.arange(first, last) * seconds * self.position_ids_per_s).long()

    def steps(self, times: list[float], per_group: int, sound_ends: list[int]) -> list[tuple[int, int]]:
        pictures = _chunk_ends([time for time in times for _ in range(per_group)], self.per_chunk)
        sounds = _chunk_ends(list(range(sound_ends[-1] if sound_ends else 0)), self.per_chunk)
        num_chunks = max(len(pictures), len(sounds))
        return [
            (pictures[min(chunk, len(pictures) - 1)], sounds[min(chunk, len(sounds) - 1)])
            for chunk in range(num_chunks)
        ]


@dataclass(frozen=True)
class Qwen3:
    """Pictures and sound are merged by their times: `Qwen3OmniMoeProcessor` and its model's `get_rope_index`."""

    position_ids_per_s: float
    mirrors_end = True

    def pair(self, cursor: Cursor) -> torch.Tensor:
        return cursor.line(2)

    def times(self, first: int, last: int, s_per_group: float) -> torch.Tensor:
        """With fractions (6.5 positions a group at 4 frames per second), which the library keeps in the positions, too;
        ours are whole. In float64 and this order, as the processor multiplies."""
        groups = torch.arange(first, last, dtype=torch.float64)
        return groups * s_per_group * self.position_ids_per_s

    def steps(self, times: list[float], per_group: int, sound_ends: list[int]) -> list[tuple[int, int]]:
        num_sounds = sound_ends[-1] if sound_ends else 0
        steps, sound_at = [], 0
        for group, time in enumerate([*times, num_sounds]):
            # A picture goes before sound n where its time is n at most.
            until = min(math.ceil(time), num_sounds)
            ends = [end for end in sound_ends if sound_at < end < until]
            steps += [(group * per_group, end) for end in (*ends, until)]
            sound_at = until
        return steps


def _chunk_ends(times: list[float], per_chunk: int) -> list[int]:
    """Where each TMRoPE chunk ends in a rising list of token times, as the library's `get_chunked_index` cuts.

    That function advances one chunk per cut and looks at a token once, so a gap of more than one chunk cuts late;
    the quirk is kept because the model was trained with it.
    """
    ends, chunk = [], 1
    for index, time in enumerate(times):
        if time >= chunk * per_chunk:
            ends.append(index)
            chunk += 1
    return [*ends, len(times)]
