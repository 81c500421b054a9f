"""What is remembered of a turn for people: its record, its reply as it grows, its waterfall; knows no disk."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from app.session.cut import Heard
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
    TurnQueued,
    TurnStarted,
)
from app.types.turn import TurnInput


@dataclass(frozen=True)
class StoredFile:
    """A user's file as copied into the session's folder. `kind`: "image", "audio" or "video"."""

    path: Path
    kind: str


@dataclass(frozen=True)
class Take:
    """A reply as it was spoken once. `wav`: None where nothing of it is kept."""

    voice: str
    seed: int | None
    wav: Path | None
    timings: dict


@dataclass(frozen=True)
class TurnRecord:
    """A turn as the page shows it. `state`: "running", "done", "interrupted" or "failed"; `message` tells why.

    `sent`: what was sent, its files as stored. `versions`: the turns that stand for one another at this place of the
    conversation, itself included, oldest first. `takes`: every sound of the reply, oldest first; `wav`, `voice` and
    `timings` are those of the chosen one. Empty while there is only the first.
    """

    turn: int
    user_text: str
    files: tuple[StoredFile, ...]
    reply_text: str
    wav: Path | None
    state: str
    voice: str
    message: str
    timings: dict
    sent: TurnInput | None = None
    versions: tuple[int, ...] = field(default=(), compare=False)
    takes: tuple[Take, ...] = ()

    @property
    def take(self) -> Take:
        """The chosen one."""
        return Take(self.voice, self.timings.get("seed"), self.wav, self.timings)


def _first_samples(chunks: Iterable[AudioChunk], num_samples: int) -> Iterator[AudioChunk]:
    for chunk in chunks:
        num_left = num_samples - chunk.start_sample
        if num_left > 0:
            yield replace(chunk, samples=chunk.samples[:num_left])


@dataclass
class Reply:
    """A reply while it grows: a fold over the turn's events. Written by one thread at a time."""

    voice: str = ""
    texts: list[str] = field(default_factory=list)
    text_ids: list[int] = field(default_factory=list)
    chunks: list[AudioChunk] = field(default_factory=list)
    stages: list[dict] = field(default_factory=list)
    figures: dict = field(default_factory=dict)

    def add(self, event: Event) -> None:
        match event:
            case TurnQueued(num_ahead=num_ahead):
                self.figures.setdefault("num_ahead", num_ahead)
            case TurnStarted(voice=voice, seed=seed):
                self.voice = voice
                self.figures |= {"seed": seed, "started_s": event.t_s}
            case StageTimed(stage=stage, start_s=start_s, duration_s=duration_s):
                self.stages.append({"stage": stage, "start_s": start_s, "duration_s": duration_s})
            case Prefilled(num_new=num_new, num_reused=num_reused):
                self.figures |= {"num_new": num_new, "num_reused": num_reused, "prefilled_s": event.t_s}
            case TextDelta(text=text, text_ids=text_ids):
                self.texts.append(text)
                self.text_ids.extend(text_ids)
                self.figures.setdefault("ttft_s", event.t_s)
            case CodecDelta():
                self.figures.setdefault("first_codec_s", event.t_s)
            case AudioChunk():
                self.chunks.append(event)
                self.figures.setdefault("first_packet_s", event.t_s)
            case TurnFinished(metrics=metrics) | TurnInterrupted(metrics=metrics):
                self.figures |= {
                    "total_s": event.t_s,
                    "num_text_tokens": metrics.num_text_tokens,
                    "num_codec_frames": metrics.num_codec_frames,
                    "rtf": metrics.rtf,
                    "text_end": metrics.text_end,
                    "speech_end": metrics.speech_end,
                }
            case TurnFailed():
                self.figures["total_s"] = event.t_s

    def cut(self, cut: Heard, num_samples: int) -> None:
        """Forgets what was not heard."""
        self.texts, self.text_ids = [cut.text], self.text_ids[: cut.num_ids]
        self.chunks = list(_first_samples(self.chunks, num_samples))
        self.figures |= {"heard_s": self.audio_s, "num_heard_tokens": cut.num_ids}

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def num_samples(self) -> int:
        return sum(len(chunk.samples) for chunk in self.chunks)

    @property
    def audio_s(self) -> float:
        return sum(len(chunk.samples) / chunk.sample_rate for chunk in self.chunks)

    def samples(self) -> tuple[np.ndarray, int] | None:
        """All speech so far as float32 mono with its sample rate, or None when there is none."""
        if not self.chunks:
            return None
        return np.concatenate([chunk.samples for chunk in self.chunks]), self.chunks[0].sample_rate

    def timings(self, turn: int) -> dict:
        """The waterfall as JSON values, in seconds since submit; None where it did not come to that."""
        absent = (
            "num_new",
            "num_reused",
            "ttft_s",
            "first_codec_s",
            "first_packet_s",
            "first_sound_s",
            "total_s",
            "rtf",
        )
        return {
            "turn": turn,
            "stages": list(self.stages),
            **dict.fromkeys(absent),
            "num_underruns": None,
            "played_samples": None,
            **self.figures,
            "audio_s": self.audio_s,
        }
