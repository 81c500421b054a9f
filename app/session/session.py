"""One conversation: what a person does to it, and what there is to see of it; knows no page and no other session."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from app.errors import BadInput
from app.media.text import clean_text
from app.session.archive import from_json
from app.session.booking import Booking
from app.session.core import SessionCore, SessionTools
from app.session.errands import SpeakAgain, SpeakAside
from app.session.fit import Fit
from app.session.folder import SessionFolder
from app.session.listening import Listening
from app.session.prompter import scratch_state
from app.session.record import TurnRecord
from app.session.settings import check_ranges, checked_system_prompt
from app.session.spoken import SpokenMessages
from app.session.starting import Starting
from app.session.stopping import Stopping
from app.session.stream import TurnStream
from app.session.turn import files_of
from app.types.turn import TurnInput, TurnSettings


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
        self._core = SessionCore(session_id, folder, tools, system_prompt, clock)
        booking = Booking(self._core)
        self._starting = Starting(self._core, booking)
        self._spoken = SpokenMessages(self._core, booking)
        self._stopping = Stopping(self._core, booking, self._spoken)

    @property
    def last_used(self) -> float:
        """When its newest turn began, by the clock."""
        return self._core.last_used

    @property
    def num_bytes(self) -> int:
        """What the conversation takes in the engine."""
        return self._core.history.num_bytes

    @property
    def is_idle(self) -> bool:
        """No reply is being made."""
        return self._core.running is None

    @property
    def settings(self) -> TurnSettings | None:
        """Of the next turn, as they were left; None where nobody changed what the checkpoint says of itself."""
        return self._core.history.settings

    @property
    def use_video_sound(self) -> bool:
        """Whether the next message's videos are heard, as it was left."""
        return self._core.history.use_video_sound

    @property
    def system_prompt(self) -> str:
        return self._core.history.context.system_prompt

    def transcript(self) -> tuple[TurnRecord, ...]:
        with self._core.lock:
            records, running = self._core.history.shown(), self._core.running
            if running is None or running.is_listening or running.errand is not None:
                return records
            return (*records, running.record())

    def wait_idle(self, timeout_s: float) -> bool:
        """True once no reply is being made."""
        with self._core.lock:
            return self._core.wait_until(lambda: self._core.running is None, timeout_s)

    def note_settings(self, settings: TurnSettings, system_prompt: str, use_video_sound: bool) -> None:
        """How the next turn is to be answered, kept with the conversation. No voice leaves the one that was chosen;
        `system_prompt` holds if that turn begins the conversation. Raises `BadInput`."""
        core = self._core
        check_ranges(settings)
        system_prompt = checked_system_prompt(system_prompt, core.tools.prompter.limits)
        with core.lock:
            history = core.history
            before = (history.settings, history.use_video_sound)
            if history.settings is not None and not settings.voice:
                settings = replace(settings, voice=history.settings.voice)
            history.settings = replace(settings, say=None)
            history.use_video_sound = use_video_sound
            if core.running is None:
                history.take_system_prompt(system_prompt)
            is_written = bool(history.records) and (history.settings, history.use_video_sound) != before
        if is_written:
            core.keep()

    # -- on disk -----------------------------------------------------------------------------------------------------

    def restore(self, content: dict) -> None:
        """Begins with what was kept of it. Raises `BadInput` where that is damaged."""
        core = self._core
        try:
            archive = from_json(content, core.folder.path, _as_kept)
        except BadInput:
            # Damaged settings cost the settings and not what was said.
            archive = from_json(content | {"settings": None, "use_video_sound": True}, core.folder.path, _as_kept)
        with core.lock:
            core.history.load(archive.system_prompt, dict(archive.turns), archive.path)
            core.history.settings, core.history.use_video_sound = archive.settings, archive.use_video_sound
            core.num_turns = max(archive.turns, default=0)
            # Another checkpoint may run now; it is not loaded yet.
            core.is_unproved = True

    def export(self) -> Path:
        """The conversation as a zip in its folder, see `app.session.carry`. Raises `SessionBusy` while a reply is being
        made, `BadInput` where nothing was said."""
        with self._core.lock:
            self._core.refuse_if_busy("export")
        return self._core.keeping.export()

    def take_in(self, zip_path: Path) -> None:
        """Begins with a conversation that was exported, from an uploaded file. The session must be a new one. Raises
        `BadInput`."""
        core = self._core
        engine, limits = core.tools.loader.wait(), core.tools.prompter.limits
        archive = core.keeping.read(zip_path, limits, engine.reply_ids)
        system_prompt = checked_system_prompt(archive.system_prompt, limits)
        with core.lock:
            core.history.load(system_prompt, dict(archive.turns), archive.path)
            core.history.settings, core.history.use_video_sound = archive.settings, archive.use_video_sound
            core.num_turns = max(archive.turns, default=0)
        core.keep()

    # -- what is said ------------------------------------------------------------------------------------------------

    def submit(self, turn_input: TurnInput, settings: TurnSettings, system_prompt: str | None = None) -> TurnStream:
        """Takes the turn on and returns at once; everything that goes wrong later is a `TurnFailed` in the stream.

        `system_prompt` holds if the turn begins the conversation.
        """
        system_prompt = self._core.checked(system_prompt)
        with self._core.lock:
            turn = self._core.new_turn(turn_input, settings, system_prompt)
        self._starting.begin(turn)
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
        core = self._core
        system_prompt = core.checked(system_prompt)
        with core.lock:
            core.refuse_if_busy("send it again")
            record = core.history.find(number)
            if record is None or record.sent is None or record.state == "failed":
                raise BadInput("This message is not in the conversation any more: write it again.")
            core.history.rewind(number)
            turn = core.new_turn(message or replace(record.sent, contents=()), settings, system_prompt)
            turn.replaces = number
            turn.kept = record.sent.contents if message is None else files_of(record.sent)
        self._starting.begin(turn)
        return turn.stream

    def speak_again(self, number: int, settings: TurnSettings) -> TurnStream:
        """Speaks the reply of turn `number` once more, in the voice and with the seed of `settings`; only the Talker
        and the vocoder run, and the turn keeps the new take. Its stream tells of sound alone.

        Raises what `submit` raises, and `BadInput` where there is nothing to be spoken.
        """
        core = self._core
        with core.lock:
            core.refuse_if_busy("hear it again")
            record = core.history.find(number)
            if record is None or not any(past.number == number for past in core.history.context.past):
                raise BadInput("This reply is not in the conversation any more: ask again.")
            if not record.reply_text.strip():
                raise BadInput("This reply has no words: choose another one to be spoken.")
            turn = core.new_errand(number, replace(settings, speak=True), SpeakAgain(core, self._starting))
        self._starting.begin(turn)
        return turn.stream

    def speak_aside(self, text: str, settings: TurnSettings) -> TurnStream:
        """Speaks `text` in the voice of `settings`; the conversation knows nothing of it. Raises what `submit` raises,
        and `BadInput` for a text that is empty."""
        if not clean_text(text).strip():
            raise BadInput("There is nothing to say: write a sentence first.")
        with self._core.lock:
            self._core.refuse_if_busy("hear a sentence")
            errand = SpeakAside(self._core, self._starting)
            turn = self._core.new_errand(0, replace(settings, speak=True, say=text), errand)
        self._starting.begin(turn)
        return turn.stream

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
        return self._spoken.listen(settings, on_fed, system_prompt, fps)

    # -- what a person does to the conversation ----------------------------------------------------------------------

    def choose_take(self, number: int, place: int) -> TurnRecord | None:
        """Another sound of turn `number` is the one that is kept; the changed record, None where there is none."""
        core = self._core
        with core.lock:
            core.refuse_if_busy("choose another take")
            changed = core.history.choose_take(number, place)
        core.keep()
        return changed

    def take_back(self, number: int) -> TurnRecord | None:
        """Shelves turn `number` and all behind it; its record, None where the conversation has no such turn. Raises
        `SessionBusy` while a reply is being made."""
        core = self._core
        with core.lock:
            core.refuse_if_busy("take turns back")
            record = core.history.find(number)
            if record is not None:
                core.history.rewind(number)
        core.keep()
        return record

    def show_version(self, number: int) -> bool:
        """Goes on from a shelved turn, and what followed it, instead of the one in its place. False where there is no
        such turn. Raises `SessionBusy` while a reply is being made."""
        core = self._core
        with core.lock:
            core.refuse_if_busy("choose another version")
            is_switched = core.history.switch(number)
        core.keep()
        return is_switched

    def interrupt(self, played_samples: int | None = None) -> None:
        """Stops the running reply, whatever it is at; once this returns, nothing new but the end enters its stream.

        `played_samples`: how much of its speech was heard; the reply is cut to that. None keeps what was made, and so
        does a reply that is not spoken.
        """
        self._stopping.interrupt(played_samples)

    def cut(self, number: int, played_samples: int) -> TurnRecord | None:
        """Cuts the reply of turn `number` to what was heard of it: stops it where it is still being made, else shortens
        the newest reply if it is that one. The changed record; None where there is nothing to be changed by now.
        """
        return self._stopping.cut(number, played_samples)

    def stop(self, number: int, played_samples: int) -> TurnRecord | None:
        """Stops whatever is being said. `number`: the last turn of which anything was played; of a later reply nothing
        was heard. Returns what `cut` returns.
        """
        changed = self.cut(number, played_samples)
        self.interrupt(0)
        return changed

    def reset(self, system_prompt: str | None = None) -> None:
        """Forgets everything that was said; a running reply is stopped first and belongs to nobody from then on.

        None keeps the system prompt. Raises `BadInput` for one that is too long.
        """
        system_prompt = self._core.checked(system_prompt)
        self._core.folder.forget(self._stopping.let_go(system_prompt))
        self._core.keep()

    def close(self) -> None:
        """Frees the caches; nothing can be submitted any more. A conversation that is not kept loses its folder."""
        core = self._core
        with core.lock:
            core.is_closed = True
            is_kept = core.keeping.is_on and bool(core.history.records or core.running)
        forgotten = self._stopping.let_go(None)
        if not is_kept:
            core.folder.forget(forgotten)
            core.folder.remove()

    def drop_oldest(self, num_turns: int) -> int:
        """Forgets the oldest turns of the context, with all that was shown before the first one that stays.

        Returns how many turns stay. Raises `SessionBusy` while a reply is being made.
        """
        core = self._core
        with core.lock:
            core.refuse_if_busy("drop turns")
            forgotten = core.history.drop_oldest(num_turns)
            num_left = len(core.history.context.past)
        core.folder.forget(forgotten)
        core.keep()
        return num_left

    def free_cache(self) -> int:
        """Gives the engine's memory back; the next turn writes the context afresh. Returns the bytes freed."""
        with self._core.lock:
            if self._core.running is not None:
                return 0
            return self._core.history.give_up_state()

    def estimate(self, turn_input: TurnInput, settings: TurnSettings) -> Fit:
        """What this turn would take, without sending it."""
        core = self._core
        engine, prompter = core.tools.loader.wait(), core.tools.prompter
        parts = prompter.decode(engine, core.folder.check(turn_input))
        with core.lock:
            context = core.proved(engine)
        with scratch_state(engine) as scratch:
            target = scratch if context.state is None else context.state
            prompt = prompter.render(engine, context, target, parts, settings.say)
            return prompter.estimate(engine, self.session_id, context, parts, prompt, settings)

    def report_playback(self, turn: int, figures: dict) -> None:
        """Merges what the browser measured into the turn's waterfall; a turn that was forgotten is ignored."""
        core = self._core
        with core.lock:
            if core.running is not None and core.running.number == turn:
                core.running.note_figures(figures)
                return
            record = core.history.note_figures(turn, figures)
            if record is not None:
                core.folder.write_timings(turn, record.timings)


def _as_kept(ids: Sequence[int], text: str) -> Sequence[int]:
    """What a reply's ids are is seen when the checkpoint is there."""
    return ids
