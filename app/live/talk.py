"""Whose turn it is to speak: from sound that comes in to messages, answers and interruptions; knows no socket.

All of it runs in one thread, the talk's own, which may wait for the model: `put` hands it what the browser sent. What
the browser is to know goes through `send`, which any thread may call and which never waits.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from app.door import door
from app.errors import DemoError, SessionBusy
from app.live.detector import Mark, SpeechDetector, Timing
from app.live.protocol import SAMPLE_RATE, Command, Picture, Sound, write_json, write_speech
from app.media.image import decode_jpeg
from app.media.video import fit_frame
from app.session.listening import Listening
from app.session.stream import TurnStream
from app.types.events import (
    AudioChunk,
    Event,
    Prefilled,
    TextDelta,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    TurnQueued,
)
from app.types.turn import TurnSettings

# Sound that is kept for a message that may begin in it.
KEPT_S = 3.0
# A message ends here whatever the person does.
MAX_MESSAGE_S = 300.0
# Pictures that are kept for a message that may begin, and how old the newest may be for the camera to be on.
MAX_PICTURES = 8
# Turns whose events are kept for the page until it asks.
MAX_STREAMS = 4
FRESH_S = 3.0


@dataclass(frozen=True)
class TalkOptions:
    """`hands_free`: speech begins and ends messages by itself; else `talk` and `talk_end` do. `interruptible`: speaking
    over a reply stops it. `trial_answers`: begin to answer in a pause. `fps`: of the pictures, where there are any."""

    hands_free: bool = True
    interruptible: bool = True
    trial_answers: bool = True
    timing: Timing = Timing()
    fps: float = 2.0


class Talk:
    """Owns the microphone's stream, the message that is being spoken and the reply that is being played.

    `service` and `session_id`: the conversation. `settings()`: of the next turn, with its system prompt.
    """

    def __init__(
        self,
        service: Any,
        session_id: str,
        settings: Callable[[], tuple[TurnSettings, str | None]],
        send: Callable[[str | bytes], None],
        options: TalkOptions | None = None,
        detector: SpeechDetector | None = None,
    ) -> None:
        self._service = service
        self._session_id = session_id
        self._settings = settings
        self._send = send
        self._options = options or TalkOptions()
        self._detector = detector or SpeechDetector(self._options.timing)
        # The newest sound: where it begins in the stream, and its pieces.
        self._kept: deque[np.ndarray] = deque()
        self._kept_from = 0
        self._num_heard = 0
        # The newest pictures, with their places in the sound.
        self._pictures: deque[tuple[int, np.ndarray]] = deque(maxlen=MAX_PICTURES)
        self._sound_at = 0
        self._listening: Listening | None = None
        self._listening_from = 0
        # Where the message goes on that is being heard; None while nobody speaks.
        self._said_until: int | None = None
        self._sees = False
        self._state = ""
        # The reply that is being played: its turn, and whether it was asked to be silent for a moment.
        self._playing: int | None = None
        self._is_hushed = False
        self._hushed_at: int | None = None
        self._is_meant = False
        self._lock = threading.Lock()
        self._streams: dict[int, TurnStream] = {}
        self._inbox: queue.SimpleQueue[Sound | Picture | Command | None] = queue.SimpleQueue()
        self._tell("listening")
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()

    # -- what the browser sends --------------------------------------------------------------------------------------

    def put(self, message: Sound | Picture | Command) -> None:
        """From any thread; what goes wrong with it is told as an `error` event, and the talk goes on."""
        self._inbox.put(message)

    @property
    def backlog(self) -> int:
        """Messages that wait."""
        return self._inbox.qsize()

    def pause(self) -> None:
        """The connection is lost and may come back: what was being said is no message."""
        self.put(Command("lost", {}))

    def close(self) -> None:
        """The connection is gone: what was being said is no message, a reply goes on until the session stops it."""
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (message := self._inbox.get()) is not None:
            self._take(message)
        with suppress(DemoError), door("a live conversation"):
            self._drop_message()

    def _take(self, message: Sound | Picture | Command) -> None:
        try:
            with door("a live conversation"):
                match message:
                    case Sound(at_ms, samples):
                        # Both clocks are the browser's: what it took at one time belongs together.
                        self._sound_at = self._num_heard - at_ms * SAMPLE_RATE // 1000
                        self._hear(samples)
                    case Picture(at_ms, jpeg):
                        self._see(at_ms, jpeg)
                    case Command(kind, fields):
                        self._obey(kind, fields)
        except DemoError as error:
            self._drop_message()
            self._send(write_json("error", code=error.code, message=error.message))
            self._tell("listening")

    def _hear(self, samples: np.ndarray) -> None:
        self._kept.append(samples)
        self._num_heard += len(samples)
        marks = self._detector.push(samples)
        if self._options.hands_free:
            for mark in marks:
                self._on_mark(mark)
        if self._said_until is not None and self._listening is not None:
            self._pass_on(self._num_heard)
            if self._listening.is_full or self._listening.duration_s > MAX_MESSAGE_S:
                self._send(write_json("notice", code="message_full"))
                self._answer()
        self._forget_old()

    def _see(self, at_ms: int, jpeg: bytes) -> None:
        pixels = fit_frame(decode_jpeg(jpeg), self._service.vision_rules)
        size = self._pictures[-1][1].shape if self._pictures else pixels.shape
        if pixels.shape != size:
            # The camera was turned or changed: what comes from now on is another clip.
            self._pictures.clear()
            if self._listening is not None:
                return
        sample = self._sound_at + at_ms * SAMPLE_RATE // 1000
        self._pictures.append((sample, pixels))
        if self._listening is not None and self._sees:
            self._show(sample, pixels)

    def _show(self, sample: int, pixels: np.ndarray) -> None:
        self._listening.see(pixels, max(0.0, (sample - self._listening_from) / SAMPLE_RATE))

    def _obey(self, kind: str, fields: dict[str, Any]) -> None:
        match kind:
            case "talk":
                self._begin(max(0, self._num_heard - round(self._options.timing.pre_roll_s * SAMPLE_RATE)))
                self._is_meant = True
                if self._playing is not None:
                    self._hush()
                else:
                    self._listen()
            case "talk_end":
                self._end_message()
            case "played":
                self._on_played(fields["turn"], fields["samples"], fields.get("is_playing", True))
            case "hushed":
                self._on_hushed(fields["turn"], fields["samples"])
            case "stop":
                self._service.cut(self._session_id, fields["turn"], fields["samples"])
                self._on_silent()
            case "options":
                self._take_options(fields)
            case "ping":
                self._send(write_json("pong", **fields))
            case "lost":
                self._drop_message()
                self._detector.reset()
                self._go_on()

    def _take_options(self, fields: dict[str, Any]) -> None:
        timing = self._options.timing
        if "silence_ms" in fields:
            silence_s = fields["silence_ms"] / 1000
            timing = replace(timing, silence_s=silence_s, pause_s=min(Timing.pause_s, silence_s))
        chosen = {name: fields[name] for name in ("hands_free", "interruptible") if name in fields}
        self._options = replace(self._options, timing=timing, **chosen)
        self._detector.timing = timing

    # -- from speech to a message ------------------------------------------------------------------------------------

    def _on_mark(self, mark: Mark) -> None:
        match mark.kind:
            case "begin":
                if self._playing is not None and not self._options.interruptible:
                    return
                self._begin(mark.sample)
                if self._playing is not None:
                    # At once and for a moment; whether it is meant, the next 0.3 s tell.
                    self._hush()
                else:
                    self._listen()
            case "speech":
                if self._said_until is None:
                    return
                self._is_meant = True
                self._interrupt()
                self._listen()
            case "pause":
                if self._listening is not None and self._options.trial_answers:
                    self._pass_on(self._num_heard)
                    self._listening.begin_answer()
            case "resume":
                if self._listening is not None:
                    self._listening.go_on()
            case "end":
                self._end_message()
            case "false":
                self._drop_message()
                self._go_on()

    def _end_message(self) -> None:
        if self._is_hushed and self._is_meant:
            # The browser has not told where it fell silent, and never will.
            self._is_hushed = False
            self._interrupt()
            self._listen()
        if self._listening is not None:
            self._answer()
        self._said_until = None

    def _begin(self, sample: int) -> None:
        self._said_until = max(sample, self._kept_from)
        self._is_meant = False
        self._tell("hearing")

    def _listen(self) -> None:
        """Opens the message, unless a reply is still in the way."""
        if self._listening is not None or self._said_until is None or self._is_hushed:
            return
        settings, system_prompt = self._settings()
        oldest = self._num_heard - round(FRESH_S * SAMPLE_RATE)
        self._sees = bool(self._pictures) and self._pictures[-1][0] >= oldest
        listen = partial(
            self._service.listen, self._session_id, settings, self._on_fed, system_prompt,
            self._options.fps if self._sees else None,
        )  # fmt: skip
        try:
            self._listening = listen()
        except SessionBusy:
            if not self._options.interruptible:
                self._said_until = None
                raise
            self._service.interrupt(self._session_id)
            self._service.wait_idle(self._session_id)
            self._listening = listen()
        self._listening_from = self._said_until
        if self._sees:
            for sample, pixels in self._pictures:
                self._show(sample, pixels)
        self._pass_on(self._num_heard)

    def _pass_on(self, until: int) -> None:
        """Hands the kept sound up to `until` to the message."""
        if self._listening is None or self._said_until is None or self._listening.is_answering:
            return
        start, self._said_until = self._said_until, until
        samples = self._cut_out(start, until)
        if len(samples):
            self._listening.hear(samples)

    def _cut_out(self, start: int, end: int) -> np.ndarray:
        if not self._kept or end <= start:
            return np.zeros(0, np.float32)
        whole = np.concatenate(self._kept)
        return whole[max(0, start - self._kept_from) : end - self._kept_from]

    def _forget_old(self) -> None:
        oldest = self._num_heard - round(KEPT_S * SAMPLE_RATE)
        if self._said_until is not None:
            oldest = min(oldest, self._said_until)
        while self._kept and self._kept_from + len(self._kept[0]) <= oldest:
            self._kept_from += len(self._kept.popleft())

    def _on_fed(self, num_tokens: int) -> None:
        self._send(write_json("fed", tokens=num_tokens))

    def _answer(self) -> None:
        listening, self._listening = self._listening, None
        self._said_until = None
        stream = listening.answer()
        self._playing = stream.turn
        self._tell("thinking")
        copy = TurnStream(stream.turn)
        with self._lock:
            self._streams[stream.turn] = copy
            while len(self._streams) > MAX_STREAMS:
                del self._streams[min(self._streams)]
        self._send(write_json("turn", turn=stream.turn, heard_s=round(listening.duration_s, 3)))
        threading.Thread(target=self._follow, args=(stream, copy), name="live reply", daemon=True).start()

    def _drop_message(self) -> None:
        listening, self._listening = self._listening, None
        self._said_until = None
        if listening is not None:
            listening.cancel()

    # -- interruption ------------------------------------------------------------------------------------------------

    def _on_played(self, turn: int, samples: int, is_playing: bool) -> None:
        """The browser tells now and then how far it is, and when it is through."""
        if turn != self._playing:
            return
        if is_playing:
            self._tell("speaking")
        else:
            self._on_silent()
            if self._state in ("speaking", "thinking"):
                self._tell("listening")

    def _on_silent(self) -> None:
        """Nothing is played any more; a message that waited for that may be taken in."""
        self._playing, self._is_hushed = None, False
        if self._is_meant:
            self._listen()

    def _on_hushed(self, turn: int, samples: int) -> None:
        """The browser fell silent after so many samples."""
        if turn == self._playing:
            self._hushed_at = samples
            if self._is_meant:
                self._interrupt()
                self._listen()

    def _hush(self) -> None:
        """Asks the browser to be silent for a moment, and to tell where."""
        self._is_hushed, self._hushed_at = True, None
        self._send(write_json("hush", turn=self._playing))

    def _go_on(self) -> None:
        """It was no message: a reply that was hushed is played on."""
        if self._is_hushed:
            self._is_hushed = False
            self._send(write_json("go_on", turn=self._playing))
        self._tell("speaking" if self._playing is not None else "listening")

    def _interrupt(self) -> None:
        """Ends the reply that is being played, cut to what was heard; waits for that figure where it is on its way."""
        if self._playing is None:
            return
        if self._is_hushed and self._hushed_at is None:
            return
        turn, played = self._playing, self._hushed_at
        self._playing, self._is_hushed, self._hushed_at = None, False, None
        if played is None:
            self._service.interrupt(self._session_id)
        else:
            self._service.cut(self._session_id, turn, played)
        self._service.wait_idle(self._session_id)
        self._send(write_json("cut", turn=turn))

    # -- the reply ---------------------------------------------------------------------------------------------------

    def take_stream(self, turn: int) -> TurnStream | None:
        """The events of a live turn for one more listener, from its first on; once."""
        with self._lock:
            return self._streams.pop(turn, None)

    def _follow(self, stream: TurnStream, copy: TurnStream) -> None:
        """Passes a turn's events on; in a thread of its own."""
        is_spoken = False
        for event in stream:
            copy.put(event)
            is_spoken |= isinstance(event, AudioChunk)
            message = _message_of(event)
            if message is not None:
                self._send(message)
        if not is_spoken:
            self.put(Command("played", {"turn": stream.turn, "samples": 0, "is_playing": False}))

    def _tell(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._send(write_json("state", state=state))


def _message_of(event: Event) -> str | bytes | None:
    match event:
        case AudioChunk():
            return write_speech(event)
        case TextDelta(text=text) if text:
            return write_json("text", turn=event.turn, text=text)
        case TurnQueued(num_ahead=num_ahead):
            return write_json("queued", turn=event.turn, ahead=num_ahead)
        case Prefilled(num_new=num_new, num_reused=num_reused):
            return write_json("prefilled", turn=event.turn, new=num_new, reused=num_reused)
        case TurnFinished(metrics=metrics) | TurnInterrupted(metrics=metrics):
            how = "done" if isinstance(event, TurnFinished) else "interrupted"
            first_s = {"ttft_s": metrics.ttft_s, "first_packet_s": metrics.first_packet_s}
            return write_json("end", turn=event.turn, how=how, **first_s)
        case TurnFailed(message=message, code=code):
            return write_json("end", turn=event.turn, how="failed", message=message, code=code)
    return None
