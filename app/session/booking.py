"""From the engine's last event to the record: a turn's files, its place in the context, then the report of its end."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from app.session.core import SessionCore
from app.session.cut import heard_of
from app.session.record import TurnRecord
from app.session.turn import RunningTurn
from app.types.events import TERMINAL, Event, TurnFailed, TurnFinished, TurnInterrupted


class Booking:
    """Ends the turns of one session; of each the first end counts."""

    def __init__(self, core: SessionCore) -> None:
        self._core = core

    def listener_of(self, turn: RunningTurn) -> Callable[[Event], None]:
        """Takes the engine's events of this turn."""
        return partial(self._on_event, turn)

    def finish_soon(self, turn: RunningTurn, event: Event) -> None:
        self._core.tools.threads.finish(partial(self._finish, turn, event))

    def end_early(self, turn: RunningTurn, event: TurnFailed | TurnInterrupted) -> None:
        """Ends a turn that never reached the engine; does nothing when somebody ended it already."""
        with self._core.lock:
            if turn.is_over:
                return
            turn.is_over = True
            turn.reply.add(event)
            message = event.message if isinstance(event, TurnFailed) else ""
            if message and turn.errand is None:
                self._forget(turn)
            if not turn.is_orphan:
                self._conclude(turn, turn.ended(event, None, message))
        self._core.keep()
        turn.end(event)

    def _on_event(self, turn: RunningTurn, event: Event) -> None:
        if isinstance(event, TERMINAL):
            self.finish_soon(turn, event)
        else:
            turn.accept(event)

    def _finish(self, turn: RunningTurn, event: Event) -> None:
        core = self._core
        with core.lock:
            if turn.is_taken_back:
                return
            if turn.is_open:
                turn.end_waits = event
                return
            turn.is_ending = True
        if turn.errand is not None:
            self._finish_errand(turn, event)
            return
        is_failed = isinstance(event, TurnFailed)
        if not is_failed and _is_cut_short(turn, event):
            event = self._cut_short(turn, event)
        turn.reply.add(event)
        wav, message = (None, event.message) if is_failed else core.stored(partial(self._write_sound, turn))
        with core.lock:
            turn.is_over = True
            core.history.adopt(turn, event)
            if is_failed or turn.is_orphan:
                self._forget(turn)
            if not turn.is_orphan:
                record = turn.ended(event, wav, message)
                if not is_failed:
                    _, trouble = core.stored(partial(core.folder.write_timings, turn.number, record.timings))
                    record = replace(record, message=message or trouble)
                self._conclude(turn, record)
        self._keep(turn)
        turn.end(event)

    def _finish_errand(self, turn: RunningTurn, event: Event) -> None:
        core = self._core
        turn.reply.add(event)
        event, settle = turn.errand.finish(turn, event)
        with core.lock:
            turn.is_over = True
            settle(core.history)
            if turn.state is not core.history.context.state:
                turn.state.close()
            if not turn.is_orphan:
                core.give_up_floor()
        self._keep(turn)
        turn.end(event)

    def _cut_short(self, turn: RunningTurn, event: TurnFinished | TurnInterrupted) -> TurnInterrupted:
        """Cuts an ended reply, and what the engine keeps of it, to what was played."""
        engine, reply = self._core.tools.loader.wait(), turn.reply
        cut = heard_of(engine.decode, reply, turn.played_samples, event.metrics.speech_end == "eos")
        if reply.text_ids:
            turn.state.cut_reply(len(reply.text_ids), cut.num_ids)
        reply.cut(cut, turn.played_samples)
        return TurnInterrupted(event.turn, event.t_s, cut.text, event.metrics)

    def _write_sound(self, turn: RunningTurn) -> Path | None:
        spoken = turn.reply.samples()
        return None if spoken is None or turn.is_orphan else self._core.folder.write_wav(turn.number, *spoken)

    def _keep(self, turn: RunningTurn) -> None:
        trouble = self._core.keep()
        if trouble:
            with self._core.lock:
                self._core.history.note_message(turn.number, trouble)

    def _forget(self, turn: RunningTurn) -> None:
        turn.files = ()
        self._core.folder.forget({turn.number})

    def _conclude(self, turn: RunningTurn, record: TurnRecord) -> None:
        """Under the lock."""
        history = self._core.history
        if turn.errand is not None:
            pass
        elif record.state == "failed" and turn.replaces is not None:
            history.switch(turn.replaces)
        else:
            history.records = (*history.records, record)
        self._core.give_up_floor()


def _is_cut_short(turn: RunningTurn, event: TurnFinished | TurnInterrupted) -> bool:
    """Somebody stopped it before all of it was heard."""
    played = turn.played_samples
    return played is not None and not (isinstance(event, TurnFinished) and played >= turn.reply.num_samples)
