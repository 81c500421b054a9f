"""One conversation: its context in the engine, its turns, its running reply; knows no page and no other session."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from app.door import door
from app.errors import BadInput, DemoError, SessionBusy, SessionGone
from app.media.text import clean_text
from app.session.archive import from_json
from app.session.cut import heard, heard_of, projected_samples
from app.session.errands import Errand, SpeakAgain, SpeakAside
from app.session.fit import Fit
from app.session.folder import SessionFolder, read_wav
from app.session.history import History, size_of
from app.session.keeping import Keeping
from app.session.listening import Listening
from app.session.loading import EngineLoader
from app.session.prompter import Context, Prompter, scratch_state
from app.session.record import StoredFile, TurnRecord
from app.session.settings import check_ranges, checked_settings, checked_system_prompt
from app.session.stream import TurnStream
from app.session.threads import SessionThreads
from app.session.turn import RunningTurn, files_of, guess_kind, kind_of
from app.types.events import TERMINAL, Event, TurnFailed, TurnFinished, TurnInterrupted
from app.types.prompt import Prompt
from app.types.turn import FileInput, TextPart, TurnInput, TurnSettings

# Longest that the end of a reply is waited for while its files are written.
BOOKING_S = 10.0


@dataclass(frozen=True)
class SessionTools:
    """What all sessions share. `keep(session_id, content)`: puts a conversation on disk; None where none is kept."""

    loader: EngineLoader
    prompter: Prompter
    threads: SessionThreads
    keep: Callable[[str, dict], None] | None = None


class Session:
    """Owns the history, the folder and the running turn. Thread-safe.

    Turn numbers never come twice, not even after `reset`.
    """

    def __init__(
        self,
        session_id: str,
        folder: SessionFolder,
        tools: SessionTools,
        system_prompt: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session_id = session_id
        self._folder = folder
        self._tools = tools
        self._clock = clock
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._running: RunningTurn | None = None
        self._listening: Listening | None = None
        self._num_turns = 0
        self._history = History(system_prompt)
        self._is_closed = False
        self._is_unproved = False
        store = None if tools.keep is None else partial(tools.keep, session_id)
        self._keeping = Keeping(self._history, folder, self._lock, lambda: self._running, store)
        self.last_used = clock()

    @property
    def num_bytes(self) -> int:
        """What the conversation takes in the engine."""
        return self._history.num_bytes

    @property
    def is_idle(self) -> bool:
        """No reply is being made."""
        return self._running is None

    @property
    def settings(self) -> TurnSettings | None:
        """Of the next turn, as they were left; None where nobody changed what the checkpoint says of itself."""
        return self._history.settings

    @property
    def system_prompt(self) -> str:
        return self._history.context.system_prompt

    def note_settings(self, settings: TurnSettings, system_prompt: str) -> None:
        """How the next turn is to be answered, kept with the conversation. No voice leaves the one that was chosen;
        `system_prompt` holds if that turn begins the conversation. Raises `BadInput`."""
        check_ranges(settings)
        system_prompt = checked_system_prompt(system_prompt, self._tools.prompter.limits)
        with self._lock:
            before = self._history.settings
            if before is not None and not settings.voice:
                settings = replace(settings, voice=before.voice)
            self._history.settings = replace(settings, say=None)
            if self._running is None:
                self._history.take_system_prompt(system_prompt)
            is_written = bool(self._history.records) and self._history.settings != before
        if is_written:
            self._keep()

    # -- on disk -----------------------------------------------------------------------------------------------------

    def restore(self, content: dict) -> None:
        """Begins with what was kept of it. Raises `BadInput` where that is damaged."""
        try:
            archive = from_json(content, self._folder.path, _as_kept)
        except BadInput:
            # Damaged settings cost the settings and not what was said.
            archive = from_json(content | {"settings": None}, self._folder.path, _as_kept)
        with self._lock:
            self._history.load(archive.system_prompt, dict(archive.turns), archive.path)
            self._history.settings = archive.settings
            self._num_turns = max(archive.turns, default=0)
            # Another checkpoint may run now; it is not loaded yet.
            self._is_unproved = True

    def _keep(self) -> str:
        """What went wrong in a sentence, "" for nothing."""
        return "" if self._is_closed else self._keeping.keep()

    def transcript(self) -> tuple[TurnRecord, ...]:
        with self._lock:
            records, running = self._history.shown(), self._running
            if running is None or running.is_listening or running.errand is not None:
                return records
            return (*records, running.record())

    def wait_idle(self, timeout_s: float) -> bool:
        """True once no reply is being made."""
        with self._idle:
            return self._idle.wait_for(lambda: self._running is None, timeout_s)

    # -- from a submit to the engine ---------------------------------------------------------------------------------

    def submit(self, turn_input: TurnInput, settings: TurnSettings, system_prompt: str | None = None) -> TurnStream:
        """Takes the turn on and returns at once; everything that goes wrong later is a `TurnFailed` in the stream.

        `system_prompt` holds if the turn begins the conversation.
        """
        if system_prompt is not None:
            system_prompt = checked_system_prompt(system_prompt, self._tools.prompter.limits)
        with self._lock:
            turn = self._new_turn(turn_input, settings, system_prompt)
        self._tools.threads.prepare(partial(self._prepare, turn))
        return turn.stream

    def again(
        self,
        number: int,
        settings: TurnSettings,
        message: TurnInput | None = None,
        system_prompt: str | None = None,
    ) -> TurnStream:
        """Sends turn `number` once more, or `message` with its files in its place; all that came behind it is shelved
        with it. If the new turn fails, the old one is back.

        Raises what `submit` raises, and `BadInput` where the conversation has no such turn.
        """
        if system_prompt is not None:
            system_prompt = checked_system_prompt(system_prompt, self._tools.prompter.limits)
        with self._lock:
            self._refuse_if_busy("send it again")
            record = self._history.find(number)
            if record is None or record.sent is None or record.state == "failed":
                raise BadInput("This message is not in the conversation any more: write it again.")
            self._history.rewind(number)
            turn = self._new_turn(message or replace(record.sent, contents=()), settings, system_prompt)
            turn.replaces = number
            turn.kept = record.sent.contents if message is None else files_of(record.sent)
        self._tools.threads.prepare(partial(self._prepare, turn))
        return turn.stream

    def speak_again(self, number: int, settings: TurnSettings) -> TurnStream:
        """Speaks the reply of turn `number` once more, in the voice and with the seed of `settings`; only the Talker
        and the vocoder run, and the turn keeps the new take. Its stream tells of sound alone.

        Raises what `submit` raises, and `BadInput` where there is nothing to be spoken.
        """
        with self._lock:
            self._refuse_if_busy("hear it again")
            record = self._history.find(number)
            if record is None or not any(past.number == number for past in self._history.context.past):
                raise BadInput("This reply is not in the conversation any more: ask again.")
            if not record.reply_text.strip():
                raise BadInput("This reply has no words: choose another one to be spoken.")
            turn = self._new_run(number, replace(settings, speak=True), SpeakAgain(self))
        self._tools.threads.prepare(partial(self._prepare, turn))
        return turn.stream

    def speak_aside(self, text: str, settings: TurnSettings) -> TurnStream:
        """Speaks `text` in the voice of `settings`; the conversation knows nothing of it. Raises what `submit` raises,
        and `BadInput` for a text that is empty."""
        if not clean_text(text).strip():
            raise BadInput("There is nothing to say: write a sentence first.")
        with self._lock:
            self._refuse_if_busy("hear a sentence")
            turn = self._new_run(0, replace(settings, speak=True, say=text), SpeakAside(self))
        self._tools.threads.prepare(partial(self._prepare, turn))
        return turn.stream

    def _new_run(self, number: int, settings: TurnSettings, errand: Errand) -> RunningTurn:
        """Under the lock, while nothing runs."""
        if self._is_closed:
            raise SessionGone("This conversation has expired: reload the page to begin a new one.")
        turn = self._running = RunningTurn(number, TurnInput(()), settings, self._clock)
        turn.errand = errand
        self.last_used = turn.submitted_at
        return turn

    def export(self) -> Path:
        """The conversation as a zip in its folder, see `app.session.carry`. Raises `SessionBusy` while a reply is being
        made, `BadInput` where nothing was said."""
        with self._lock:
            self._refuse_if_busy("export")
        return self._keeping.export()

    def take_in(self, zip_path: Path) -> None:
        """Begins with a conversation that was exported, from an uploaded file. The session must be a new one. Raises
        `BadInput`."""
        engine, limits = self._tools.loader.wait(), self._tools.prompter.limits
        archive = self._keeping.read(zip_path, limits, engine.reply_ids)
        system_prompt = checked_system_prompt(archive.system_prompt, limits)
        with self._lock:
            self._history.load(system_prompt, dict(archive.turns), archive.path)
            self._history.settings = archive.settings
            self._num_turns = max(archive.turns, default=0)
        self._keep()

    def choose_take(self, number: int, place: int) -> TurnRecord | None:
        """Another sound of turn `number` is the one that is kept; the changed record, None where there is none."""
        with self._lock:
            self._refuse_if_busy("choose another take")
            changed = self._history.choose_take(number, place)
        self._keep()
        return changed

    def take_back(self, number: int) -> TurnRecord | None:
        """Shelves turn `number` and all behind it; its record, None where the conversation has no such turn. Raises
        `SessionBusy` while a reply is being made."""
        with self._lock:
            self._refuse_if_busy("take turns back")
            record = self._history.find(number)
            if record is not None:
                self._history.rewind(number)
        self._keep()
        return record

    def show_version(self, number: int) -> bool:
        """Goes on from a shelved turn, and what followed it, instead of the one in its place. False where there is no
        such turn. Raises `SessionBusy` while a reply is being made."""
        with self._lock:
            self._refuse_if_busy("choose another version")
            is_switched = self._history.switch(number)
        self._keep()
        return is_switched

    def _refuse_if_busy(self, deed: str) -> None:
        if self._running is not None:
            raise SessionBusy(f"A reply is still being made: wait for its end or stop it, then {deed}.")

    def _new_turn(self, turn_input: TurnInput, settings: TurnSettings, system_prompt: str | None) -> RunningTurn:
        """Under the lock."""
        if self._is_closed:
            raise SessionGone("This conversation has expired: reload the page to begin a new one.")
        if self._running is not None:
            what = "You are being listened to" if self._running.is_listening else "A reply is still being made"
            raise SessionBusy(f"{what}: wait for its end or stop it, then send again.")
        if system_prompt is not None:
            self._history.take_system_prompt(system_prompt)
        self._num_turns += 1
        turn = self._running = RunningTurn(self._num_turns, turn_input, settings, self._clock)
        self.last_used = turn.submitted_at
        return turn

    def _prepare(self, turn: RunningTurn) -> None:
        try:
            with door("preparing a turn", is_moot=lambda: turn.is_stopped):
                if turn.errand is None:
                    self._start(turn)
                else:
                    turn.errand.start(turn)
        except DemoError as error:
            if not turn.is_stopped:  # else whoever stopped it ends it
                self._end_early(turn, turn.failed(error))

    def _start(self, turn: RunningTurn) -> None:
        """Copies, decodes, renders and hands over; leaves in silence when the turn was ended meanwhile."""
        engine, prompter = self._tools.loader.wait(), self._tools.prompter
        settings = checked_settings(turn.settings, engine.spec, prompter.limits)
        start_s = turn.elapsed_s()
        admitted = self._folder.admit(turn.number, turn.turn_input)
        stored = replace(admitted, contents=(*turn.kept, *admitted.contents))
        with self._lock:
            if turn.is_stopped:
                self._folder.forget({turn.number})
                return
            turn.stored = stored
            turn.files = tuple(StoredFile(file.path, file.kind or guess_kind(file.path)) for file in files_of(stored))
        parts = prompter.decode(engine, stored)
        turn.note_stage("decode", start_s)
        media = [part for part in parts if not isinstance(part, TextPart)]
        with self._lock:
            turn.files = tuple(
                StoredFile(file.path, kind_of(part)) for file, part in zip(files_of(stored), media, strict=True)
            )
            context = self._proved(engine)
        start_s = turn.elapsed_s()
        target = engine.new_state() if context.state is None else context.state
        try:
            prompt = prompter.render(engine, context, target, parts, settings.say)
            fit = prompter.fit(engine, self.session_id, context, parts, prompt, settings)
            if not fit.fits:
                raise fit.error()
            turn.num_opening, turn.boundaries = fit.num_opening, prompt.boundaries
            turn.note_stage("render", start_s)
            self._hand_over(engine, turn, target, prompt, fit.limited(settings))
        finally:
            if target is not context.state and turn.state is not target:
                target.close()
        # Whatever ends the program now, the message is there.
        self._keep()

    @property
    def tools(self) -> SessionTools:
        return self._tools

    @property
    def context(self) -> Context:
        """Waits until the checkpoint is loaded."""
        engine = self._tools.loader.wait()
        with self._lock:
            return self._proved(engine)

    def _proved(self, engine: Any) -> Context:
        """Under the lock. The context as this checkpoint can read it."""
        if self._is_unproved:
            self._is_unproved = False
            self._history.prove(engine.reply_ids)
        return self._history.context

    def write_take(self, turn: RunningTurn) -> tuple[Path | None, str]:
        """The sound of a turn beside what it was before, or the sentence that tells why not."""
        spoken = turn.reply.samples()
        return (None, "") if spoken is None else self._stored(partial(self._folder.write_take, turn.number, *spoken))

    def _note_trouble(self, number: int, trouble: str) -> None:
        if trouble:
            with self._lock:
                self._history.note_message(number, trouble)

    def start_in_engine(self, turn: RunningTurn, target: Any, submit: Callable[..., Any]) -> None:
        """Hands the turn over, unless it was ended meanwhile. `submit(on_event)` gives its handle."""
        with self._lock:
            if turn.is_stopped:
                return
            turn.state, turn.size_before = target, size_of(target)
            turn.handle = submit(partial(self._on_event, turn))

    def _hand_over(self, engine: Any, turn: RunningTurn, target: Any, prompt: Prompt, settings: TurnSettings) -> None:
        def submit(on_event: Callable[[Event], None]) -> Any:
            return engine.submit(target, prompt, settings, turn.number, on_event, turn.submitted_at)

        self.start_in_engine(turn, target, submit)

    # -- a message that is spoken live -------------------------------------------------------------------------------

    def listen(
        self,
        settings: TurnSettings,
        on_fed: Callable[[int], None],
        system_prompt: str | None = None,
        fps: float | None = None,
    ) -> Listening:
        """Begins to take in a message while it is spoken; `on_fed`: see `app.engine.feed.Feed`. `fps`: of its pictures.

        Raises what `submit` raises, and at once what goes wrong later there.
        """
        engine, prompter = self._tools.loader.wait(), self._tools.prompter
        settings = checked_settings(settings, engine.spec, prompter.limits)
        if system_prompt is not None:
            system_prompt = checked_system_prompt(system_prompt, prompter.limits)
        with self._lock:
            turn = self._new_turn(TurnInput(()), settings, system_prompt)
            turn.is_listening = True
            context = self._proved(engine)
        target = engine.new_state() if context.state is None else context.state
        try:
            with door("listening"):
                turn.num_opening = prompter.num_opening(engine, context)
                live, opening = prompter.begin_live(engine, context, target, fps)
                turn.boundaries = opening.boundaries
        except DemoError:
            if target is not context.state:
                target.close()
            self.forget_live(turn)
            raise
        turn.state, turn.size_before = target, size_of(target)
        listening = Listening(self, turn, engine, live, opening, on_fed, fps)
        with self._lock:
            self._listening = listening
        return listening

    def listener_of(self, turn: RunningTurn) -> Callable[[Event], None]:
        return partial(self._on_event, turn)

    def settle_live(
        self, turn: RunningTurn, samples: np.ndarray, sample_rate: int, write_clip: Callable[..., None] | None
    ) -> TurnStream:
        """The message is over and `turn` answers it. `write_clip`: where there were pictures too."""
        kind = "audio" if write_clip is None else "video"
        path, _ = self._stored(partial(self._folder.write_said, turn.number, samples, sample_rate, write_clip))
        with self._lock:
            if path is not None:
                turn.files = (StoredFile(path, kind),)
                turn.stored = TurnInput((FileInput(path, kind),))
            turn.is_open, self._running, self._listening = False, turn, None
            event = turn.end_waits
        self._tools.threads.finish(self._keep)
        if event is not None:
            self._tools.threads.finish(partial(self._finish, turn, event))
        return turn.stream

    def forget_live(self, turn: RunningTurn) -> None:
        """What was being said was no message; its part of the state is taken back already."""
        with self._lock:
            state = turn.state
            if self._running is turn:
                self._running = self._listening = None
                self._idle.notify_all()
            is_needed = state is None or state is self._history.context.state
        if not is_needed:
            state.close()

    # -- from the engine to the record -------------------------------------------------------------------------------

    def _on_event(self, turn: RunningTurn, event: Event) -> None:
        if isinstance(event, TERMINAL):
            self._tools.threads.finish(partial(self._finish, turn, event))
        else:
            turn.accept(event)

    def _finish(self, turn: RunningTurn, event: Event) -> None:
        """Books what the engine ended: the files, the context, then the report."""
        with self._lock:
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
        wav, message = (None, event.message) if is_failed else self._stored(partial(self._write_sound, turn))
        with self._lock:
            turn.is_over = True
            self._history.adopt(turn, event)
            if is_failed or turn.is_orphan:
                self._forget(turn)
            if not turn.is_orphan:
                record = turn.ended(event, wav, message)
                if not is_failed:
                    _, trouble = self._stored(partial(self._folder.write_timings, turn.number, record.timings))
                    record = replace(record, message=message or trouble)
                self._conclude(turn, record)
        self._note_trouble(turn.number, self._keep())
        turn.end(event)

    def _finish_errand(self, turn: RunningTurn, event: Event) -> None:
        turn.reply.add(event)
        event, settle = turn.errand.finish(turn, event)
        with self._lock:
            turn.is_over = True
            settle(self._history)
            if turn.state is not self._history.context.state:
                turn.state.close()
            if not turn.is_orphan:
                self._running = None
                self._idle.notify_all()
        self._note_trouble(turn.number, self._keep())
        turn.end(event)

    def _cut_short(self, turn: RunningTurn, event: TurnFinished | TurnInterrupted) -> TurnInterrupted:
        """Cuts an ended reply, and what the engine keeps of it, to what was played."""
        reply = turn.reply
        cut = heard_of(self._tools.loader.wait().decode, reply, turn.played_samples, event.metrics.speech_end == "eos")
        if reply.text_ids:
            turn.state.cut_reply(len(reply.text_ids), cut.num_ids)
        reply.cut(cut, turn.played_samples)
        return TurnInterrupted(event.turn, event.t_s, cut.text, event.metrics)

    def _write_sound(self, turn: RunningTurn) -> Path | None:
        spoken = turn.reply.samples()
        return None if spoken is None or turn.is_orphan else self._folder.write_wav(turn.number, *spoken)

    def _stored(self, write: Callable[[], Path | None]) -> tuple[Path | None, str]:
        """What `write` gives, and the sentence that tells why nothing was written."""
        try:
            with door("storing a turn"):
                return write(), ""
        except DemoError as error:
            return None, error.message

    def _end_early(self, turn: RunningTurn, event: TurnFailed | TurnInterrupted) -> None:
        """Ends a turn that never reached the engine; does nothing when somebody ended it already."""
        with self._lock:
            if turn.is_over:
                return
            turn.is_over = True
            turn.reply.add(event)
            message = event.message if isinstance(event, TurnFailed) else ""
            if message and turn.errand is None:
                self._forget(turn)
            if not turn.is_orphan:
                self._conclude(turn, turn.ended(event, None, message))
        self._keep()
        turn.end(event)

    def _forget(self, turn: RunningTurn) -> None:
        turn.files = ()
        self._folder.forget({turn.number})

    def _conclude(self, turn: RunningTurn, record: TurnRecord) -> None:
        if turn.errand is not None:
            pass
        elif record.state == "failed" and turn.replaces is not None:
            self._history.switch(turn.replaces)
        else:
            self._history.records = (*self._history.records, record)
        self._running = None
        self._idle.notify_all()

    # -- what a person does to the conversation ----------------------------------------------------------------------

    def interrupt(self, played_samples: int | None = None) -> None:
        """Stops the running reply, whatever it is at; once this returns, nothing new but the end enters its stream.

        `played_samples`: how much of its speech was heard; the reply is cut to that. None keeps what was made, and so
        does a reply that is not spoken.
        """
        with self._lock:
            turn = self._running
            if turn is None or turn.is_listening:
                return
            in_engine = _stop(turn, played_samples)
        if not in_engine:
            self._end_early(turn, turn.interrupted())

    def cut(self, number: int, played_samples: int) -> TurnRecord | None:
        """Cuts the reply of turn `number` to what was heard of it: stops it where it is still being made, else shortens
        the newest reply if it is that one. The changed record; None where there is nothing to be changed by now.
        """
        with self._idle:
            self._idle.wait_for(lambda: self._running is None or not self._running.is_ending, BOOKING_S)
            turn = self._running
            if turn is not None:
                if turn.number != number or turn.is_listening:
                    return None
                in_engine = _stop(turn, played_samples)
            else:
                changed = self._cut_newest(number, played_samples)
        if turn is None:
            self._keep()
            return changed
        if not in_engine:
            self._end_early(turn, turn.interrupted())
        return None

    def stop(self, number: int, played_samples: int) -> TurnRecord | None:
        """Stops whatever is being said. `number`: the last turn of which anything was played; of a later reply nothing
        was heard. Returns what `cut` returns.
        """
        changed = self.cut(number, played_samples)
        self.interrupt(0)
        return changed

    def _cut_newest(self, number: int, played_samples: int) -> TurnRecord | None:
        record = self._history.newest_reply(number)
        # What is spoken again was said before: who stops that takes nothing back.
        if record is None or record.wav is None or record.takes:
            return None
        samples, sample_rate = read_wav(record.wav)
        if played_samples >= len(samples):
            return None
        is_spoken_out = record.timings.get("speech_end") == "eos"
        whole = projected_samples(len(samples), is_spoken_out, len(record.reply_text), sample_rate)
        engine = self._tools.loader.wait()
        cut = heard(engine.decode, self._proved(engine).past[-1].reply_ids, played_samples / whole)
        wav = self._folder.cut_wav(number, samples[:played_samples], sample_rate)
        changed = self._history.cut_newest(cut, played_samples / sample_rate, wav)
        self._folder.write_timings(number, changed.timings)
        return changed

    def reset(self, system_prompt: str | None = None) -> None:
        """Forgets everything that was said; a running reply is stopped first and belongs to nobody from then on.

        None keeps the system prompt. Raises `BadInput` for one that is too long.
        """
        if system_prompt is not None:
            system_prompt = checked_system_prompt(system_prompt, self._tools.prompter.limits)
        self._abandon(system_prompt)
        self._keep()

    def close(self) -> None:
        """Frees the caches; nothing can be submitted any more. A conversation that is not kept loses its folder."""
        with self._lock:
            self._is_closed = True
            is_kept = self._keeping.is_on and bool(self._history.records or self._running)
        if is_kept:
            self._stop_all(None)
        else:
            self._abandon(None)
            self._folder.remove()

    def _abandon(self, system_prompt: str | None) -> None:
        self._folder.forget(self._stop_all(system_prompt))

    def _stop_all(self, system_prompt: str | None) -> set[int]:
        """Lets go of all turns; the numbers that they had. Those of a turn that begins meanwhile are not among them."""
        listening = self._listening
        if listening is not None:
            listening.cancel()
        with self._lock:
            turn, self._running = self._running, None
            state = self._history.clear(system_prompt)
            forgotten = set(range(1, self._num_turns + 1))
            in_engine = False
            if turn is not None:
                turn.is_orphan = True
                in_engine = turn.stop()
            # A state that the engine still works on is closed when its turn has ended.
            if state is not None and not (in_engine and turn.state is state):
                state.close()
            self._idle.notify_all()
        if turn is not None and not in_engine:
            self._end_early(turn, turn.interrupted())
        return forgotten

    def drop_oldest(self, num_turns: int) -> int:
        """Forgets the oldest turns of the context, with all that was shown before the first one that stays.

        Returns how many turns stay. Raises `SessionBusy` while a reply is being made.
        """
        with self._lock:
            self._refuse_if_busy("drop turns")
            forgotten = self._history.drop_oldest(num_turns)
            num_left = len(self._history.context.past)
        self._folder.forget(forgotten)
        self._keep()
        return num_left

    def free_cache(self) -> int:
        """Gives the engine's memory back; the next turn writes the context afresh. Returns the bytes freed."""
        with self._lock:
            if self._running is not None:
                return 0
            return self._history.give_up_state()

    def estimate(self, turn_input: TurnInput, settings: TurnSettings) -> Fit:
        """What this turn would take, without sending it."""
        engine, prompter = self._tools.loader.wait(), self._tools.prompter
        parts = prompter.decode(engine, self._folder.check(turn_input))
        with self._lock:
            context = self._proved(engine)
        with scratch_state(engine) as scratch:
            target = scratch if context.state is None else context.state
            prompt = prompter.render(engine, context, target, parts, settings.say)
            return prompter.estimate(engine, self.session_id, context, parts, prompt, settings)

    def report_playback(self, turn: int, figures: dict) -> None:
        """Merges what the browser measured into the turn's waterfall; a turn that was forgotten is ignored."""
        with self._lock:
            if self._running is not None and self._running.number == turn:
                self._running.note_figures(figures)
                return
            record = self._history.note_figures(turn, figures)
            if record is not None:
                self._folder.write_timings(turn, record.timings)


def _as_kept(ids: Sequence[int], text: str) -> Sequence[int]:
    """What a reply's ids are is seen when the checkpoint is there."""
    return ids


def _stop(turn: RunningTurn, played_samples: int | None) -> bool:
    """Under the session's lock. Who stops first tells how much was heard. True when the engine will end the turn."""
    if turn.reply.voice and turn.played_samples is None:
        turn.played_samples = played_samples
    return turn.stop()


def _is_cut_short(turn: RunningTurn, event: TurnFinished | TurnInterrupted) -> bool:
    """Somebody stopped it before all of it was heard."""
    played = turn.played_samples
    return played is not None and not (isinstance(event, TurnFinished) and played >= turn.reply.num_samples)
