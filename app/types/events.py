"""Immutable facts reported upward. Grammar of a turn:

    TurnQueued* TurnStarted (Prefilled | TextDelta | CodecDelta | AudioChunk | StageTimed)*
    then exactly one of TurnFinished, TurnInterrupted, TurnFailed, and nothing after it.

Every event carries `turn` (counted from 1 in its session) and `t_s` (seconds since the turn was submitted).
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Event:
    turn: int
    t_s: float


@dataclass(frozen=True)
class TurnQueued(Event):
    """The engine is busy; `num_ahead` turns run or wait before this one."""

    num_ahead: int


@dataclass(frozen=True)
class TurnStarted(Event):
    """The turn's media are decoded and the engine begins. `voice` is "" when nothing will be spoken."""

    voice: str
    seed: int


@dataclass(frozen=True)
class Prefilled(Event):
    """The prompt is in the cache: `num_new` tokens were run, `num_reused` were there already."""

    num_new: int
    num_reused: int


@dataclass(frozen=True)
class TextDelta(Event):
    """More text of the reply. `text` holds whole characters only and may be empty; `text_ids` as sampled."""

    text: str
    text_ids: tuple[int, ...]


@dataclass(frozen=True)
class CodecDelta(Event):
    """One codec frame: 1 id (Qwen2.5) or one per codebook (Qwen3). The end token is reported too."""

    codec_ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class AudioChunk(Event):
    """Speech for the player: float32 mono in [-1, 1], gapless after the chunk before it. `hold_s`, of a turn's first
    one: play it so much later, or the next will not be there in time."""

    start_sample: int
    samples: np.ndarray
    sample_rate: int
    hold_s: float = 0.0


@dataclass(frozen=True)
class StageTimed(Event):
    """A stage of the turn took `duration_s` from `start_s` (both since submit). `stage`: "decode" and "render" by
    the session, "feed", "encode", "prefill", "thinker", "talker" and "token2wav" by the engine, which take turns."""

    stage: str
    start_s: float
    duration_s: float


@dataclass(frozen=True)
class TurnMetrics:
    """Figures of one turn; None where it did not come to that. Times in seconds since submit."""

    num_prompt_tokens: int = 0
    num_reused_tokens: int = 0
    num_text_tokens: int = 0
    num_codec_frames: int = 0
    audio_s: float = 0.0
    ttft_s: float | None = None
    first_codec_s: float | None = None
    first_packet_s: float | None = None
    total_s: float = 0.0
    rtf: float | None = None
    text_end: str = ""
    speech_end: str = ""


@dataclass(frozen=True)
class TurnFinished(Event):
    """The reply is complete. `metrics.text_end`/`speech_end` say why each ended: "eos", "length", "bound" or ""."""

    metrics: TurnMetrics


@dataclass(frozen=True)
class TurnInterrupted(Event):
    """Stopped on demand. `heard_text` is the part of the reply that stays in the conversation ("" if none)."""

    heard_text: str
    metrics: TurnMetrics


@dataclass(frozen=True)
class TurnFailed(Event):
    """Nothing of the turn stays in the conversation. `message`: one sentence on what to do; `code`: for scripts."""

    message: str
    code: str


TERMINAL = (TurnFinished, TurnInterrupted, TurnFailed)
