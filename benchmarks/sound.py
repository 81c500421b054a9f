"""What fewer solver points and no guidance save and spoil: time, distance from the published setting, words understood.

    python -m benchmarks.sound                       the micro checkpoint, one thread of a CPU
    python -m benchmarks.sound --checkpoint DIR      another one that speaks English in the same voices
    python -m benchmarks.sound --points 5 3          fewer settings

Right replies to held-out questions are read by every voice; their codes are made once, the sound anew by every
setting, with the same noise. Times are of a window of 6 blocks that makes 3 of them final, all settings in turn; on a
CPU of this process alone, whatever else runs there.
Distances are from 10 points with guidance 0.5: log-mels in dB over what is not silent, waves by their deviation; the
same with another seed tells how far apart two sounds of the published setting are. A recognizer that expects any of the
replies' words at any place hears how many are understood. The last line is JSON.
"""

import argparse
import json
import queue
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import transformers
from tqdm import tqdm

from app.chatml.render import DEFAULT_SYSTEM_PROMPT, render_turn
from app.config import MICRO_CHECKPOINT
from app.engine.stepping import alone
from app.engine.token2wav import Windows
from app.types.events import TERMINAL, CodecDelta
from app.types.turn import Part
from benchmarks.subject import Subject, hardware, load_subject, wait
from training.evaluate.recognizer import Recognizer, word_errors, words_of
from training.evaluate.talk import reply_set
from training.speech.mel import LogMel

DB = 20 / np.log(10)
# Frames so much below the loudest, in ln of the mean band, are silence.
SILENCE = 4.0
ONE_WINDOW = Windows(chunks=(1_000_000,))
TIMED = Windows(chunks=(2, 3))
NUM_RESAMPLES = 400


@dataclass(frozen=True, order=True)
class Setting:
    points: int
    guidance: float
    seed: int = 0

    @property
    def name(self) -> str:
        name = f"{self.points} points, guidance {self.guidance:g}"
        return f"{name}, another seed" if self.seed else name


PUBLISHED = Setting(10, 0.5)
GUIDANCES = (0.5, 0.0)


@dataclass(frozen=True, eq=False)
class Reading:
    """A reply's codes in one voice, and its sound `[num_samples]` by the published setting."""

    text: str
    voice: str
    codes: list[int]
    wave: np.ndarray


@dataclass(frozen=True)
class Figures:
    """Over all readings. `ms`: of a window; `mel_db`, `wave_rms`: distances from the published setting; `words`: share
    understood, `words_lost` of the published setting's with its standard error."""

    ms: float
    mel_db: float
    mel_rms: float
    wave_rms: float
    words: float
    words_lost: float
    words_lost_error: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=str(MICRO_CHECKPOINT))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--points", type=int, nargs="+", default=list(range(9, 1, -1)), help="besides the published 10")
    parser.add_argument("--replies", type=int, default=24, help="read by every voice")
    parser.add_argument("--repeats", type=int, default=9, help="of each window that is timed")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    subject = load_subject(options.checkpoint, "micro", torch.device(options.device))
    try:
        points = dict.fromkeys([PUBLISHED.points, *options.points])
        settings = [Setting(number, guidance) for guidance in GUIDANCES for number in points]
        report(subject, settings, options.replies, options.repeats)
    finally:
        subject.engine.close()


def report(subject: Subject, settings: Sequence[Setting], num_replies: int, repeats: int) -> None:
    times = window_times(subject, settings, repeats)
    texts = reply_set(num_replies)
    judge = Recognizer(word for text, _ in texts for word in words_of(text))
    readings = read(subject, texts)
    errors = [errors_of(judge, subject, one, one.wave) for one in readings]
    figures = {}
    for setting in (*settings, replace(PUBLISHED, seed=1)):
        figures[setting] = compare(subject, readings, errors, judge, setting, times[replace(setting, seed=0)])
    best = figures[PUBLISHED]
    seconds = sum(len(one.wave) for one in readings) / subject.engine.spec.output_sample_rate
    print(f"{subject.name} on {hardware(subject.device)}: {len(readings)} readings, {seconds:.0f} s\n")
    print(f"{'':38}{'window':>10}{'of best':>9}{'mel':>9}{'wave':>9}{'words':>9}{'lost':>14}")
    for setting, one in figures.items():
        lost = f"{one.words_lost:+.3f} ± {one.words_lost_error:.3f}"
        print(
            f"{setting.name:38}{one.ms:7.1f} ms{one.ms / best.ms:9.2f}{one.mel_db:6.2f} dB{one.wave_rms:9.3f}"
            f"{one.words:9.3f}{lost:>16}"
        )
    rows = [
        {"points": setting.points, "guidance": setting.guidance, "seed": setting.seed}
        | {"over_best": round(one.ms / best.ms, 3)}
        | {name: round(value, 4) for name, value in vars(one).items()}
        for setting, one in figures.items()
    ]
    about = {
        "readings": len(readings),
        "speech_s": round(seconds, 1),
        "device": subject.device.type,
        "hardware": hardware(subject.device),
        "checkpoint": subject.name,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    print(json.dumps({"settings": rows} | about))


# -- sound ------------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def sound(subject: Subject, voice: str, codes: Sequence[int], setting: Setting) -> np.ndarray:
    """All codes in one window, so that windows add nothing to the differences."""
    stages = subject.engine.stages
    speech = stages.token2wav.stream(stages.voices[voice], setting.seed, setting.points, setting.guidance, ONE_WINDOW)
    units = [unit for code in codes for unit in alone(speech.push((code,)))] + list(alone(speech.finish()))
    return np.concatenate([unit.cpu().numpy() for unit in units if isinstance(unit, torch.Tensor)])


@torch.inference_mode()
def window_times(subject: Subject, settings: Sequence[Setting], repeats: int) -> dict[Setting, float]:
    """Median milliseconds of a window and its packet."""
    clock = time.process_time if subject.device.type == "cpu" else time.perf_counter
    stages = subject.engine.stages
    voice, block = next(iter(stages.voices.values())), stages.token2wav.dit.block_size // stages.token2wav.dit.repeats
    times: dict[Setting, list[float]] = {setting: [] for setting in settings}
    for _ in range(repeats + 1):
        for setting in settings:
            speech = stages.token2wav.stream(voice, 0, setting.points, setting.guidance, TIMED)
            # The first window takes 3 blocks; the second, of 2 + 3 + 1, is due with the last code of the sixth.
            for code in range(6 * block - 1):
                list(alone(speech.push((code,))))
            wait(subject.device)
            start = clock()
            packets: list[torch.Tensor] = []
            while not packets:  # a GPU's comes with a later code
                packets = [unit for unit in alone(speech.push((0,))) if isinstance(unit, torch.Tensor)]
            wait(subject.device)
            times[setting].append(clock() - start)
    return {setting: 1e3 * statistics.median(found[1:]) for setting, found in times.items()}


def read(subject: Subject, texts: Sequence[tuple[str, tuple[Part, ...]]]) -> list[Reading]:
    readings = []
    for text, parts in tqdm(texts, desc="codes", mininterval=5):
        for voice in subject.engine.spec.voices:
            codes = codes_of(subject, text, parts, voice)
            readings.append(Reading(text, voice, codes, sound(subject, voice, codes, PUBLISHED)))
    return readings


def codes_of(subject: Subject, text: str, parts: tuple[Part, ...], voice: str) -> list[int]:
    engine, defaults = subject.engine, subject.engine.spec.defaults
    settings = replace(
        defaults, voice=voice, seed=0, talker=defaults.talker.greedy(), ode_points=2, guidance=0.0, say=text
    )
    state, events = engine.new_state(), queue.SimpleQueue()
    prompt = render_turn(engine.spec, engine.tokenizer, state, parts, DEFAULT_SYSTEM_PROMPT, text)
    engine.submit(state, prompt, settings, 1, events.put)
    codes: list[int] = []
    while not isinstance(event := events.get(), TERMINAL):
        if isinstance(event, CodecDelta):
            codes += [code for code in event.codec_ids if code not in engine.stages.talker.end_ids]
    state.close()
    return codes


# -- what it is worth -------------------------------------------------------------------------------------------------


def errors_of(judge: Recognizer, subject: Subject, reading: Reading, wave: np.ndarray) -> tuple[int, int]:
    return word_errors(reading.text, judge.recognize(wave, subject.engine.spec.output_sample_rate))


def compare(
    subject: Subject,
    readings: Sequence[Reading],
    published: Sequence[tuple[int, int]],
    judge: Recognizer,
    setting: Setting,
    ms: float,
) -> Figures:
    mels, shares, waves, errors = [], [], [], []
    for reading in tqdm(readings, desc=setting.name, mininterval=5):
        wave = reading.wave if setting == PUBLISHED else sound(subject, reading.voice, reading.codes, setting)
        apart, deviation = mel_distance(wave, reading.wave)
        mels.append(DB * apart)
        shares.append(apart / deviation)
        waves.append(float(np.sqrt(np.mean((wave - reading.wave) ** 2)) / reading.wave.std()))
        errors.append(errors_of(judge, subject, reading, wave))
    num_words = np.array([words for _, words in errors])
    wrong, wrong_before = (np.array([number for number, _ in found]) for found in (errors, published))
    # Whole readings are drawn anew; both settings are heard on the same.
    draws = np.random.default_rng(0).integers(0, len(readings), (NUM_RESAMPLES, len(readings)))
    lost = ((wrong - wrong_before)[draws].sum(1) / num_words[draws].sum(1)).std()
    return Figures(
        ms,
        statistics.mean(mels),
        statistics.mean(shares),
        statistics.mean(waves),
        float(1 - wrong.sum() / num_words.sum()),
        float((wrong - wrong_before).sum() / num_words.sum()),
        float(lost),
    )


@torch.inference_mode()
def mel_distance(wave: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Root mean square between the ln-mels of two waves where the reference is no silence, and the reference's
    deviation there."""
    mel, wanted = (LogMel()(torch.from_numpy(np.ascontiguousarray(one))[None])[0] for one in (wave, reference))
    loudness = wanted.mean(0)
    heard = loudness > loudness.max() - SILENCE
    apart = (mel - wanted)[:, heard].square().mean().sqrt()
    return float(apart), float(wanted[:, heard].std())


if __name__ == "__main__":
    main()
