"""The one door for the page: open, submit, listen, interrupt, reset, estimate, preview, close; knows no widget."""

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.chatml.render import DEFAULT_SYSTEM_PROMPT
from app.config import Config
from app.door import door
from app.errors import BadInput, DemoError, SessionGone
from app.media.text import clean_text
from app.session.core import SessionTools
from app.session.folder import SessionFolder, UploadGate, disk
from app.session.listening import Listening
from app.session.loading import EngineLoader, Progress
from app.session.manager import Opened, SessionManager, who_of
from app.session.memory import free_bytes
from app.session.pipeline import REAL_PIPELINE, Pipeline
from app.session.preview import VoicePreviews
from app.session.prompter import Prompter
from app.session.record import StoredFile, TurnRecord
from app.session.session import Session
from app.session.store import MAX_TITLE, Listed, Store
from app.session.stream import TurnStream
from app.session.threads import SessionThreads
from app.session.tidying import tidy
from app.session.votes import Standing, Vote, Votes, standings, to_csv
from app.types.media import VisionRules
from app.types.turn import TurnInput, TurnSettings

__all__ = [
    "CheckpointInfo", "Estimate", "Listed", "Opened", "Service", "Standing", "StoredFile", "TurnRecord", "TurnStream",
]  # fmt: skip


STORE = "conversations.sqlite3"
VOTES_FILE = "votes.csv"


@dataclass(frozen=True)
class Estimate:
    """What a turn would take. `advice`: one sentence with the cuts that would make it fit, "" when it does."""

    num_new_tokens: int
    num_context_tokens: int
    context_length: int
    num_bytes: int
    fits: bool
    advice: str


@dataclass(frozen=True)
class CheckpointInfo:
    """What the page says of the model. Until it is loaded only `name` is sure and `voices` is empty. `has_solver`: see
    `ModelSpec`."""

    name: str
    device: str
    dtype: str
    attention: str
    voices: tuple[str, ...]
    has_talker: bool
    is_random: bool
    is_micro: bool
    has_solver: bool = True


class Service:
    """Owns the engine's loader and all sessions. Every method may be called from any thread.

    The engine loads in the background: `ready` is set when that is over, `failure` says whether it went wrong.
    `upload_dirs`: the only folders whose files are ever opened.
    """

    default_system_prompt = DEFAULT_SYSTEM_PROMPT

    def __init__(
        self,
        config: Config,
        load: Callable[[Progress], Any],
        clock: Callable[[], float] = time.monotonic,
        upload_dirs: tuple[Path, ...] = (),
        pipeline: Pipeline = REAL_PIPELINE,
        resume_wait_s: float = 1.5,
    ) -> None:
        self._config = config
        self._gate = UploadGate(upload_dirs, config.limits)
        self._store = Store(config.data_dir / STORE, time.time) if config.keep_days else None
        self._votes = Votes(config.data_dir / STORE if config.keep_days else None)
        tidy(config.data_dir / "sessions", self._store, self._votes, config.keep_days, config.keep_gb, time.time())
        self._threads = SessionThreads()
        self._loader = EngineLoader(load)
        self.ready = self._loader.over
        prompter = Prompter(pipeline, config.limits, self._free_bytes, self._idle_bytes, self._make_room)
        keep = None if self._store is None else self._store.save
        self._tools = SessionTools(self._loader, prompter, self._threads, keep)
        self._sessions = SessionManager(self._create, config.keep_s, clock, resume_wait_s, store=self._store)
        self._half_bytes: int | None = None
        previews = config.data_dir / "previews"
        self._previews = VoicePreviews(
            previews, self._tools, self.default_system_prompt, config.checkpoint, config.voices
        )

    def _create(self, session_id: str, content: dict | None) -> Session:
        folder = SessionFolder(self._config.data_dir / "sessions" / session_id, self._gate, content is not None)
        session = Session(session_id, folder, self._tools, self.default_system_prompt)
        if content is not None:
            session.restore(content)
        return session

    # -- the model ---------------------------------------------------------------------------------------------------

    def loading(self) -> tuple[str, float]:
        """The stage of loading and the share of it that is done, 0 to 1; ends with ("ready", 1) or ("failed", 1)."""
        return self._loader.progress

    @property
    def failure(self) -> DemoError | None:
        """Why there is no engine, once loading is over."""
        return self._loader.failure

    @property
    def info(self) -> CheckpointInfo:
        engine = self._loader.engine
        if engine is None:
            config = self._config
            name = Path(config.checkpoint).name or "default"
            return CheckpointInfo(
                name, config.device, config.dtype, config.attention, (), not config.text_only, False, False
            )
        spec = engine.spec
        return CheckpointInfo(
            spec.name,
            spec.device,
            spec.dtype if spec.quantize == "none" else f"{spec.dtype}, {spec.quantize}",
            spec.attention,
            spec.voices,
            spec.has_talker,
            spec.is_random,
            spec.is_micro,
            spec.has_solver,
        )

    @property
    def vision_rules(self) -> VisionRules:
        """Of the pictures that the checkpoint takes; waits until it is loaded."""
        return self._loader.wait().spec.media.vision

    @property
    def output_sample_rate(self) -> int:
        """Of the speech, in Hz; waits until the checkpoint is loaded."""
        return self._loader.wait().spec.output_sample_rate

    @property
    def default_settings(self) -> TurnSettings:
        """The checkpoint's own settings of a turn, the library's until it is loaded."""
        engine = self._loader.engine
        return TurnSettings() if engine is None else engine.spec.defaults

    def preview(self, voice: str) -> Path:
        """A WAV of a fixed sentence in this voice; made at the first call, which waits for it, and kept."""
        with door("making a voice preview"):
            return self._previews.get(voice)

    # -- sessions ----------------------------------------------------------------------------------------------------

    def open(self, secret: str | None, owner: str, visitor: str = "") -> Opened:
        """A page came: its old session if `secret` is known, unexpired, this owner's and not in use; else a new one.
        `visitor`: what the browser holds for all its tabs, "" where it holds nothing."""
        with door("opening a session"):
            return self._sessions.open(secret, owner, visitor)

    def listed(self, owner: str, visitor: str, words: str = "") -> list[Listed]:
        """The conversations that are kept of this user, or without a login of this browser, the last used first."""
        with door("listing conversations"):
            return self._sessions.listed(owner, visitor, words)

    def choose(self, session_id: str, owner: str, visitor: str) -> Opened:
        """Opens one of them. Raises `SessionGone`, and `SessionBusy` where another page holds it."""
        with door("opening a conversation"):
            return self._sessions.choose(session_id, owner, visitor)

    def rename(self, session_id: str, owner: str, visitor: str, title: str) -> None:
        title = " ".join(clean_text(title).split())[:MAX_TITLE]
        if not title:
            raise BadInput("A conversation needs a name: write one.")
        with door("renaming a conversation"):
            self._sessions.rename(session_id, owner, visitor, title)

    def delete(self, session_id: str, owner: str, visitor: str) -> None:
        """Deletes one of them with all its files. Raises what `choose` raises."""
        with door("deleting a conversation"):
            self._sessions.delete(session_id, owner, visitor)
            shutil.rmtree(self._config.data_dir / "sessions" / session_id, ignore_errors=True)

    def export(self, session_id: str) -> Path:
        """The conversation as one zip, in its own folder; see `app.session.carry`."""
        with door("exporting a conversation"):
            return self._sessions.use(session_id).export()

    def take_in(self, path: Path, owner: str, visitor: str = "") -> Opened:
        """A new session that begins with the conversation in an uploaded zip; waits until the checkpoint is loaded.
        Raises `BadInput`, and then leaves nothing behind."""
        with door("importing a conversation"):
            opened = self._sessions.open(None, owner, visitor)
            try:
                self._sessions.get(opened.session_id).take_in(path)
            except BaseException:
                self._sessions.close_one(opened.session_id)
                raise
            return opened

    def leave(self, session_id: str) -> None:
        """A page left: its reply stops at once, its session is freed `keep_s` later."""
        with door("leaving a session"):
            self._sessions.leave(session_id)

    def transcript(self, session_id: str) -> tuple[TurnRecord, ...]:
        return self._sessions.get(session_id).transcript()

    def settings(self, session_id: str) -> TurnSettings:
        """Of the conversation's next turn: as they were left, else the checkpoint's own in its first voice."""
        kept = self._sessions.get(session_id).settings
        return replace(self.default_settings, voice="".join(self.info.voices[:1])) if kept is None else kept

    def system_prompt(self, session_id: str) -> str:
        return self._sessions.get(session_id).system_prompt

    def use_video_sound(self, session_id: str) -> bool:
        """Whether the videos of the next message are heard, as it was left."""
        return self._sessions.get(session_id).use_video_sound

    def note_settings(
        self, session_id: str, settings: TurnSettings, system_prompt: str, use_video_sound: bool | None = None
    ) -> None:
        """Keeps with the conversation what a page asks for; see `Session.note_settings`. What the checkpoint would do
        by itself is not written down. `use_video_sound`: None leaves it as it is. Raises `SessionGone` and
        `BadInput`."""
        session = self._sessions.get(session_id)
        # Until the checkpoint is there a page shows the library's settings, which nobody chose.
        if session.settings is None and self._loader.engine is None:
            return
        kept = (self.settings(session_id), session.system_prompt, session.use_video_sound)
        if use_video_sound is None:
            use_video_sound = session.use_video_sound
        if (settings, system_prompt, use_video_sound) != kept:
            with door("keeping settings"):
                session.note_settings(settings, system_prompt, use_video_sound)

    def reset(self, session_id: str, system_prompt: str | None = None) -> None:
        """Forgets the conversation, stopping a running reply first; None keeps the system prompt that it has."""
        with door("clearing a session"):
            self._sessions.get(session_id).reset(system_prompt)

    def drop_oldest(self, session_id: str, num_turns: int = 1) -> int:
        """Forgets the oldest turns; returns how many are left in the model's context."""
        with door("dropping turns"):
            return self._sessions.get(session_id).drop_oldest(num_turns)

    # -- turns -------------------------------------------------------------------------------------------------------

    def submit(
        self, session_id: str, turn_input: TurnInput, settings: TurnSettings, system_prompt: str | None = None
    ) -> TurnStream:
        """Begins a turn and returns at once. `system_prompt` holds if the model remembers no earlier turn.

        Raises `SessionGone`, `SessionBusy`, `BadInput` for a system prompt that is too long, and what loading failed
        with; all else that goes wrong is the stream's `TurnFailed`.
        """
        with door("submitting a turn"):
            return self._answering(session_id).submit(turn_input, settings, system_prompt)

    def again(
        self,
        session_id: str,
        turn: int,
        settings: TurnSettings,
        message: TurnInput | None = None,
        system_prompt: str | None = None,
    ) -> TurnStream:
        """Sends a turn of the conversation once more, or `message` in its place; see `Session.again`."""
        with door("sending a turn again"):
            return self._answering(session_id).again(turn, settings, message, system_prompt)

    def speak_again(self, session_id: str, turn: int, settings: TurnSettings) -> TurnStream:
        """Speaks the reply of a turn once more, in another voice or with another seed; see `Session.speak_again`."""
        with door("speaking again"):
            return self._answering(session_id).speak_again(turn, settings)

    def speak_aside(self, session_id: str, text: str, settings: TurnSettings) -> TurnStream:
        """Speaks a sentence of one's own in a voice; the conversation knows nothing of it."""
        with door("speaking a sentence"):
            return self._answering(session_id).speak_aside(text, settings)

    def choose_take(self, session_id: str, turn: int, place: int) -> TurnRecord | None:
        """Keeps another sound of a turn's reply; None where there is none."""
        with door("choosing a take"):
            return self._sessions.use(session_id).choose_take(turn, place)

    def vote(
        self, session_id: str, turn: int, places: Sequence[int], best: int, is_blind: bool, owner: str, visitor: str
    ) -> TurnRecord:
        """Of the takes `places` of a turn's reply, take `best` was liked best: the vote is counted, and the reply keeps
        that take. The changed record. Raises `BadInput` where the reply has no such takes."""
        with door("counting a vote"):
            session = self._sessions.use(session_id)
            record = next((record for record in session.transcript() if record.turn == turn), None)
            takes = () if record is None else record.takes
            if best not in places or not all(0 <= place < len(takes) for place in places):
                raise BadInput("These takes are not in the conversation any more: compare the voices again.")
            changed = session.choose_take(turn, best)
            voices = tuple(takes[place].voice for place in places)
            vote = Vote(time.time(), self.info.name, voices, takes[best].voice, is_blind)
            self._votes.add(who_of(owner, visitor), vote)
            return changed

    def standings(self, owner: str, visitor: str) -> list[Standing]:
        """How the voices of this checkpoint stand by the votes of this user, or without a login of this browser."""
        with door("reading the votes"):
            return standings(self._votes.of(who_of(owner, visitor)), self.info.name)

    def votes_csv(self, session_id: str, owner: str, visitor: str) -> Path:
        """All their votes as a table, in the session's own folder."""
        with door("writing the votes"):
            self._sessions.get(session_id)
            path = self._config.data_dir / "sessions" / session_id / VOTES_FILE
            text = to_csv(self._votes.of(who_of(owner, visitor)))
            with disk():
                path.write_text(text, encoding="utf-8", newline="")
            return path

    def take_back(self, session_id: str, turn: int) -> TurnRecord | None:
        """Takes a turn and all behind it out of the conversation; its record, None where there is none."""
        with door("taking a turn back"):
            return self._sessions.use(session_id).take_back(turn)

    def show_version(self, session_id: str, turn: int) -> bool:
        """Goes on from another version of a turn; False where there is none."""
        with door("choosing a version"):
            return self._sessions.use(session_id).show_version(turn)

    def listen(
        self,
        session_id: str,
        settings: TurnSettings,
        on_fed: Callable[[int], None],
        system_prompt: str | None = None,
        fps: float | None = None,
    ) -> Listening:
        """Begins a message that is spoken live; see `Session.listen`. Raises what `submit` raises."""
        with door("listening"):
            return self._answering(session_id).listen(settings, on_fed, system_prompt, fps)

    def interrupt(self, session_id: str, played_samples: int | None = None) -> None:
        """Stops the running reply within one step of the model; does nothing when none runs. `played_samples`: the
        reply is cut to what was heard of it."""
        self._sessions.get(session_id).interrupt(played_samples)

    def wait_idle(self, session_id: str, timeout_s: float = 10.0) -> bool:
        """True once no reply is being made."""
        return self._sessions.get(session_id).wait_idle(timeout_s)

    def cut(self, session_id: str, turn: int, played_samples: int) -> TurnRecord | None:
        """Cuts the reply of a turn to what was heard, running or just finished. The changed record of a finished one;
        None where the change comes with the turn's end or there is none."""
        with door("cutting a reply"):
            return self._sessions.get(session_id).cut(turn, max(0, played_samples))

    def stop(self, session_id: str, turn: int, played_samples: int) -> TurnRecord | None:
        """Stops whatever is being said, cut to what was heard: of `turn`, the last of which the page played anything
        (0: none), so many samples, and nothing of a later one. A reply that is not spoken keeps its text. Returns what
        `cut` returns."""
        with door("stopping a reply"):
            return self._sessions.get(session_id).stop(turn, max(0, played_samples))

    def estimate(self, session_id: str, turn_input: TurnInput, settings: TurnSettings | None = None) -> Estimate:
        """What this turn would take. Decodes its media, so it takes as long; raises `BadInput` as a submit would."""
        with door("estimating a turn"):
            fit = self._sessions.get(session_id).estimate(turn_input, settings or self.default_settings)
        return Estimate(
            fit.num_new_tokens, fit.num_context_tokens, fit.context_length, fit.num_bytes, fit.fits, fit.advice
        )

    def report_playback(
        self, session_id: str, turn: int, first_sound_s: float | None, num_underruns: int, played_samples: int
    ) -> None:
        """Adds what the browser measured to the turn's waterfall; None leaves an earlier first sound."""
        figures: dict = {"num_underruns": num_underruns, "played_samples": played_samples}
        if first_sound_s is not None:
            figures["first_sound_s"] = first_sound_s
        try:
            session = self._sessions.get(session_id)
        except SessionGone:  # the page's last report may come behind its own end
            return
        with door("storing a waterfall"):
            session.report_playback(turn, figures)

    # -- memory ------------------------------------------------------------------------------------------------------

    def _free_bytes(self) -> int | None:
        engine = self._loader.engine
        return None if engine is None else free_bytes(engine.spec.device)

    def _idle_bytes(self, session_id: str) -> int:
        return self._sessions.idle_bytes(keep=session_id)

    def _make_room(self, num_bytes: int, session_id: str) -> None:
        self._sessions.free_caches(num_bytes, keep=session_id)

    def _answering(self, session_id: str) -> Session:
        """The session that is about to be answered; the idle ones' caches stay within the budget. Raises what loading
        failed with."""
        session = self._sessions.use(session_id)
        if self.failure is not None:
            raise self.failure
        excess = self._sessions.num_bytes - self._budget_bytes()
        if excess > 0:
            self._sessions.free_caches(int(excess), keep=session_id)
        return session

    def _budget_bytes(self) -> float:
        """What all caches may take: as configured, else half of what was free when the engine was new."""
        if self._config.cache_gb:
            return self._config.cache_gb * 1e9
        if self._half_bytes is None and (free := self._free_bytes()) is not None:
            self._half_bytes = free // 2
        return math.inf if self._half_bytes is None else self._half_bytes

    def close(self) -> None:
        """Stops every reply, waits for the threads and lets the engine go."""
        self._sessions.close()
        self._loader.close()
        self._threads.close()
        if self._store is not None:
            self._store.close()
        self._votes.close()
