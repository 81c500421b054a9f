"""An engine without a model: scripted words and a tone behind the real engine's interface, for tests and the page."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from app.config import Config
from app.engine.spec import MelRules, ModelSpec, PixelRules, TokenIds
from app.errors import BadInput
from app.service import Service
from app.session.pipeline import Pipeline
from app.types.events import (
    AudioChunk,
    CodecDelta,
    Event,
    Prefilled,
    StageTimed,
    TextDelta,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    TurnMetrics,
    TurnQueued,
    TurnStarted,
)
from app.types.media import Audio, Image, MediaRules, Video, VisionRules
from app.types.prompt import Append, Boundary, Prompt, Segment
from app.types.turn import AudioPart, ImagePart, Part, TextInput, TextPart, TurnInput, TurnSettings, VideoPart

SAMPLE_RATE = 24_000
CODEC_FRAME_S = 0.02
FRAMES_PER_CHUNK = 12
FIRST_PACKET_FRAMES = 24
END_ID = 0
VOICES = ("Chelsie", "Ethan")
WORDS = tuple(
    "Hello! I am only a **tone** that speaks in tune with these words, so that a page can be seen with no "
    "model. 你好，世界。 Привет! Each word comes when it is ready, and the sound keeps up with it until the very end "
    "of the sentence.".split(" ")
)


def fake_spec(**changes) -> ModelSpec:
    spec = ModelSpec(
        family="qwen2_5_omni", name="fake", device="cpu", dtype="float32", attention="sdpa", has_talker=True,
        voices=VOICES, context_length=8192, ids=TokenIds(1, 2, 3, 4, 5, 6, 7, 8, 9, (2,)),
        media=MediaRules(16_000, VisionRules(14, 2, 2, 3136, 12_845_056, 100_352, 602_112, 2.0, 4, 768)),
        mel=MelRules(128, 16_000, 400, 160, 200), pixels=PixelRules((0.5,) * 3, (0.5,) * 3),
        position_ids_per_s=25.0, s_per_chunk=2.0, output_sample_rate=SAMPLE_RATE, codec_frame_s=CODEC_FRAME_S,
        bytes_per_token=100, is_random=True,
    )  # fmt: skip
    return replace(spec, **changes)


class FakeState:
    """The ids of one conversation; what a real state keeps of them in tensors is not needed here."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.pending_ids: tuple[int, ...] = ()
        self.is_closed = False

    @property
    def num_tokens(self) -> int:
        return len(self.ids)

    @property
    def next_position(self) -> int:
        return len(self.ids)

    top_position = next_position

    @property
    def num_bytes(self) -> int:
        return 100 * len(self.ids)

    def mark(self) -> tuple:
        return len(self.ids), self.pending_ids

    def mark_at(self, boundary: Boundary) -> tuple:
        return boundary.num_tokens, ()

    def trim(self, mark: tuple) -> None:
        del self.ids[mark[0] :]
        self.pending_ids = mark[1]

    def cut_reply(self, num_ids: int, num_kept: int) -> None:
        num_cached = num_ids - len(self.pending_ids)
        del self.ids[len(self.ids) - num_cached + min(num_kept, num_cached) :]
        self.pending_ids = self.pending_ids[: max(0, num_kept - num_cached)]

    def close(self) -> None:
        self.ids, self.pending_ids, self.is_closed = [], (), True


@dataclass(frozen=True)
class Script:
    """What every turn of a fake engine does.

    `tick_s`: time per step, 0 runs as fast as it goes. `hold_at_step`: wait there for `FakeEngine.release`.
    `fail_at_step`: end there with `TurnFailed`. `steps_per_word`: codec frames per text token.
    """

    words: tuple[str, ...] = WORDS
    steps_per_word: int = 5
    tick_s: float = 0.0
    hold_at_step: int | None = None
    fail_at_step: int | None = None


class FakeHandle:
    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.over = threading.Event()
        self.is_begun_too_early = False
        self.was_taken_back = False

    def stop(self) -> None:
        self.stopped.set()

    def take_back(self) -> bool:
        self.is_begun_too_early = True
        self.stopped.set()
        self.over.wait()
        return self.was_taken_back


class FakeFeed:
    """Appends at once what is put."""

    def __init__(self, state: FakeState, on_fed: Callable[[int], None], opening: tuple | None) -> None:
        self._state, self._on_fed = state, on_fed
        self.opening = opening or state.mark()
        state.trim(self.opening)
        self._starts: list[tuple] = []

    def put(self, append: Append) -> None:
        if append.num_taken_back:
            self._state.trim(self._starts[-append.num_taken_back])
            del self._starts[-append.num_taken_back :]
        self._state.pending_ids = ()
        for segment in append.segments:
            self._starts.append(self._state.mark())
            self._state.ids += segment.token_ids.tolist()
        self._on_fed(self._state.num_tokens - self.opening[0])

    def cancel(self) -> None:
        self._state.trim(self.opening)

    def wait_over(self, timeout_s: float | None = None) -> bool:
        return True


class FakeTokenizer:
    """A token per character."""

    added_tokens_decoder: dict = {}

    def __call__(self, text: str, **options) -> dict[str, list[int]]:
        return {"input_ids": [20 + ord(char) % 900 for char in text]}


class FakeEngine:
    """One worker thread runs one turn after the other; those that wait are told so."""

    def __init__(self, script: Script = Script(), spec: ModelSpec | None = None) -> None:
        self.spec = spec or fake_spec()
        self.tokenizer = FakeTokenizer()
        self.script = script
        self.reached = threading.Event()
        self.release = threading.Event()
        self.states: list[FakeState] = []
        self.spoken_again: list[tuple] = []
        self._changed = threading.Condition()
        self._waiting: list[tuple] = []
        self._is_running = False
        self._is_closed = threading.Event()
        self._worker = threading.Thread(target=self._work, name="fake engine", daemon=True)
        self._worker.start()

    def decode(self, token_ids: Sequence[int]) -> str:
        """Of the script's words."""
        words = {word_id(word): word for word in self.script.words}
        return " ".join(words[id_] for id_ in token_ids if id_ in words)

    def reply_ids(self, ids: Sequence[int], text: str) -> tuple[int, ...]:
        return tuple(ids) if self.decode(ids) == text else tuple(word_id(word) for word in text.split(" "))

    def listen(self, state: FakeState, on_fed: Callable[[int], None], opening: tuple | None = None) -> FakeFeed:
        return FakeFeed(state, on_fed, opening)

    def new_state(self) -> FakeState:
        self.states.append(FakeState())
        return self.states[-1]

    def submit(
        self, state: FakeState, prompt: Prompt, settings: TurnSettings, turn: int,
        on_event: Callable[[Event], None], submitted_at: float | None = None, feed: FakeFeed | None = None,
    ) -> FakeHandle:  # fmt: skip
        handle = FakeHandle()
        since = time.monotonic() if submitted_at is None else submitted_at
        with self._changed:
            num_ahead = len(self._waiting) + self._is_running
            if num_ahead:
                on_event(TurnQueued(turn, time.monotonic() - since, num_ahead))
            self._waiting.append((state, prompt, settings, turn, on_event, since, handle))
            self._changed.notify_all()
        return handle

    def speak_again(
        self, state: FakeState, prompt: Prompt, settings: TurnSettings, turn: int,
        on_event: Callable[[Event], None], submitted_at: float | None = None, *, end, reply_ids, num_states,
    ) -> FakeHandle:  # fmt: skip
        """Writes at once what the state lacks, then speaks as many words as the reply has."""
        self.spoken_again.append((turn, tuple(reply_ids), num_states))
        for segment in prompt.segments:
            state.ids += segment.token_ids.tolist()
            state.pending_ids = ()
        humming = replace(settings, say=" ".join(["la"] * num_states))
        return self.submit(FakeState(), Prompt(()), humming, turn, self._without_text(on_event), submitted_at)

    @staticmethod
    def _without_text(on_event: Callable[[Event], None]) -> Callable[[Event], None]:
        return lambda event: None if isinstance(event, TextDelta) else on_event(event)

    def close(self) -> None:
        self._is_closed.set()
        self.release.set()
        with self._changed:
            for job in self._waiting:
                job[-1].stop()
            self._changed.notify_all()
        self._worker.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._is_running = False
                self._changed.wait_for(lambda: self._waiting or self._is_closed.is_set())
                if not self._waiting:
                    return
                job = self._waiting.pop(0)
                self._is_running = True
            FakeTurn(self, *job).run()
            job[-1].over.set()


class FakeTurn:
    """Emits one scripted turn."""

    def __init__(self, engine, state, prompt, settings, turn, on_event, since, handle) -> None:
        self._engine, self._state, self._prompt, self._settings = engine, state, prompt, settings
        self._turn, self._on_event, self._since, self._handle = turn, on_event, since, handle
        self._mark = state.mark()
        self._num_samples = 0
        self._num_frames = 0
        self._said: list[str] = []
        self._times: dict[str, float] = {}

    def run(self) -> None:
        script, settings = self._engine.script, self._settings
        speaks = settings.speak and self._engine.spec.has_talker
        voice = (settings.voice or VOICES[0]) if speaks else ""
        self._emit(TurnStarted, voice=voice, seed=settings.seed if settings.seed is not None else 7)
        num_reused = self._state.num_tokens
        self._state.pending_ids = ()
        for segment in self._prompt.segments:
            self._state.ids += segment.token_ids.tolist()
        self._emit(StageTimed, stage="prefill", start_s=self._now(), duration_s=0.001)
        self._emit(Prefilled, num_new=self._prompt.num_tokens, num_reused=num_reused)
        words = script.words if settings.say is None else tuple(settings.say.split(" "))
        words = words[: settings.thinker.max_new_tokens]
        ids = [word_id(word) for word in words] + [END_ID]
        num_steps = len(ids) * script.steps_per_word if speaks else len(ids)
        per_word = script.steps_per_word if speaks else 1
        for step in range(num_steps):
            if step == script.hold_at_step:
                self._engine.reached.set()
                self._wait_released()
            if script.tick_s:
                self._handle.stopped.wait(script.tick_s)
            if self._handle.stopped.is_set() or self._engine._is_closed.is_set():
                return self._stop()
            if step == script.fail_at_step:
                self._state.trim(self._mark)
                return self._emit(TurnFailed, message="The model failed on this turn: try again.", code="internal")
            if step % per_word == 0:
                self._say(words, ids, step // per_word)
            if speaks:
                self._sound(step, num_steps, voice)
        self._emit(TurnFinished, metrics=self._metrics("eos"))

    def _wait_released(self) -> None:
        while not (self._engine.release.wait(0.01) or self._handle.stopped.is_set()):
            pass

    def _say(self, words: tuple[str, ...], ids: list[int], index: int) -> None:
        self._state.ids += self._state.pending_ids
        self._state.pending_ids = (ids[index],)
        text = "" if index == len(words) else (words[index] if index == 0 else " " + words[index])
        self._said.append(text)
        self._times.setdefault("ttft_s", self._now())
        self._emit(TextDelta, text=text, text_ids=(ids[index],))

    def _sound(self, step: int, num_steps: int, voice: str) -> None:
        self._num_frames += 1
        self._times.setdefault("first_codec_s", self._now())
        self._emit(CodecDelta, codec_ids=(step % 8192,))
        done = step + 1
        if done < FIRST_PACKET_FRAMES and done < num_steps:
            return
        samples_end = int(done * CODEC_FRAME_S * SAMPLE_RATE)
        if done % FRAMES_PER_CHUNK and done != num_steps:
            return
        times = np.arange(self._num_samples, samples_end) / SAMPLE_RATE
        pitch = 220.0 if voice == VOICES[0] else 330.0
        wave = (0.2 * np.sin(2 * np.pi * pitch * times) * (0.7 + 0.3 * np.sin(2 * np.pi * 3 * times))).astype(
            np.float32
        )
        self._times.setdefault("first_packet_s", self._now())
        self._emit(AudioChunk, start_sample=self._num_samples, samples=wave, sample_rate=SAMPLE_RATE)
        self._num_samples = samples_end

    def _stop(self) -> None:
        self._handle.was_taken_back = self._handle.is_begun_too_early
        if not self._said or self._handle.was_taken_back:
            self._state.trim(self._mark)
        self._emit(TurnInterrupted, heard_text="".join(self._said), metrics=self._metrics(""))

    def _metrics(self, end: str) -> TurnMetrics:
        audio_s = self._num_samples / SAMPLE_RATE
        total_s = self._now()
        return TurnMetrics(
            num_prompt_tokens=self._prompt.num_tokens, num_reused_tokens=self._mark[0], num_text_tokens=len(self._said),
            num_codec_frames=self._num_frames, audio_s=audio_s, **self._times, total_s=total_s,
            rtf=total_s / audio_s if audio_s else None, text_end=end, speech_end=end,
        )  # fmt: skip

    def _now(self) -> float:
        return time.monotonic() - self._since

    def _emit(self, kind: type[Event], **values) -> None:
        self._on_event(kind(self._turn, self._now(), **values))


# -- a decoder and renderers in the same spirit: one token per character or medium -----------------------------------


def word_id(word: str) -> int:
    return 1000 + sum(map(ord, word)) % 5000


def fake_decode(turn_input: TurnInput, rules: MediaRules, limits) -> tuple[Part, ...]:
    """Text as it is; a file becomes a small medium of the kind that it claims to be. "corrupt" in it makes it bad."""
    if all(isinstance(content, TextInput) and not content.text.strip() for content in turn_input.contents):
        raise BadInput("Write something or add a file, then send.")
    parts: list[Part] = []
    for content in turn_input.contents:
        if isinstance(content, TextInput):
            parts.append(TextPart(content.text))
        elif b"corrupt" in content.path.read_bytes()[:100]:
            raise BadInput("The file cannot be read: send another one.")
        else:
            parts.append(_medium(content.kind or _kind_by_suffix(content.path)))
    return tuple(parts)


def _kind_by_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in (".wav", ".mp3", ".flac", ".ogg", ".m4a"):
        return "audio"
    return "video" if suffix in (".mp4", ".webm", ".mkv", ".mov") else "image"


def _medium(kind: str) -> Part:
    if kind == "audio":
        return AudioPart(Audio(np.zeros(16_000, np.float32), 16_000))
    if kind == "video":
        return VideoPart(Video(np.zeros((20, 28, 28, 3), np.uint8), 2.0, None))
    return ImagePart(Image(np.zeros((28, 28, 3), np.uint8)))


def _ids_of(part: Part) -> list[int]:
    if isinstance(part, TextPart):
        return [20 + ord(char) % 900 for char in part.text]
    if isinstance(part, VideoPart):
        return [7] * (10 * len(part.video.frames))
    return [3] * 25 if isinstance(part, AudioPart) else [6] * 16


def _message_ids(parts) -> list[int]:
    return [1, 11, *(one for part in parts for one in _ids_of(part)), 2, 1, 12]


def _prompt(ids: list[int], start: int, reply: str | None) -> Prompt:
    positions = torch.arange(start, start + len(ids)).expand(3, -1)
    reply_ids = None if reply is None else tuple(word_id(word) for word in reply.split(" "))
    return Prompt((Segment(torch.tensor(ids), positions),), reply_ids)


def _system_ids(system_prompt: str) -> list[int]:
    return [1, 10, *_ids_of(TextPart(system_prompt)), 2]


def fake_render(spec, tokenizer, state, parts, system_prompt: str, reply: str | None = None, past=()) -> Prompt:
    ids = list(state.pending_ids) if state.num_tokens else _system_ids(system_prompt)
    boundaries = []
    for turn in past:
        ids += _message_ids(turn.parts) + list(turn.reply_ids)
        end = state.num_tokens + len(ids)
        boundaries.append(Boundary(end, end, end))
    return replace(_prompt(ids + _message_ids(parts), state.num_tokens, reply), boundaries=tuple(boundaries))


def fake_render_past(spec, tokenizer, state, past, system_prompt: str) -> Prompt:
    ids = list(state.pending_ids) if state.num_tokens else _system_ids(system_prompt)
    boundaries = []
    for turn in past:
        ids += _message_ids(turn.parts) + list(turn.reply_ids)
        end = state.num_tokens + len(ids)
        boundaries.append(Boundary(end, end, end))
    return replace(_prompt(ids, state.num_tokens, None), boundaries=tuple(boundaries))


FAKE_PIPELINE = Pipeline(fake_decode, fake_render, fake_render_past)


def fake_service(
    data_dir: Path, upload_dirs: tuple[Path, ...] = (Path("/tmp"),), tick_s: float = 0.012, loading_s: float = 1.0,
) -> Service:  # fmt: skip
    """The whole page without a model: loads for `loading_s`, then replies for a few seconds, faster than it speaks."""

    def load(progress: Callable[[str, float], None]) -> FakeEngine:
        pause = threading.Event()
        for step in range(10):
            progress("weights", step / 10)
            pause.wait(loading_s / 10)
        return FakeEngine(Script(tick_s=tick_s))

    config = Config(checkpoint="fake", data_dir=Path(data_dir))
    return Service(config, load, upload_dirs=upload_dirs, pipeline=FAKE_PIPELINE)


def service_over(engine: FakeEngine, data_dir: Path, uploads: Path, clock=time.monotonic, **options) -> Service:
    """A service whose engine is there at once, and which keeps nothing; `options` are those of `Config`."""
    config = Config(**{"checkpoint": "fake", "data_dir": data_dir, "keep_days": 0} | options)
    service = Service(
        config, lambda progress: engine, clock, upload_dirs=(uploads,), pipeline=FAKE_PIPELINE, resume_wait_s=0.0
    )
    assert service.ready.wait(10)
    return service


def drain(stream, timeout_s: float = 20.0) -> list[Event]:
    """All events up to the terminal one; fails when the next one does not come in time."""
    events = []
    while not stream.is_exhausted:
        event = stream.get(timeout_s)
        assert event is not None, f"no event within {timeout_s} s after {[type(one).__name__ for one in events][-3:]}"
        events.append(event)
    return events
