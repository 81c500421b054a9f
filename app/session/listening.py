"""One spoken message from its first sample to its answer; knows no socket and no detector of speech."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from app.chatml.live import LivePrompt
from app.chatml.render import MIN_REPLY_TOKENS
from app.errors import SessionGone
from app.media.clip import write_clip
from app.session.stream import TurnStream
from app.session.turn import RunningTurn
from app.types.prompt import Append

if TYPE_CHECKING:
    from app.session.spoken import SpokenMessages

# Tokens that end a message and open its reply.
NUM_CLOSING = 16


class Listening:
    """Owns the message that is being spoken in a session, which takes no other until this one is over.

    For one thread at a time. The order of calls: `hear` and `see` while the person speaks; then `answer`, or `cancel`.
    `begin_answer` in a pause begins to answer before it is sure that the person has ended: `go_on` takes that back,
    `answer` makes it final.
    """

    def __init__(
        self,
        spoken: "SpokenMessages",
        turn: RunningTurn,
        engine: Any,
        live: LivePrompt,
        opening: Append,
        on_fed: Callable[[int], None],
        fps: float | None = None,
    ) -> None:
        self._spoken = spoken
        self._turn = turn
        self._engine = engine
        self._live = live
        self._opening = opening
        self._on_fed = on_fed
        self._fps = fps
        self._feed = engine.listen(turn.state, on_fed)
        self._num_before = turn.state.num_tokens + sum(segment.num_tokens for segment in opening.segments)
        self._put(opening)
        self._samples: list[np.ndarray] = []
        self._begun: RunningTurn | None = None
        # What is being answered: all that was said, or so far.
        self._ended = live
        self._is_over = False

    @property
    def duration_s(self) -> float:
        return self._live.duration_s

    @property
    def is_full(self) -> bool:
        """There is room in the model's memory for no more than an answer: the message should end here."""
        needed = NUM_CLOSING + MIN_REPLY_TOKENS + self._live.num_per_block
        return self._num_before + self._live.num_given + needed > self._engine.spec.context_length

    @property
    def is_answering(self) -> bool:
        """An answer was begun in a pause and is not taken back."""
        return self._begun is not None

    def hear(self, samples: np.ndarray) -> None:
        """More sound, float32 `[num_samples]` in [-1, 1] at the model's rate."""
        if self._is_over:
            return
        assert self._begun is None, "go_on comes first"
        self._samples.append(samples)
        self._put(self._live.hear(samples))

    def see(self, pixels: np.ndarray, at_s: float) -> None:
        """A picture uint8 `[height, width, 3]` of the size that the checkpoint takes, shown from `at_s` on."""
        if not self._is_over:
            self._live.see(pixels, at_s)

    def begin_answer(self) -> None:
        """Begins to answer what was said so far; nothing of it is shown yet."""
        if self._begun is None and not self._is_over:
            self._begun = self._submit(copy.deepcopy(self._live))

    def go_on(self) -> None:
        """The person has not ended: the answer that was begun is forgotten."""
        begun, self._begun = self._begun, None
        if begun is None:
            return
        begun.is_taken_back = True
        if not begun.handle.take_back():
            # It was answered to the end already, or failed: the message begins again.
            self._feed = self._engine.listen(self._turn.state, self._on_fed, self._feed.opening)
            # Even where it is empty: with it the state goes back to where the message began.
            self._feed.put(self._opening)
            self._put(self._live.given())

    def answer(self) -> TurnStream:
        """The message is over; its answer's events. Raises `SessionGone` where the conversation was cleared."""
        if self._is_over:
            raise SessionGone("The conversation was cleared while you spoke: say it again.")
        self._is_over = True
        if self._begun is None:
            self._begun = self._submit(self._live)
        clip = None
        if self._fps is not None:
            clip = partial(write_clip, frames=self._ended.shown(), fps=self._fps)
        return self._spoken.settle(self._begun, self.samples(), self._engine.spec.mel.sample_rate, clip)

    def cancel(self) -> None:
        """It was no message after all: nothing of it stays. Does nothing once it is answered."""
        if self._is_over:
            return
        self._is_over = True
        self.go_on()
        self._feed.cancel()
        self._feed.wait_over()
        self._spoken.forget(self._turn)

    def samples(self) -> np.ndarray:
        return np.concatenate(self._samples) if self._samples else np.zeros(0, np.float32)

    def _put(self, append: Append) -> None:
        if append.segments:
            self._feed.put(append)

    def _submit(self, live: LivePrompt) -> RunningTurn:
        turn = self._turn.again()
        append, prompt = live.finish()
        self._ended = live
        self._put(append)
        # What was given out may be in the state already, or be about to come there.
        num_room = self._engine.spec.context_length - self._num_before - live.num_given - prompt.num_tokens
        thinker = turn.settings.thinker
        limited = replace(thinker, max_new_tokens=max(1, min(thinker.max_new_tokens, num_room)))
        settings = replace(turn.settings, thinker=limited)
        on_event: Callable = self._spoken.listener_of(turn)
        turn.handle = self._engine.submit(
            turn.state, prompt, settings, turn.number, on_event, turn.submitted_at, feed=self._feed
        )
        return turn
