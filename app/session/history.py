"""What a conversation remembers: the turns in the model's context and the records for people; knows no disk.

A conversation is a tree: a turn that is asked again, or changed and sent again, stands beside the first one, behind the
same turn before. One path through it is in the model's context and on the page; the other turns lie on the shelf.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.session.cut import Heard
from app.session.prompter import Context, PastTurn
from app.session.record import Take, TurnRecord
from app.session.turn import RunningTurn
from app.types.events import Event, TurnFailed
from app.types.prompt import Boundary
from app.types.turn import TurnSettings


@dataclass(frozen=True)
class Shelved:
    """A turn that is not on the path. `parent`: the turn before it, 0 for none; `past`: None where the model knows
    nothing of it."""

    record: TurnRecord
    past: PastTurn | None
    parent: int


class History:
    """Owns the conversation's `EngineState`, the turns in it and the records. Its session's lock guards it.

    The state is None before the first turn, after `drop_oldest` and after `give_up_state`; the next turn then writes
    the remaining turns afresh. `settings`: of the next turn, None where nobody changed what the checkpoint says;
    `use_video_sound`: of its message.
    """

    def __init__(self, system_prompt: str) -> None:
        self.context = Context(None, (), system_prompt)
        self.records: tuple[TurnRecord, ...] = ()
        self.settings: TurnSettings | None = None
        self.use_video_sound = True
        self._shelf: dict[int, Shelved] = {}

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
            older = _written(state, context.past, turn.boundaries, turn.num_opening)
            num_tokens = state.num_tokens - turn.num_opening - sum(past.num_tokens for past in older)
            ids = tuple(turn.reply.text_ids)
            num_states = len(ids) - len(state.pending_ids)
            newest = PastTurn(turn.number, turn.stored, ids, num_tokens, state.mark(), num_states)
            self.context = replace(context, state=state, past=(*older, newest))
        elif state is not context.state:
            state.close()

    def clear(self, system_prompt: str | None) -> Any:
        """Forgets all turns and records; None keeps the system prompt. Returns the state, which the caller closes."""
        state = self.context.state
        self.context = Context(None, (), self.context.system_prompt if system_prompt is None else system_prompt)
        self.records, self._shelf = (), {}
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
        # Whatever stood beside or behind a turn that is gone, and beside the first that stays, has no place any more.
        while gone := {number for number, shelved in self._shelf.items() if shelved.parent in (0, *forgotten)}:
            forgotten |= gone
            self._shelf = {number: shelved for number, shelved in self._shelf.items() if number not in gone}
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

    # -- other versions of a turn ------------------------------------------------------------------------------------

    def shown(self) -> tuple[TurnRecord, ...]:
        """The records of the path, each with its versions."""
        parents = {number: shelved.parent for number, shelved in self._shelf.items()}
        before = 0
        for record in self.records:
            parents[record.turn], before = before, record.turn
        siblings: dict[int, list[int]] = {}
        for number, parent in sorted(parents.items()):
            siblings.setdefault(parent, []).append(number)
        return tuple(replace(record, versions=tuple(siblings[parents[record.turn]])) for record in self.records)

    def turns(self) -> dict[int, Shelved]:
        """All turns that stay in the conversation, those of the path too."""
        known = {past.number: past for past in self.context.past}
        found, before = dict(self._shelf), 0
        for record in self.records:
            found[record.turn] = Shelved(record, known.get(record.turn), before)
            before = record.turn
        # A failed turn left nothing; what came behind it came behind the turn before.
        parents = {number: shelved.parent for number, shelved in found.items() if shelved.record.state == "failed"}

        def parent(number: int) -> int:
            return parent(parents[number]) if number in parents else number

        return {
            number: replace(shelved, parent=parent(shelved.parent))
            for number, shelved in found.items()
            if number not in parents
        }

    def load(self, system_prompt: str, turns: dict[int, Shelved], path: tuple[int, ...]) -> None:
        """A whole conversation in the place of none; the model reads it with the next turn."""
        assert not self.records and not self._shelf and self.context.state is None
        on_path = [turns[number] for number in path]
        self.records = tuple(shelved.record for shelved in on_path)
        past = tuple(shelved.past for shelved in on_path if shelved.past is not None)
        self.context = Context(None, past, system_prompt)
        self._shelf = {number: shelved for number, shelved in turns.items() if number not in path}

    def prove(self, reply_ids: Callable[[tuple[int, ...], str], tuple[int, ...]]) -> None:
        """The replies of another day as the checkpoint that runs now has them; see `Engine.reply_ids`."""
        texts = {record.turn: record.reply_text for record in self.records}

        def proved(past: PastTurn, text: str) -> PastTurn:
            ids = reply_ids(past.reply_ids, text)
            return past if ids == past.reply_ids else replace(past, reply_ids=ids, num_states=max(0, len(ids) - 1))

        past = tuple(proved(one, texts[one.number]) for one in self.context.past)
        self.context = replace(self.context, past=past)
        self._shelf = {
            number: replace(one, past=one.past and proved(one.past, one.record.reply_text))
            for number, one in self._shelf.items()
        }

    def find(self, number: int) -> TurnRecord | None:
        """The record of a turn on the path."""
        return next((record for record in self.records if record.turn == number), None)

    def rewind(self, number: int) -> None:
        """Shelves turn `number`, which is on the path, and all behind it; the model forgets them."""
        kept = tuple(record for record in self.records if record.turn < number)
        gone = self.records[len(kept) :]
        known = {past.number: past for past in self.context.past}
        before = kept[-1].turn if kept else 0
        for record in gone:
            past = known.get(record.turn)
            self._shelf[record.turn] = Shelved(record, past and replace(past, mark=None), before)
            before = record.turn
        self.records = kept
        self._keep(tuple(past for past in self.context.past if past.number < number))

    def switch(self, number: int) -> bool:
        """Puts the shelved turn `number` on the path, with what leads to it and the newest that follows. False where it
        is not on the shelf."""
        if number not in self._shelf:
            return False
        way = [number]
        while self._shelf[way[0]].parent in self._shelf:
            way.insert(0, self._shelf[way[0]].parent)
        while followers := [other for other, shelved in self._shelf.items() if shelved.parent == way[-1]]:
            way.append(max(followers))
        before = self._shelf[way[0]].parent
        behind = next((record.turn for record in self.records if record.turn > before), None)
        if behind is not None:
            self.rewind(behind)
        taken = [self._shelf.pop(one) for one in way]
        self.records += tuple(shelved.record for shelved in taken)
        past = tuple(shelved.past for shelved in taken if shelved.past is not None)
        self.context = replace(self.context, past=(*self.context.past, *past))
        return True

    def _keep(self, past: tuple[PastTurn, ...]) -> None:
        """Of the context the first turns alone: the model goes back to the end of the last of them."""
        marks = [turn.mark for turn in past if turn.mark is not None]
        if self.context.state is None or not marks:
            self._give_up_state(past)
            return
        self.context.state.trim(marks[-1])
        self.context = replace(self.context, past=past)

    def newest_reply(self, number: int) -> TurnRecord | None:
        """The record of turn `number` if its reply is the last that the model remembers."""
        past = self.context.past
        if not past or past[-1].number != number or not self.records or self.records[-1].turn != number:
            return None
        return self.records[-1]

    def cut_newest(self, cut: Heard, heard_s: float, wav: Path | None) -> TurnRecord:
        """Shortens the newest reply, in the engine's memory too; the changed record. `wav`: what was heard of it."""
        context, newest = self.context, self.context.past[-1]
        num_gone, is_written = 0, newest.mark is not None
        if is_written:
            num_gone = context.state.num_tokens
            context.state.cut_reply(len(newest.reply_ids), cut.num_ids)
            num_gone -= context.state.num_tokens
        mark = context.state.mark() if is_written else None
        ids, num_tokens = newest.reply_ids[: cut.num_ids], newest.num_tokens - num_gone
        num_states = min(newest.num_states, len(ids))
        shorter = replace(newest, reply_ids=ids, num_tokens=num_tokens, mark=mark, num_states=num_states)
        self.context = replace(context, past=(*context.past[:-1], shorter))
        record = self.records[-1]
        timings = record.timings | {"audio_s": heard_s, "heard_s": heard_s, "num_heard_tokens": cut.num_ids}
        # What was said beyond is gone from the conversation, and so are the takes that say it.
        changed = replace(record, reply_text=cut.text, wav=wav, state="interrupted", timings=timings, takes=())
        self.records = (*self.records[:-1], changed)
        return changed

    def take_in(self, turn: RunningTurn, take: Take | None) -> TurnRecord | None:
        """A reply was spoken again: keeps what was written afresh for it and chooses the take; the changed record."""
        context, state = self.context, turn.state
        if state is not None and (turn.boundaries or context.state is state):
            num_written = sum(past.mark is not None for past in context.past) + len(turn.boundaries)
            older = _written(state, context.past[:num_written], turn.boundaries, turn.num_opening)
            self.context = replace(context, state=state, past=(*older, *context.past[num_written:]))
        record = self.find(turn.number)
        if take is None or record is None:
            return None
        return self._change(replace(_taken(record, take), takes=(*(record.takes or (record.take,)), take)))

    def choose_take(self, number: int, place: int) -> TurnRecord | None:
        """Take `place` is the reply's sound from now on; None where there is no such take."""
        record = self.find(number)
        if record is None or not 0 <= place < len(record.takes):
            return None
        return self._change(_taken(record, record.takes[place]))

    def _change(self, changed: TurnRecord) -> TurnRecord:
        self.records = tuple(changed if one.turn == changed.turn else one for one in self.records)
        return changed

    def note_message(self, number: int, message: str) -> None:
        record = self.find(number)
        if record is not None and not record.message:
            self._change(replace(record, message=message))

    def note_figures(self, turn: int, figures: dict) -> TurnRecord | None:
        """Merges figures into a record's waterfall; the changed record, None when the turn was forgotten."""
        record = next((record for record in self.records if record.turn == turn), None)
        if record is None:
            return None
        return self._change(replace(record, timings=record.timings | figures))


def _taken(record: TurnRecord, take: Take) -> TurnRecord:
    return replace(record, voice=take.voice, wav=take.wav, timings=take.timings)


def _written(
    state: Any, past: tuple[PastTurn, ...], boundaries: tuple[Boundary, ...], num_opening: int
) -> tuple[PastTurn, ...]:
    """The turns with marks and sizes, those too that were written afresh, up to `boundaries`."""
    left, end = iter(boundaries), num_opening
    found = []
    for turn in past:
        if turn.mark is None:
            boundary = next(left)
            turn = replace(turn, mark=state.mark_at(boundary), num_tokens=boundary.num_tokens - end)
        end += turn.num_tokens
        found.append(turn)
    return tuple(found)


def size_of(state: Any) -> tuple:
    """Differs when the engine kept anything of a turn."""
    return state.num_tokens, tuple(state.pending_ids)
