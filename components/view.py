"""What the page shows of a running turn, as a pure fold over its events; knows no widget and no session."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce

from app.types.events import (
    TERMINAL,
    AudioChunk,
    CodecDelta,
    Event,
    Prefilled,
    StageTimed,
    TextDelta,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    TurnQueued,
    TurnStarted,
)

ENDED = ("done", "stopped", "failed")


@dataclass(frozen=True)
class View:
    """A turn so far. Times in seconds since submit, None for what has not come.

    `state`: "reading" (its media), "queued", "thinking" (prompt and first words), "writing", "speaking", then one of
    `ENDED`. `stages`: (name, start_s, duration_s) in order of arrival. `text_end`, `speech_end`: why each ended.
    """

    state: str = "reading"
    num_ahead: int = 0
    voice: str = ""
    text: str = ""
    num_new: int | None = None
    num_reused: int | None = None
    stages: tuple[tuple[str, float, float], ...] = ()
    ttft_s: float | None = None
    first_codec_s: float | None = None
    first_packet_s: float | None = None
    total_s: float | None = None
    rtf: float | None = None
    audio_s: float = 0.0
    text_end: str = ""
    speech_end: str = ""
    message: str = ""
    code: str = ""

    @property
    def is_over(self) -> bool:
        return self.state in ENDED

    @property
    def is_accepted(self) -> bool:
        """The input was read without complaint: what the person typed and attached need not be kept any longer."""
        return self.state not in ("reading", "failed")


def fold(view: View, event: Event) -> View:
    """The view after `event`. Nothing may follow a terminal event."""
    assert not view.is_over, f"{type(event).__name__} after the turn was {view.state}"
    if isinstance(event, TERMINAL):
        return _end(view, event)
    match event:
        case TurnQueued(num_ahead=num_ahead):
            return replace(view, state="queued", num_ahead=num_ahead)
        case TurnStarted(voice=voice):
            return replace(view, state="thinking", num_ahead=0, voice=voice)
        case Prefilled(num_new=num_new, num_reused=num_reused):
            return replace(view, num_new=num_new, num_reused=num_reused)
        case TextDelta(text=text, t_s=t_s):
            state = "writing" if text and view.state == "thinking" else view.state
            return replace(view, state=state, text=view.text + text, ttft_s=_first(view.ttft_s, t_s))
        case CodecDelta(t_s=t_s):
            return replace(view, first_codec_s=_first(view.first_codec_s, t_s))
        case AudioChunk(samples=samples, sample_rate=sample_rate, t_s=t_s):
            return replace(
                view,
                state="speaking",
                audio_s=view.audio_s + len(samples) / sample_rate,
                first_packet_s=_first(view.first_packet_s, t_s),
            )
        case StageTimed(stage=stage, start_s=start_s, duration_s=duration_s):
            return replace(view, stages=(*view.stages, (stage, start_s, duration_s)))
    raise AssertionError(f"unknown event {type(event).__name__}")


def fold_all(events: Iterable[Event], view: View = View()) -> View:
    return reduce(fold, events, view)


def _end(view: View, event: TurnFinished | TurnInterrupted | TurnFailed) -> View:
    if isinstance(event, TurnFailed):
        return replace(view, state="failed", text="", message=event.message, code=event.code, total_s=event.t_s)
    metrics = event.metrics
    is_finished = isinstance(event, TurnFinished)
    return replace(
        view,
        state="done" if is_finished else "stopped",
        text=view.text if is_finished else event.heard_text,
        total_s=event.t_s,
        rtf=metrics.rtf,
        text_end=metrics.text_end,
        speech_end=metrics.speech_end,
    )


def _first(known: float | None, t_s: float) -> float:
    return t_s if known is None else known


def timings_of(view: View, turn: int) -> dict:
    """The running turn's waterfall, in the form in which a finished turn's is stored."""
    return {
        "turn": turn,
        "stages": [
            {"stage": name, "start_s": start_s, "duration_s": duration_s} for name, start_s, duration_s in view.stages
        ],
        "num_new": view.num_new,
        "num_reused": view.num_reused,
        "ttft_s": view.ttft_s,
        "first_codec_s": view.first_codec_s,
        "first_packet_s": view.first_packet_s,
        "total_s": view.total_s,
        "rtf": view.rtf,
        "audio_s": view.audio_s,
        "text_end": view.text_end,
        "speech_end": view.speech_end,
    }
