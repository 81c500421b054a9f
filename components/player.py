"""The speech player of the page: PCM as a gr.HTML value into an audio worklet; knows no session and no model.

In the browser `window.omniPlayer` offers: `stop()` (silence within 10 ms, before the server hears of it), `await
halt()` (the same, and gives the reply's last report: what was heard of it, to the sample), `muted`,
`setVolume(0..1)`, `markSubmit()` (call it when a turn is sent, so that the first sound is timed by one clock), `state`
("idle", "waiting", "speaking", "buffering", "gesture": the browser wants a click first), `stats`, and for tests
`record(on)` and `await recorded()`. Every change of state is an `omniplayer` event on `window`.

On the wire every value is one JSON object: `{"generation", "seq", "start", "rate", "pcm"}` with 16-bit PCM in base64,
`seq` without holes and `start` in samples, so that the browser notices what is lost, repeated or late. With the first
samples may come `hold_s`: they wait so long in the browser before they are heard.
"""

import base64
import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from app.types.events import AudioChunk

ASSETS = Path(__file__).parent.parent / "assets"
SCRIPTS = ("language.js", "player_resampler.js", "player_output.js", "player_meter.js", "player.js")
# A report has some ten figures; a day of speech has fewer samples.
MAX_TOLD, MAX_COUNT = 2000, 2**31 - 1
LABELS = {
    "en": {
        "idle": "Voice",
        "waiting": "Thinking",
        "speaking": "Speaking",
        "buffering": "Waiting for more",
        "gesture": "Click anywhere to hear the reply",
        "mute": "Mute the voice",
        "unmute": "Unmute the voice",
    },
    "zh": {
        "idle": "语音",
        "waiting": "思考中",
        "speaking": "正在说话",
        "buffering": "等待后续语音",
        "gesture": "点击页面任意位置即可收听回复",
        "mute": "静音",
        "unmute": "取消静音",
    },
    "ru": {
        "idle": "Голос",
        "waiting": "Думает",
        "speaking": "Говорит",
        "buffering": "Ждёт продолжения",
        "gesture": "Нажмите в любом месте, чтобы услышать ответ",
        "mute": "Выключить звук",
        "unmute": "Включить звук",
    },
}
TEMPLATE = """
<div class="voice-strip" role="group" data-state="idle" data-translations="{translations}">
<span class="voice-label" role="status" aria-live="polite"></span><canvas aria-hidden="true"></canvas>
<button type="button" class="voice-mute" aria-pressed="false"><svg viewBox="0 0 24 24" aria-hidden="true">
<path d="M4 9.5v5h3.5L12 18.5v-13L7.5 9.5z"/><path class="voice-waves" d="M15.5 9a4 4 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11"/>
<path class="voice-cross" d="M16 9.5l5 5M21 9.5l-5 5"/></svg></button></div>
"""


@dataclass(frozen=True)
class PlaybackReport:
    """What the browser says of one reply: once at its first sound, once when it is over (`is_final`).

    Comes from the browser, so it is checked for form and not trusted for truth. Times of the browser's clock.
    `outcome`: "" while it plays, then "ended", "stopped" or "replaced" (by a newer reply).
    """

    generation: int
    first_packet_epoch_ms: float | None
    first_sound_epoch_ms: float | None
    first_sound_after_submit_s: float | None
    num_underruns: int
    played_samples: int
    lost_samples: int
    outcome: str
    is_final: bool


class PlayerFeed:
    """Turns the audio chunks of one running turn into values of the player component; owns what is not yet taken.

    `generation` must grow with every turn of the page: a newer one silences and replaces the older.
    """

    def __init__(self, generation: int) -> None:
        self._generation = generation
        self._hold_s = 0.0
        self._seq = 0
        self._sample_rate = 0
        self._num_pushed = 0
        self._waiting: list[np.ndarray] = []

    def begin(self, turn: int = 0, is_live: bool = False) -> str:
        """Value that announces the turn before it has sound: an older reply falls silent, a local stop will hold.

        `turn`: whose reply is spoken, 0 for words that belong to none. `is_live`: its speech comes over the live socket
        and not through this feed.
        """
        assert self._seq == 0, f"begin() comes first, {self._seq} values are out"
        return self._packet(end=False, turn=turn, is_live=is_live)

    def push(self, chunk: AudioChunk) -> None:
        assert chunk.start_sample == self._num_pushed, f"chunk at {chunk.start_sample}, expected {self._num_pushed}"
        assert self._sample_rate in (0, chunk.sample_rate), f"{chunk.sample_rate} Hz after {self._sample_rate} Hz"
        if self._num_pushed == 0:
            self._hold_s = chunk.hold_s
        self._sample_rate = chunk.sample_rate
        self._num_pushed += len(chunk.samples)
        self._waiting.append(chunk.samples)

    def take(self) -> str | None:
        """Value with all samples pushed since the last one, or None when there are none."""
        return self._packet(end=False) if any(len(samples) for samples in self._waiting) else None

    def end(self) -> str:
        """Last value of the turn, with the samples that are left."""
        return self._packet(end=True)

    def _packet(self, end: bool, turn: int = 0, is_live: bool = False) -> str:
        samples = np.concatenate(self._waiting) if self._waiting else np.zeros(0, np.float32)
        self._waiting = []
        packet: dict[str, Any] = {
            "generation": self._generation,
            "seq": self._seq,
            "start": self._num_pushed - len(samples),
            "rate": self._sample_rate,
            "pcm": base64.b64encode(to_int16(samples).tobytes()).decode("ascii"),
        }
        if packet["start"] == 0 and len(samples) and self._hold_s:
            packet["hold_s"] = self._hold_s
        if turn:
            packet |= {"turn": turn, "live": is_live}
        if end:
            packet["end"] = True
        self._seq += 1
        return json.dumps(packet, separators=(",", ":"))


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Float samples in [-1, 1] as little-endian 16-bit PCM; what is louder clips."""
    return np.round(np.clip(samples, -1.0, 1.0) * 32767).astype("<i2")


def stop_value(generation: int) -> str:
    """Value that fades the reply of `generation` out over 10 ms and drops all that still comes of it or older ones."""
    return json.dumps({"generation": generation, "stop": True}, separators=(",", ":"))


def build_player(labels: Mapping[str, Mapping[str, str]] = LABELS) -> gr.HTML:
    """The voice strip. `labels`: per language the words for each state; the browser's language chooses.

    It must stay in the page (not in a hidden tab) and be no input of any event: its value is output only.
    """
    source = {name: (ASSETS / "js" / name).read_text(encoding="utf-8") for name in SCRIPTS}
    ring = (ASSETS / "js" / "player_ring.js").read_text(encoding="utf-8")
    worklet = (ASSETS / "js" / "player_worklet.js").read_text(encoding="utf-8")
    constants = f"const RING_SOURCE = {json.dumps(ring)};\nconst WORKLET_SOURCE = {json.dumps(worklet)};\n"
    translations = html.escape(json.dumps(labels, ensure_ascii=False), quote=True)
    template = TEMPLATE.strip().replace("{translations}", translations)
    style = (ASSETS / "player.css").read_text(encoding="utf-8")
    # Gradio evaluates both as Handlebars and as JavaScript template strings, comments included.
    assert not any(mark in template + style for mark in ("`", "${", "{{", "\\")), "a template mark in the player"
    return gr.HTML(
        value="",
        elem_id="player",
        html_template=template,
        css_template=style,
        js_on_load=constants + "\n".join(source.values()),
        apply_default_css=False,
    )


def bind_reports(
    player: gr.HTML, fn: Callable[..., None], inputs: Sequence[gr.components.Component] | None = None
) -> None:
    """Calls `fn(report, *input_values)` for every `PlaybackReport`; malformed ones are dropped."""

    def on_report(event: gr.EventData, *values: Any) -> None:
        report = read_report(event._data)
        if report is not None:
            fn(report, *values)

    # The second report may come while the first is still under way: "multiple" keeps Gradio from skipping it.
    player.report(
        on_report,
        inputs=list(inputs or []),
        outputs=None,
        show_progress="hidden",
        trigger_mode="multiple",
        concurrency_limit=None,
        api_visibility="private",
    )


def read_report(data: Any) -> PlaybackReport | None:
    """A report as the browser sends it, or None when it has not the form of one."""
    try:
        return PlaybackReport(
            generation=int(data["generation"]),
            first_packet_epoch_ms=_number(data["first_packet_epoch_ms"]),
            first_sound_epoch_ms=_number(data["first_sound_epoch_ms"]),
            first_sound_after_submit_s=_number(data["first_sound_after_submit_s"]),
            num_underruns=_count(data["num_underruns"]),
            played_samples=_count(data["played_samples"]),
            lost_samples=_count(data["lost_samples"]),
            outcome=str(data["how"])[:20],
            is_final=bool(data["final"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def read_told(text: Any) -> PlaybackReport | None:
    """A report that came as text, None where it is none."""
    if not isinstance(text, str) or len(text) > MAX_TOLD:
        return None
    try:
        return read_report(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _count(value: Any) -> int:
    return min(max(0, int(value)), MAX_COUNT)


def _number(value: Any) -> float | None:
    number = None if value is None else float(value)
    if number is not None and not math.isfinite(number):
        raise ValueError(value)
    return number
