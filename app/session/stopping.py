"""Stops the reply that is being made, or cuts the newest one, to what was heard of it; begins nothing."""

from app.session.booking import Booking
from app.session.core import SessionCore
from app.session.cut import heard, projected_samples
from app.session.folder import read_wav
from app.session.record import TurnRecord
from app.session.spoken import SpokenMessages
from app.session.turn import RunningTurn

# Longest that the end of a reply is waited for while its files are written.
BOOKING_S = 10.0


class Stopping:
    """Stops the turns of one session; of `interrupt` and `cut` `Session` tells more."""

    def __init__(self, core: SessionCore, booking: Booking, spoken: SpokenMessages) -> None:
        self._core = core
        self._booking = booking
        self._spoken = spoken

    def interrupt(self, played_samples: int | None) -> None:
        with self._core.lock:
            turn = self._core.running
            if turn is None or turn.is_listening:
                return
            in_engine = _stop(turn, played_samples)
        if not in_engine:
            self._booking.end_early(turn, turn.interrupted())

    def cut(self, number: int, played_samples: int) -> TurnRecord | None:
        core = self._core
        with core.lock:
            core.wait_until(lambda: core.running is None or not core.running.is_ending, BOOKING_S)
            turn = core.running
            if turn is not None:
                if turn.number != number or turn.is_listening:
                    return None
                in_engine = _stop(turn, played_samples)
            else:
                changed = self._cut_newest(number, played_samples)
        if turn is None:
            core.keep()
            return changed
        if not in_engine:
            self._booking.end_early(turn, turn.interrupted())
        return None

    def let_go(self, system_prompt: str | None) -> set[int]:
        """Forgets all turns; the numbers that they had. Those of a turn that begins meanwhile are not among them.
        None keeps the system prompt."""
        core = self._core
        self._spoken.cancel()
        with core.lock:
            turn = core.running
            state = core.history.clear(system_prompt)
            forgotten = set(range(1, core.num_turns + 1))
            in_engine = False
            if turn is not None:
                turn.is_orphan = True
                in_engine = turn.stop()
            # A state that the engine still works on is closed when its turn has ended.
            if state is not None and not (in_engine and turn.state is state):
                state.close()
            core.give_up_floor()
        if turn is not None and not in_engine:
            self._booking.end_early(turn, turn.interrupted())
        return forgotten

    def _cut_newest(self, number: int, played_samples: int) -> TurnRecord | None:
        """Under the lock."""
        core = self._core
        record = core.history.newest_reply(number)
        # What is spoken again was said before: who stops that takes nothing back.
        if record is None or record.wav is None or record.takes:
            return None
        samples, sample_rate = read_wav(record.wav)
        if played_samples >= len(samples):
            return None
        is_spoken_out = record.timings.get("speech_end") == "eos"
        whole = projected_samples(len(samples), is_spoken_out, len(record.reply_text), sample_rate)
        engine = core.tools.loader.wait()
        cut = heard(engine.decode, core.proved(engine).past[-1].reply_ids, played_samples / whole)
        wav = core.folder.cut_wav(number, samples[:played_samples], sample_rate)
        changed = core.history.cut_newest(cut, played_samples / sample_rate, wav)
        core.folder.write_timings(number, changed.timings)
        return changed


def _stop(turn: RunningTurn, played_samples: int | None) -> bool:
    """Under the lock. Who stops first tells how much was heard. True when the engine will end the turn."""
    if turn.reply.voice and turn.played_samples is None:
        turn.played_samples = played_samples
    return turn.stop()
