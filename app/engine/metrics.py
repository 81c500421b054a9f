"""Times and counts of one turn; knows the names of the stages and no model."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.types.events import TurnMetrics


@dataclass
class _Span:
    start_s: float
    busy_s: float = 0.0


class TurnClock:
    """Counts seconds since the user's submit, and how long each stage was busy."""

    def __init__(self, submitted_at: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._submitted_at = submitted_at
        self._spans: dict[str, _Span] = {}

    def now(self) -> float:
        return self._clock() - self._submitted_at

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = self.now()
        span = self._spans.setdefault(name, _Span(start))
        try:
            yield
        finally:
            span.busy_s += self.now() - start

    def count(self, name: str, seconds: float) -> None:
        """A stage that has begun was at it for so much longer, while nobody waited."""
        self._spans[name].busy_s += seconds

    def spans(self) -> list[tuple[str, float, float]]:
        """(stage, start_s, busy_s) of each stage that ran, in order of its first start."""
        ordered = sorted(self._spans.items(), key=lambda item: item[1].start_s)
        return [(name, span.start_s, span.busy_s) for name, span in ordered]


@dataclass
class TurnTally:
    """What a running turn counts; `metrics` freezes it."""

    num_prompt_tokens: int = 0
    num_reused_tokens: int = 0
    num_text_tokens: int = 0
    num_codec_frames: int = 0
    audio_s: float = 0.0
    ttft_s: float | None = None
    first_codec_s: float | None = None
    first_packet_s: float | None = None
    text_end: str = ""
    speech_end: str = ""

    def metrics(self, total_s: float) -> TurnMetrics:
        # Generating time over sound: from the prompt's end, as the time before it is latency and not rate.
        rtf = (total_s - self.ttft_s) / self.audio_s if self.audio_s and self.ttft_s is not None else None
        return TurnMetrics(**vars(self), total_s=total_s, rtf=rtf)
