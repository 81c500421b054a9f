"""The speech synthesizers that play the user, and who of their voices is trained on; knows no room, no microphone."""

import io
import re
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
from scipy.signal import resample

SAMPLE_RATE = 16_000
Role = Literal["train", "unseen", "stranger"]

# Every English accent of espeak-ng: one that is left out costs far more than a timbre that is left out.
ACCENTS = (
    "en-us",
    "en-gb",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
# How often an accent is drawn; most people at the page will speak one of the first.
ACCENT_WEIGHTS = (6, 3, 2, 2, 1, 1, 1, 2)
UNSEEN_TIMBRES = ("f3", "m5", "klatt4", "Michael", "steph", "anika")
TRAIN_TIMBRES = tuple(
    (
        "f1 f2 f4 f5 m1 m2 m3 m4 m6 m7 m8 klatt klatt2 klatt3 klatt5 klatt6 "
        "Alex Alicia Andrea Andy Annie AnxiousAndy Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario Mike "
        "Nguyen Storm Tweaky adam antonio aunty belinda benjamin boris caleb david ed edward "
        "edward2 grandma grandpa gustave iven iven2 iven3 iven4 john kaukovalta linda marcelo max michel miguel "
        "norbert pablo paul pedro quincy rob "
        "robert sandro shelby travis victor zac croak whisper whisperf"
    ).split()
)
# The few with which hearing begins.
FIRST_VOICES = (
    *(f"espeak/{accent}+{timbre}" for accent in ("en-us", "en-gb") for timbre in ("f2", "f5", "m1", "m3", "m7")),
    "flite/slt",
    "flite/slt",
    "flite/rms",
    "flite/awb",
)
# Two effects of theirs, not timbres, and the sisters of those left out, stay out altogether: announcer, Demonic,
# fast, UniRobot, the robosofts and RicishayMaxes; steph2, steph3, anikaRobot.

# Clustergen voices with the mean pitch in Hz that they were recorded at (None: rms takes no other pitch than its own)
# and the lengths of vocal tract, relative to the speaker's own, that leave a human being.
FLITE_TRAIN: dict[str, tuple[float | None, float, float]] = {
    "slt": (172.0, 0.88, 1.25),
    "rms": (None, 0.75, 1.12),
    "awb": (128.0, 0.80, 1.16),
}
STRANGERS = (
    "festival/kal_diphone",
    "festival/ked_diphone",
    "festival/cmu_us_slt_arctic_hts",
    "flite/kal",
    "flite/kal16",
)


class SynthesisFailed(Exception):
    """A synthesizer gave no sound; the sentence says which one and for what text."""


def role(voice: str) -> Role:
    """Of "espeak/ACCENT+TIMBRE", "flite/NAME" or "festival/NAME": heard in training, a new timbre, a new kind."""
    if voice in STRANGERS:
        return "stranger"
    return "unseen" if voice.rpartition("+")[2] in UNSEEN_TIMBRES else "train"


def family(voice: str) -> str:
    """The synthesizer of a voice: espeak, flite or festival."""
    return voice.partition("/")[0]


def draw_espeak_voice(random: Random, timbres: tuple[str, ...]) -> str:
    return f"{random.choices(ACCENTS, ACCENT_WEIGHTS)[0]}+{random.choice(timbres)}"


def espeak(text: str, voice: str, speed: int = 160, pitch: int = 50, tract: float = 1.0) -> np.ndarray:
    """`voice`: accent or accent+timbre; `speed` in words per minute; `pitch` 0 to 99; `tract`: see `reshape`.

    Float32 mono [num_samples] at 16 kHz, silence at the ends cut.
    """
    command = ["espeak-ng", "-v", voice, "-s", str(round(speed * tract)), "-p", str(pitch), "--stdout", text]
    return _trim(reshape(*_read(_output(command, text), text), tract), text)


def flite(
    text: str, voice: str, tract: float = 1.0, duration: float = 1.0, pitch_hz: float | None = None
) -> np.ndarray:
    """`duration` stretches the speech and `pitch_hz` is its mean pitch, both as heard after the change of `tract`.

    Float32 mono [num_samples] at 16 kHz, silence at the ends cut. Diphone voices ignore `pitch_hz`.
    """
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        settings = ["--setf", f"duration_stretch={duration / tract:.3f}"]
        if pitch_hz is not None:
            settings += ["--setf", f"int_f0_target_mean={pitch_hz * tract:.1f}"]
        _output(["flite", "-voice", voice, *settings, "-t", text, "-o", file.name], text)
        return _trim(reshape(*_read(Path(file.name).read_bytes(), text), tract), text)


def draw_flite_speaker(random: Random, voice: str) -> dict[str, float]:
    """Keyword arguments of `flite` that make another speaker of a clustergen voice: tract, duration, pitch_hz."""
    own_hz, shortest, longest = FLITE_TRAIN[voice]
    tract = shortest * (longest / shortest) ** random.random()
    speaker = {"tract": tract, "duration": random.uniform(0.8, 1.3)}
    if own_hz is not None:
        # Short vocal tracts come with high voices, within a few semitones.
        pitch_hz = own_hz / tract * 2 ** (random.gauss(0.0, 2.5) / 12)
        speaker["pitch_hz"] = min(340.0, max(65.0, pitch_hz))
    return speaker


def festival(text: str, voice: str) -> np.ndarray:
    """Float32 mono [num_samples] at 16 kHz, silence at the ends cut. One process a text: for many, `festival_batch`."""
    return festival_batch([text], voice)[0]


def festival_batch(texts: Sequence[str], voice: str, tracts: Sequence[float] | None = None) -> list[np.ndarray]:
    """The same in one process, because Festival takes most of its time to start.

    `tracts`: one per text, see `reshape`; the tempo stays (save for the HTS voice, which takes no other).
    """
    tracts = tracts or [1.0] * len(texts)
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"(voice_{voice})"]
        for index, (text, tract) in enumerate(zip(texts, tracts, strict=True)):
            assert not set(text) & set('"\\'), text
            lines.append(f"(Parameter.set 'Duration_Stretch {1 / tract:.3f})")
            lines.append(f'(utt.save.wave (utt.synth (Utterance Text "{text}")) "{folder}/{index}.wav" \'riff)')
        script = Path(folder) / "say.scm"
        script.write_text("\n".join(lines))
        _output(["festival", "-b", str(script)], texts[0])
        waves = [_read((Path(folder) / f"{index}.wav").read_bytes(), text) for index, text in enumerate(texts)]
        return [_trim(reshape(*sound, tract), text) for sound, tract, text in zip(waves, tracts, texts)]


def say(text: str, voice: str, tract: float = 1.0) -> np.ndarray:
    """A voice by its full name ("espeak/en-us+f3"), at its own speed and pitch where `tract` is 1."""
    synthesizer, _, name = voice.partition("/")
    if synthesizer == "festival":
        return festival_batch([text], name, [tract])[0]
    return {"espeak": espeak, "flite": flite}[synthesizer](text, name, tract=tract)


def reshape(samples: np.ndarray, sample_rate: int, tract: float) -> np.ndarray:
    """To 16 kHz, with a vocal tract `tract` times as long: formants and pitch fall by it, time stretches by it."""
    length = round(len(samples) * tract * SAMPLE_RATE / sample_rate)
    if length == len(samples):
        return samples
    return resample(samples, length).astype(np.float32)


def _output(command: list[str], text: str) -> bytes:
    try:
        return subprocess.run(command, capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        raise SynthesisFailed(f"{command[0]} is not installed; see docs/training.md for the packages") from error
    except subprocess.CalledProcessError as error:
        raise SynthesisFailed(f"{command[0]} could not say {text!r}: {error.stderr[-200:]!r}") from error


def _read(content: bytes, text: str) -> tuple[np.ndarray, int]:
    """Samples of a 16 bit mono WAV, and their rate. A stream's header may promise more samples than follow."""
    start = re.search(rb"data....", content[:4096], re.DOTALL)
    if start is None:
        raise SynthesisFailed(f"no sound for {text!r}")
    with wave.open(io.BytesIO(content)) as file:
        sample_rate = file.getframerate()
    data = content[start.end() :]
    return np.frombuffer(data[: len(data) // 2 * 2], np.int16).astype(np.float32) / 32768, sample_rate


def _trim(samples: np.ndarray, text: str) -> np.ndarray:
    """Keeps 20 ms before the first and 60 ms after the last loud sample: leads and tails are drawn elsewhere."""
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max(initial=1e-3))
    if not len(loud):
        raise SynthesisFailed(f"silence for {text!r}")
    return samples[max(0, loud[0] - 320) : loud[-1] + 960]
