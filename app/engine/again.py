"""A reply that the conversation holds, spoken once more: only the Talker and the vocoder run; knows no session."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.engine.state import Mark
from app.engine.stepping import Step
from app.engine.turn import Turn
from app.types.events import Event, TurnFinished, TurnInterrupted, TurnStarted


@dataclass(frozen=True)
class Spoken:
    """Where a reply stands. `end`: the mark behind it; `num_cached`: of its tokens, those in the caches; `num_states`:
    those whose states the Talker was given when the reply was new."""

    end: Mark
    num_cached: int
    num_states: int

    @property
    def start(self) -> Mark:
        """The mark between prompt and reply, whose tokens stand one behind the other at the top."""
        end, length = self.end, self.num_cached
        return Mark(end.num_tokens - length, end.next_position - length, end.top_position - length, ())


class SpeechAgain(Turn):
    """Speaks what is written at `spoken`, in the voice and with the seed of `settings`; a prompt with segments is what
    the caches lack up to there. The text and what the Thinker remembers stay as they are.

    The codes are those that the turn itself would have had with this voice and seed.
    """

    def __init__(self, spoken: Spoken, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._spoken_at = spoken
        self._is_written = not self._prompt.segments

    def steps(self) -> Iterator[Event | Step | None]:
        assert self._voice is not None, "a checkpoint without a Talker"
        yield TurnStarted(*self._stamp(), voice=self._voice.name, seed=self._seed)
        if not self._is_written:
            yield from self._prefill()
            self._is_written = True
        start, state = self._spoken_at.start, self._state
        state.crop_talker(min(state.talker_length, start.num_tokens))
        rows = state.states.since(start.num_tokens)[: self._spoken_at.num_states].clone()
        self._tally.num_text_tokens, self._tally.text_end = self._spoken_at.num_states + 1, "eos"
        yield from self._spoken((row[None, None] for row in rows), self._voice, start)
        self._settle()
        yield from self._stage_times()
        yield TurnFinished(*self._stamp(), metrics=self._tally.metrics(self._clock.now()))

    def interrupted(self) -> Iterator[Event]:
        self.abandon()
        yield from self._stage_times()
        yield TurnInterrupted(*self._stamp(), heard_text="", metrics=self._tally.metrics(self._clock.now()))

    def abandon(self) -> None:
        """Half a prompt is taken back; speech leaves nothing behind."""
        if self._is_written:
            self._settle()
        else:
            super().abandon()
