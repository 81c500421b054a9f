"""The prompt of a turn whose sound and pictures are still coming in, piece by piece; knows no socket and no model.

What the pieces give in the end, ids, positions and pictures, is what the same clip gives as an uploaded file. The
features of the sound are too, unless it gets louder: the range of the log-mel is cut below the loudest value of the
whole clip, which nobody knows yet. Policy: where the loudest value has risen by `RISE_DECADES` since a piece was given
out, that piece and all behind it are given out again; smaller differences are let be. The rest after the last whole
block always has the range of the whole clip. What this costs in answers: docs/architecture.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from app.chatml.builder import PastTurn, PromptBuilder
from app.chatml.cursor import Cursor
from app.chatml.family import family_of
from app.chatml.features import mel_block, num_audio_tokens
from app.chatml.log_mel import LogMelStream
from app.chatml.video import pieces_between
from app.engine.spec import ModelSpec
from app.types.prompt import Append, Feature, MelBlock, Prompt, Segment

# One decade of power is 10 dB. Below that at most a few cells in a hundred change.
RISE_DECADES = 1.0
# The frame rates whose groups of two never leave a chunk of 2 s empty, so that every tower block has pictures.
LIVE_FPS = (1.0, 2.0, 4.0)


@dataclass(frozen=True)
class _Given:
    """A segment that was given out; of which block of the sound, and cut below which loudest value."""

    segment: Segment
    block: int
    loudest: float


class LivePrompt:
    """Owns one user message while it grows. `fps`: frames per second of the pictures, one of LIVE_FPS; None without.

    `cursor` stands behind what the cache holds, `num_cached` tokens. `rise_decades`: see above. Not thread-safe.
    """

    def __init__(
        self,
        spec: ModelSpec,
        tokenizer: PreTrainedTokenizerBase,
        cursor: Cursor,
        fps: float | None = None,
        rise_decades: float = RISE_DECADES,
        num_cached: int = 0,
    ) -> None:
        assert fps is None or fps in LIVE_FPS, fps
        self._spec = spec
        self._family = family_of(spec)
        self._block_tokens = num_audio_tokens(spec.mel.block_frames, spec.mel)
        self._builder = PromptBuilder(spec, tokenizer, cursor, num_cached=num_cached)
        self._cursor = cursor
        self._fps = fps
        self._rise_decades = rise_decades
        self._mel = LogMelStream(spec.mel, self._family.mirrors_end)
        self._given: list[_Given] = []
        self._num_blocks = 0
        self._num_samples = 0
        self._frames: list[tuple[float, np.ndarray]] = []
        self._num_groups = 0
        self._start = 0

    @property
    def duration_s(self) -> float:
        return self._num_samples / self._spec.mel.sample_rate

    @property
    def num_given(self) -> int:
        """Tokens given out so far."""
        return sum(given.segment.num_tokens for given in self._given)

    @property
    def num_per_block(self) -> int:
        """Tokens of a block of sound with the pictures of its seconds, at the most."""
        if not self._frames:
            return self._block_tokens
        vision, (height, width) = self._spec.media.vision, self._frames[-1][1].shape[:2]
        num_groups = math.ceil(self._spec.mel.block_s * self._fps / vision.temporal_patch_size) + 1
        return self._block_tokens + num_groups * (height // vision.factor) * (width // vision.factor)

    def begin(
        self, system_prompt: str | None, pending_ids: Sequence[int] = (), past: Sequence[PastTurn] = ()
    ) -> Append:
        """Opens the message: behind `system_prompt`, or where that is None behind the reply that ends in `pending_ids`,
        and behind `past`. What older turns need is to be appended now."""
        builder = self._builder
        if system_prompt is None:
            builder.close_reply(tuple(pending_ids))
        else:
            builder.system(system_prompt)
        for turn in past:
            builder.past(turn)
        opening = builder.take() if past else ()
        builder.open_user()
        if self._fps is None:
            builder.open_audio()
        else:
            builder.open_video(has_sound=True)
        self._start = self._cursor.next
        return Append(opening, boundaries=tuple(builder.boundaries))

    def see(self, pixels: np.ndarray, at_s: float) -> None:
        """A picture uint8 `[height, width, 3]`, resized for the checkpoint, all of one size; shown from `at_s` on, in
        seconds since the sound began."""
        assert self._fps is not None
        self._frames.append((at_s, pixels))

    def hear(self, samples: np.ndarray) -> Append:
        """More sound, float32 `[num_samples]` at the model's rate. What it completes is to be appended now."""
        self._num_samples += len(samples)
        segments: list[Segment] = []
        num_before = len(self._given)
        for mel in self._mel.push(samples):
            segments += self._block(mel_block(mel, self._spec.mel))
        return self._with_restated(segments, num_before)

    def shown(self) -> np.ndarray:
        """The pictures that the message consists of so far, uint8 `[num_frames, height, width, 3]`."""
        return self._frames_of(0, self._num_groups)

    def given(self) -> Append:
        """All that was given out, once more from the beginning of the message."""
        return Append(tuple(given.segment for given in self._given))

    def finish(self, text: str = "") -> tuple[Append, Prompt]:
        """Ends the message, `text` behind what was heard, and opens the reply: what has to be appended still."""
        builder = self._builder
        num_before = len(self._given)
        rest = [mel_block(mel, self._spec.mel) for mel in self._mel.finish()]
        restated = self._with_restated([], num_before)
        if self._fps is None:
            for block in rest:
                if block.num_tokens:
                    builder.audio_block(block)
            builder.close_audio()
        else:
            for block in rest:
                self._among_pictures(block if block.num_tokens else None, is_last=block is rest[-1])
                self._num_blocks += 1
            if not rest:
                self._among_pictures(None, is_last=True)
            builder.close_video(has_sound=True)
        builder.text(text)
        builder.close_user()
        builder.assistant()
        return restated, builder.build()

    def _block(self, block: MelBlock) -> tuple[Segment, ...]:
        if self._fps is None:
            self._builder.audio_block(block)
        else:
            self._among_pictures(block, is_last=False)
        segments = self._builder.take()
        for segment in segments:
            self._given.append(_Given(segment, self._num_blocks, self._mel.loudest))
        self._num_blocks += 1
        return segments

    def _with_restated(self, segments: list[Segment], num_before: int) -> Append:
        """The new segments, and before them those that were given out with a range that is too low by now."""
        stale = next(
            (
                index
                for index, given in enumerate(self._given[:num_before])
                if self._mel.loudest - given.loudest >= self._rise_decades
            ),
            num_before,
        )
        again = [self._restated(given) for given in self._given[stale:num_before]]
        self._given[stale:num_before] = again
        return Append((*(given.segment for given in again), *segments), num_before - stale)

    def _restated(self, given: _Given) -> _Given:
        features: list[Feature] = [
            mel_block(self._mel.restated(given.block), self._spec.mel) if isinstance(feature, MelBlock) else feature
            for feature in given.segment.features
        ]
        return _Given(replace(given.segment, features=tuple(features)), given.block, self._mel.loudest)

    # -- pictures ------------------------------------------------------------------------------------------------------

    def _among_pictures(self, block: MelBlock | None, is_last: bool) -> None:
        """A block of sound and the pictures of its seconds; those that are left where it `is_last`."""
        first = self._num_blocks * self._block_tokens
        until = self._num_groups_of(self.duration_s) if is_last else self._groups_before(first + self._block_tokens)
        if until == self._num_groups:
            assert block is None, (self._num_blocks, until)
            return
        frames = self._frames_of(self._num_groups, until)
        sounds = [] if block is None else [block]
        for piece in pieces_between(
            frames, self._times(self._num_groups, until), sounds, first, self._spec, self._start
        ):
            self._builder.video_piece(piece)
        self._num_groups = until

    def _times(self, first: int, last: int) -> torch.Tensor:
        return self._family.times(first, last, self._spec.media.vision.temporal_patch_size / self._fps)

    def _groups_before(self, position: int) -> int:
        group = self._num_groups
        while math.ceil(self._times(group, group + 1)) < position:
            group += 1
        return group

    def _num_groups_of(self, duration_s: float) -> int:
        """Groups that a clip of this length has: a frame for every begun interval, whole groups, one at the least."""
        num_frames = max(1, int(np.ceil(duration_s * self._fps - 1e-9)))
        return max(self._num_groups, -(-num_frames // self._spec.media.vision.temporal_patch_size))

    def _frames_of(self, first: int, last: int) -> np.ndarray:
        """For every moment of these groups the newest picture; the first one before there was any."""
        assert self._frames, "pictures are expected and none came"
        size = self._spec.media.vision.temporal_patch_size
        moments = [index / self._fps for index in range(first * size, last * size)]
        times = [time for time, _ in self._frames]
        chosen = [max(0, int(np.searchsorted(times, moment + 1e-6, side="right")) - 1) for moment in moments]
        return np.stack([self._frames[index][1] for index in chosen])
