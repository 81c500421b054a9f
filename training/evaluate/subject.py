"""The checkpoint that is judged, behind the page's own engine; knows no question and no judge."""

import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.chatml.render import DEFAULT_SYSTEM_PROMPT, render_turn
from app.engine.loader import EngineOptions, load_engine
from app.types.events import TERMINAL, AudioChunk, Event, StageTimed, TextDelta, TurnFailed
from app.types.turn import Part, TurnSettings


@dataclass(frozen=True, eq=False)
class Answer:
    """`wave`: float32 `[num_samples]`, empty when nothing was spoken. `wall_s` and `cpu_s`: from the question's end to
    the last sample, by the clock and of this process. `stage_s`: seconds by stage, as the engine counts them."""

    text: str
    wave: np.ndarray
    sample_rate: int
    wall_s: float
    cpu_s: float
    stage_s: dict[str, float]
    first_packet_s: float | None = None

    @property
    def audio_s(self) -> float:
        return len(self.wave) / self.sample_rate


class Subject:
    """One loaded checkpoint with its own settings, but for a greedy Thinker. `close` ends its engine."""

    def __init__(self, checkpoint: Path) -> None:
        self._engine = load_engine(EngineOptions(str(checkpoint), "cpu", "float32"), lambda stage, share: None)
        defaults = self._engine.spec.defaults
        self.settings = replace(defaults, thinker=defaults.thinker.greedy(), seed=0)
        self.voices = self._engine.spec.voices
        self.sample_rate = self._engine.spec.output_sample_rate
        self.vision = self._engine.spec.media.vision

    def close(self) -> None:
        self._engine.close()

    def conversation(self) -> "Conversation":
        return Conversation(self)

    def answer(self, parts: Sequence[Part], voice: str = "") -> Answer:
        """To a single question; spoken when a voice is named."""
        return self.conversation().ask(parts, voice)

    def read_aloud(
        self, text: str, voice: str, settings: TurnSettings | None = None, parts: Sequence[Part] = ()
    ) -> Answer:
        """A given reply, spoken as it stands, to nothing or to a question."""
        return self.conversation().ask(parts, voice, say=text, settings=settings)


class Conversation:
    """Turns that follow one another; the caches are kept as on the page."""

    def __init__(self, subject: Subject) -> None:
        self._engine = subject._engine
        self._settings = subject.settings
        self._state = subject._engine.new_state()
        self._number = 0

    def ask(
        self, parts: Sequence[Part], voice: str = "", say: str | None = None, settings: TurnSettings | None = None
    ) -> Answer:
        """Raises RuntimeError with the engine's sentence when the turn fails."""
        engine = self._engine
        self._number += 1
        settings = replace(settings or self._settings, voice=voice, speak=bool(voice))
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        wall, cpu = time.monotonic(), time.process_time()
        prompt = render_turn(engine.spec, engine.tokenizer, self._state, tuple(parts), DEFAULT_SYSTEM_PROMPT, say)
        engine.submit(self._state, prompt, settings, self._number, events.put)
        text, samples, stage_s = "", [np.zeros(0, np.float32)], {}
        while True:
            match event := events.get():
                case TextDelta():
                    text += event.text
                case AudioChunk():
                    samples.append(event.samples)
                case StageTimed():
                    stage_s[event.stage] = event.duration_s
                case TurnFailed():
                    raise RuntimeError(event.message)
            if isinstance(event, TERMINAL):
                break
        wave = np.concatenate(samples)
        cpu_s = time.process_time() - cpu
        first_packet_s = event.metrics.first_packet_s
        rate = engine.spec.output_sample_rate
        return Answer(text, wave, rate, time.monotonic() - wall, cpu_s, stage_s, first_packet_s)
