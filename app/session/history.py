"""What a conversation remembers: the turns in the model's context and the records for people; knows no disk."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from app.session.cut import Heard
from app.session.prompter import Context, PastTurn
from app.session.record import TurnRecord
from app.session.turn import RunningTurn
from app.types.events import Event, TurnFailed


class History:
    """Owns the conversation's `EngineState`, the turns in it and the records. Its session's lock guards it.

    The state is None before the first turn, after `drop_oldest` and after `give_up_state`; the next turn then writes
    the remaining turns afresh.
    """

    def __init__(self, system_prompt: str) -> None:
        self.context = Context(None, (), system_prompt)
        self.records: tuple[TurnRecord, ...] = ()

    @property
    def num_bytes(self) -> int:
        """What the conversation takes in the engine."""
        state = self.context.state
        return 0 if state is None else state.num_bytes

    def take_system_prompt(self, system_prompt: str) -> None:
        """Holds from the next turn on, unless the model remembers turns that began with another one."""
        if not self.context.past:
            self.context = replace(self.context, system_prompt=system_prompt)

    def adopt(self, turn: RunningTurn, event: Event) -> None:
        """Keeps an ended turn in the context if the engine kept anything of it; gives up a state that nobody needs."""
        state, context = turn.state, self.context
        is_kept = not isinstance(event, TurnFailed) and size_of(state) != turn.size_before
        if is_kept and not turn.is_orphan:
            num_tokens = state.num_tokens - turn.num_opening - sum(past.num_tokens for past in context.past)
            ids = tuple(turn.reply.text_ids)
            past = (*context.past, PastTurn(turn.number, turn.stored, ids, num_tokens, state.mark()))
            self.context = replace(context, state=state, past=past)
        elif state is not context.state:
            state.close()

    def clear(self, system_prompt: str | None) -> Any:
        """Forgets all turns and records; None keeps the system prompt. Returns the state, which the caller closes."""
        state = self.context.state
        self.context = Context(None, (), self.context.system_prompt if system_prompt is None else system_prompt)
        self.records = ()
        return state

    def drop_oldest(self, num_turns: int) -> set[int]:
        """Forgets the oldest turns of the context, with all that was shown before the first one that stays.

        Returns the numbers of the records that are gone.
        """
        past = self.context.past
        kept = past[max(num_turns, 0) :]
        if len(kept) == len(past):
            return set()
        first_kept = kept[0].number if kept else past[-1].number + 1
        forgotten = {record.turn for record in self.records if record.turn < first_kept}
        self.records = tuple(record for record in self.records if record.turn >= first_kept)
        self._give_up_state(kept)
        return forgotten

    def give_up_state(self) -> int:
        """Gives the engine's memory back and keeps the turns. Returns the bytes freed."""
        num_bytes = self.num_bytes
        self._give_up_state(self.context.past)
        return num_bytes

    def _give_up_state(self, past: tuple[PastTurn, ...]) -> None:
        state = self.context.state
        self.context = replace(self.context, state=None, past=tuple(replace(turn, mark=None) for turn in past))
        if state is not None:
            state.close()

    def newest_reply(self, number: int) -> TurnRecord | None:
        """The record of turn `number` if its reply is the last that the model remembers."""
        past = self.context.past
        if not past or past[-1].number != number or not self.records or self.records[-1].turn != number:
            return None
        return self.records[-1]

    def cut_newest(self, cut: Heard, heard_s: float, wav: Path | None) -> TurnRecord:
        """Shortens the newest reply, in the engine's memory too; the changed record. `wav`: what was heard of it."""
        context, newest = self.context, self.context.past[-1]
        num_gone = 0
        if context.state is not None:
            num_gone = context.state.num_tokens
            context.state.cut_reply(len(newest.reply_ids), cut.num_ids)
            num_gone -= context.state.num_tokens
        mark = None if context.state is None else context.state.mark()
        ids, num_tokens = newest.reply_ids[: cut.num_ids], newest.num_tokens - num_gone
        shorter = replace(newest, reply_ids=ids, num_tokens=num_tokens, mark=mark)
        self.context = replace(context, past=(*context.past[:-1], shorter))
        record = self.records[-1]
        timings = record.timings | {"audio_s": heard_s, "heard_s": heard_s, "num_heard_tokens": cut.num_ids}
        changed = replace(record, reply_text=cut.text, wav=wav, state="interrupted", timings=timings)
        self.records = (*self.records[:-1], changed)
        return changed

    def note_figures(self, turn: int, figures: dict) -> TurnRecord | None:
        """Merges figures into a record's waterfall; the changed record, None when the turn was forgotten."""
        record = next((record for record in self.records if record.turn == turn), None)
        if record is None:
            return None
        changed = replace(record, timings=record.timings | figures)
        self.records = tuple(changed if one is record else one for one in self.records)
        return changed


def size_of(state: Any) -> tuple:
    """Differs when the engine kept anything of a turn."""
    return state.num_tokens, tuple(state.pending_ids)
