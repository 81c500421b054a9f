"""A short spoken sentence of each voice, made once per checkpoint; knows no session."""

import hashlib
import queue
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.errors import BadInput, DemoError
from app.session.core import SessionTools
from app.session.folder import disk, write_wav
from app.session.prompter import scratch_state
from app.types.events import TERMINAL, AudioChunk, Event, TurnFinished
from app.types.turn import TextPart

_QUESTION = "Please say hello."
_SENTENCE = "Hello, nice to meet you. This is how I sound."
_SEED = 0
# A Talker that finds no end, as a random one does, is cut off here; the sentence itself takes about 4 s.
_MAX_S = 8.0


class VoicePreviews:
    """Owns `folder/<fingerprint>/<voice>.wav`; makes one at a time."""

    def __init__(
        self, folder: Path, tools: SessionTools, system_prompt: str, checkpoint: str, voice_files: Sequence[Path] = ()
    ) -> None:
        self._folder = folder
        self._tools = tools
        self._system_prompt = system_prompt
        self._checkpoint = checkpoint
        self._voice_files = voice_files
        self._lock = threading.Lock()

    def get(self, voice: str) -> Path:
        """Raises `BadInput` for a voice that the checkpoint lacks, and what its making fails with."""
        engine = self._tools.loader.wait()
        if not engine.spec.voices:
            raise BadInput(
                "This checkpoint was loaded without speech: start the program without --text-only to hear voices."
            )
        if voice not in engine.spec.voices:
            raise BadInput(f"This checkpoint has no such voice: choose one of {', '.join(engine.spec.voices)}.")
        with self._lock:
            # A voice's name comes from the checkpoint, which a stranger may have made: it must not name a path.
            stem = hashlib.sha256(voice.encode()).hexdigest()[:8] if not voice.isalnum() else voice
            path = self._folder / fingerprint(self._checkpoint, engine.spec.name, self._voice_files) / f"{stem}.wav"
            if not path.is_file():
                samples, sample_rate = self._speak(engine, voice)
                with disk():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_wav(path, samples, sample_rate)
            return path

    def _speak(self, engine, voice: str) -> tuple[np.ndarray, int]:
        with scratch_state(engine) as state:
            prompt = self._tools.prompter.pipeline.render(
                engine.spec, engine.tokenizer, state, (TextPart(_QUESTION),), self._system_prompt, _SENTENCE
            )
            spec = engine.spec
            talker = replace(spec.defaults.talker, max_new_tokens=int(_MAX_S / spec.codec_frame_s))
            settings = replace(spec.defaults, voice=voice, speak=True, seed=_SEED, say=_SENTENCE, talker=talker)
            events: queue.SimpleQueue[Event] = queue.SimpleQueue()
            engine.submit(state, prompt, settings, 1, events.put)
            chunks: list[AudioChunk] = []
            while not isinstance(event := events.get(), TERMINAL):
                if isinstance(event, AudioChunk):
                    chunks.append(event)
        if not isinstance(event, TurnFinished):
            raise DemoError(getattr(event, "message", "The voice preview was stopped: try again."))
        if not chunks:
            raise DemoError("The checkpoint made no sound for this voice: choose another one.")
        return np.concatenate([chunk.samples for chunk in chunks]), chunks[0].sample_rate


def fingerprint(checkpoint: str, name: str, voice_files: Sequence[Path] = ()) -> str:
    """Changes when the checkpoint does: its configuration, and the size and time of each of its files."""
    digest = hashlib.sha256(f"{checkpoint}\0{name}".encode())
    folder = Path(checkpoint)
    paths = sorted(folder.iterdir()) if checkpoint and folder.is_dir() else []
    for path in (*paths, *voice_files):
        if path.is_file():
            status = path.stat()
            digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]
