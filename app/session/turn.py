"""One turn while it runs: its stream, its growing reply, and who may end it; knows no context and no disk."""

import mimetypes
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.errors import DemoError
from app.session.record import Reply, StoredFile, TurnRecord
from app.session.stream import TurnStream
from app.types.events import Event, StageTimed, TurnFailed, TurnFinished, TurnInterrupted, TurnMetrics, TurnStarted
from app.types.prompt import Boundary
from app.types.turn import AudioPart, FileInput, ImagePart, Part, TextInput, TurnInput, TurnSettings


class RunningTurn:
    """Owns what changes while a turn runs.

    Its session's lock guards all public attributes. `is_stopped`: somebody asked for its end; `is_over`: its end is
    booked; `is_orphan`: its conversation was cleared under it. `handle` and `state` are there once the engine has it.
    `is_listening`: its message is still being spoken. `is_open`: it answers a message that may still go on, so its end
    waits; `is_taken_back`: the message went on. `played_samples`: of the speech, when somebody stopped it, as the
    player tells; None where it was not cut short. `is_ending`: its end is being booked, too late for such a figure.
    `replaces`: the turn in whose place it stands, which comes back if this one fails; `kept`: what it has of that one's
    message, the files or everything. `errand`: what it does where it is no turn.
    """

    def __init__(self, number: int, turn_input: TurnInput, settings: TurnSettings, clock: Callable[[], float]) -> None:
        self.number = number
        self.turn_input = turn_input
        self.settings = settings
        self.submitted_at = clock()
        self.stream = TurnStream(number)
        self.reply = Reply()
        self.is_stopped = False
        self.is_over = False
        self.is_orphan = False
        self.is_listening = False
        self.is_open = False
        self.is_taken_back = False
        self.is_ending = False
        self.errand: Any = None
        self.end_waits: Event | None = None
        self.played_samples: int | None = None
        self.handle: Any = None
        self.state: Any = None
        self.size_before: tuple | None = None
        self.num_opening = 0
        self.boundaries: tuple[Boundary, ...] = ()
        self.stored: TurnInput | None = None
        self.files: tuple[StoredFile, ...] = ()
        self.replaces: int | None = None
        self.kept: tuple[TextInput | FileInput, ...] = ()
        self._clock = clock
        self._lock = threading.Lock()
        self._early: list[tuple[str, float, float]] = []
        self._withheld: list[Event] | None = None

    def again(self) -> "RunningTurn":
        """An attempt to answer what is being said, from now on."""
        turn = RunningTurn(self.number, self.turn_input, self.settings, self._clock)
        turn.state, turn.size_before, turn.num_opening = self.state, self.size_before, self.num_opening
        turn.boundaries = self.boundaries
        turn.is_open = True
        return turn

    def elapsed_s(self) -> float:
        return self._clock() - self.submitted_at

    def note_stage(self, stage: str, start_s: float) -> None:
        """A stage before the engine's ended now; it is reported behind `TurnStarted`, as the grammar wants."""
        self._early.append((stage, start_s, self.elapsed_s() - start_s))

    def accept(self, event: Event) -> None:
        """Takes one event that does not end the turn. Called by the engine's thread, hence quick."""
        with self._lock:
            self._pass_on(event)
            if isinstance(event, TurnStarted):
                for stage, start_s, duration_s in self._early:
                    self._pass_on(StageTimed(self.number, event.t_s, stage, start_s, duration_s))

    def _pass_on(self, event: Event) -> None:
        self.reply.add(event)
        if self._withheld is None:
            self.stream.put(event)
        else:
            self._withheld.append(event)

    def stop(self) -> bool:
        """Nothing but the end is reported from now on, unless the reply turns out to have been complete already.

        True when the engine has the turn and will end it.
        """
        self.is_stopped = True
        with self._lock:
            if self._withheld is None:
                self._withheld = []
        if self.handle is not None:
            self.handle.stop()
        return self.handle is not None

    def note_figures(self, figures: dict) -> None:
        with self._lock:
            self.reply.figures |= figures

    def end(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, TurnFinished):
                for withheld in self._withheld or ():
                    self.stream.put(withheld)
            self.stream.put(event)

    def failed(self, error: DemoError) -> TurnFailed:
        return TurnFailed(self.number, self.elapsed_s(), error.message, error.code)

    def interrupted(self) -> TurnInterrupted:
        elapsed_s = self.elapsed_s()
        return TurnInterrupted(self.number, elapsed_s, "", TurnMetrics(total_s=elapsed_s))

    def record(self) -> TurnRecord:
        """The turn as people see it while it runs."""
        return self._record("running", self.reply.text, None, "")

    def ended(self, event: Event, wav: Path | None, message: str) -> TurnRecord:
        """The turn as people see it once `event` ended it: with as much of the reply as stays."""
        if isinstance(event, TurnFinished):
            return self._record("done", self.reply.text, wav, message)
        if isinstance(event, TurnInterrupted):
            return self._record("interrupted", event.heard_text, wav, message)
        return self._record("failed", "", None, message)

    def _record(self, state: str, reply_text: str, wav: Path | None, message: str) -> TurnRecord:
        with self._lock:
            return TurnRecord(
                turn=self.number,
                user_text=text_of(self.stored or self.turn_input),
                files=self.files,
                reply_text=reply_text,
                wav=wav,
                state=state,
                voice=self.reply.voice,
                message=message,
                timings=self.reply.timings(self.number),
                sent=self.stored,
            )


def kind_of(part: Part) -> str:
    if isinstance(part, ImagePart):
        return "image"
    return "audio" if isinstance(part, AudioPart) else "video"


def guess_kind(path: Path) -> str:
    """What the name says, until the file is decoded."""
    kind = (mimetypes.guess_type(path.name)[0] or "").partition("/")[0]
    return kind if kind in ("image", "audio", "video") else "image"


def text_of(turn_input: TurnInput) -> str:
    return "\n".join(content.text for content in turn_input.contents if isinstance(content, TextInput))


def files_of(turn_input: TurnInput) -> tuple[FileInput, ...]:
    return tuple(content for content in turn_input.contents if isinstance(content, FileInput))
