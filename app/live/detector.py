"""Where speech begins, pauses and ends in sound that is coming in; knows no turn and no socket."""

import importlib.resources
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import onnxruntime

SAMPLE_RATE = 16_000
# What Silero's model takes at 16 kHz: 32 ms, and before them the end of what it had last.
FRAME = 512
_CONTEXT = 64
FRAME_S = FRAME / SAMPLE_RATE
# As in Silero's own iterator: speech begins above the first, and is over below the second.
_BEGINS, _IS_OVER = 0.5, 0.35


@dataclass(frozen=True)
class Timing:
    """All in seconds. `pre_roll_s`: kept from before the beginning, so that the first syllable is not lost;
    `pause_s`: silence after which an answer may be begun on trial; `silence_s`: after which the message is over;
    `least_s`: speech that is shorter is none (a cough, a knock)."""

    pre_roll_s: float = 0.32
    pause_s: float = 0.32
    silence_s: float = 0.6
    least_s: float = 0.3
    onset_s: float = 0.06


@dataclass(frozen=True)
class Mark:
    """`sample`: place in all the sound so far. "begin": speech set in there; "speech": it is long enough to be meant;
    "pause", "resume"; "end": the message is over; "false": it was too short to be speech."""

    kind: Literal["begin", "speech", "pause", "resume", "end", "false"]
    sample: int


class SileroModel:
    """Silero's network on the CPU, one thread; holds the state of one stream."""

    def __init__(self) -> None:
        self._session = _session()
        self.reset()

    def reset(self) -> None:
        self._state = np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)

    def __call__(self, frame: np.ndarray) -> float:
        """Float32 samples `[512]` at 16 kHz to the probability that they are speech."""
        assert frame.shape == (FRAME,) and frame.dtype == np.float32, (frame.shape, frame.dtype)
        inputs = np.concatenate([self._context, frame])[None]
        rate = np.array(SAMPLE_RATE, np.int64)
        probability, self._state = self._session.run(None, {"input": inputs, "state": self._state, "sr": rate})
        self._context = frame[-_CONTEXT:]
        return float(probability[0, 0])


@lru_cache
def _session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.log_severity_level = 3
    model = importlib.resources.files("silero_vad.data").joinpath("silero_vad.onnx").read_bytes()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class SpeechDetector:
    """Owns one stream of sound. `push` gives the marks that a piece of it brings, in order."""

    def __init__(
        self, timing: Timing | None = None, probability_of: Callable[[np.ndarray], float] | None = None
    ) -> None:
        self.timing = timing or Timing()
        self._probability_of = probability_of or SileroModel()
        self._rest = np.zeros(0, np.float32)
        self._num_frames = 0
        self._recent: deque[bool] = deque()
        # Frames since speech set in, and since it was last heard.
        self._begun_at: int | None = None
        self._last_heard = 0
        self._is_meant = False
        self._is_pausing = False
        self.probability = 0.0

    def reset(self) -> None:
        """The stream was broken: what follows has nothing to do with what was before."""
        self._begun_at, self._is_meant, self._is_pausing = None, False, False
        self._recent.clear()

    def push(self, samples: np.ndarray) -> list[Mark]:
        """Float32 `[num_samples]` at 16 kHz."""
        self._rest = np.concatenate([self._rest, samples])
        marks: list[Mark] = []
        while len(self._rest) >= FRAME:
            self.probability = self._probability_of(self._rest[:FRAME])
            self._rest = self._rest[FRAME:]
            marks += self._step(self.probability)
            self._num_frames += 1
        return marks

    def _step(self, probability: float) -> list[Mark]:
        now, timing = self._num_frames, self.timing
        if self._begun_at is None:
            return self._wait_for_speech(probability >= _BEGINS, now)
        if probability >= _IS_OVER:
            self._last_heard = now
        marks = []
        silent_s = (now - self._last_heard) * FRAME_S
        if not self._is_meant and (self._last_heard + 1 - self._begun_at) * FRAME_S >= timing.least_s:
            self._is_meant = True
            marks.append(self._mark("speech", now + 1))
        if self._is_pausing and silent_s == 0:
            self._is_pausing = False
            marks.append(self._mark("resume", now))
        if silent_s >= timing.silence_s or (not self._is_meant and silent_s >= timing.pause_s):
            marks.append(self._mark("end" if self._is_meant else "false", self._last_heard + 1))
            self.reset()
        elif self._is_meant and not self._is_pausing and silent_s >= timing.pause_s:
            self._is_pausing = True
            marks.append(self._mark("pause", self._last_heard + 1))
        return marks

    def _wait_for_speech(self, is_speech: bool, now: int) -> list[Mark]:
        """A single loud frame begins nothing."""
        num_onset = max(1, round(self.timing.onset_s / FRAME_S))
        self._recent.append(is_speech)
        while len(self._recent) > num_onset:
            self._recent.popleft()
        if sum(self._recent) < num_onset:
            return []
        self._begun_at = now + 1 - num_onset
        self._last_heard = now
        first = max(0, self._begun_at * FRAME - round(self.timing.pre_roll_s * SAMPLE_RATE))
        return [Mark("begin", first)]

    def _mark(self, kind: str, frame: int) -> Mark:
        return Mark(kind, frame * FRAME)
