"""From a clean voice to what a microphone delivers: other formants, room, noise, bandwidth, clipping, level; on waves.

Everything is drawn from the given generator; nothing here knows which voice speaks or what it says.
"""

from collections.abc import Sequence
from random import Random

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import fftconvolve, istft, stft

SAMPLE_RATE = 16_000
# Share of clips that are left as the synthesizer gave them, apart from level and silence around.
UNTOUCHED = 0.06
MIN_SNR_DB, MAX_SNR_DB = 5.0, 40.0
NOISES = ("coloured", "hum", "babble", "gusts", "clicks")
NOISE_WEIGHTS = (6, 1.5, 2, 1.5, 0.7)
# A voice that is already blurred by its room is not buried in noise as well: a person must still understand it.
MIN_REVERBERANT_SNR_DB = 12.0


def augment(
    random: Random, voice: np.ndarray, babble: Sequence[np.ndarray], *, other_speaker: bool = True
) -> np.ndarray:
    """One random recording of a clean voice (float32 [num_samples] at 16 kHz), its silences before and after included.

    `babble`: other clean voices, for noise out of speech. `other_speaker` allows a change of formants.
    """
    if random.random() < UNTOUCHED:
        return level(random, edges(random, voice))
    generator = np.random.default_rng(random.getrandbits(63))
    if other_speaker and random.random() < 0.4:
        voice = change_formants(random, voice)
    sound = edges(random, voice)
    is_reverberant = random.random() < 0.6
    if is_reverberant:
        sound = reverberate(random, generator, sound)
    if random.random() < 0.75:
        lowest = MIN_REVERBERANT_SNR_DB if is_reverberant else MIN_SNR_DB
        sound = add_noise(random, generator, sound, random.uniform(lowest, MAX_SNR_DB), babble)
    if random.random() < 0.7:
        sound = microphone(random, sound)
    if random.random() < 0.08:
        sound = clip(random, sound)
    if random.random() < 0.05:
        sound = few_bits(sound)
    return level(random, sound)


def recording(random: Random, voice: np.ndarray) -> np.ndarray:
    """The unspoilt counterpart of `augment`: only silence around it and a level."""
    return level(random, edges(random, voice))


def edges(random: Random, voice: np.ndarray) -> np.ndarray:
    """Silence before (0.02 to 0.6 s) and after (0.05 to 0.4 s)."""
    lead, tail = random.uniform(0.02, 0.6), random.uniform(0.05, 0.4)
    return np.pad(voice, (int(lead * SAMPLE_RATE), int(tail * SAMPLE_RATE)))


def level(random: Random, sound: np.ndarray) -> np.ndarray:
    """Peak between -1 and -30 dB of full scale, seldom with an offset, as converters have."""
    sound = sound * (10 ** (-random.uniform(1.0, 30.0) / 20) / max(1e-6, float(np.abs(sound).max())))
    if random.random() < 0.1:
        sound = sound + random.uniform(-0.01, 0.01)
    return sound.clip(-1.0, 1.0).astype(np.float32)


def change_formants(random: Random, voice: np.ndarray) -> np.ndarray:
    """Moves the spectral envelope, each region by its own few percent, and keeps pitch and timing."""
    _, _, spectrum = stft(voice, nperseg=512, noverlap=384)
    log_power = np.log(np.abs(spectrum) + 1e-6)
    # The envelope is what the first 28 cepstral coefficients say; pitch lies above them.
    cepstrum = np.fft.irfft(log_power, axis=0)
    cepstrum[29:-28] = 0.0
    envelope = np.fft.rfft(cepstrum, axis=0).real
    bins = len(envelope)
    knots = np.linspace(0, bins - 1, 7)
    shifts = 1 + random.gauss(0.0, 0.04) + np.array([random.gauss(0.0, 0.05) for _ in knots])
    source = np.interp(np.arange(bins), knots, knots * shifts.clip(0.8, 1.25)).clip(0, bins - 1.001)
    low = source.astype(int)
    share = (source - low)[:, None]
    moved = envelope[low] * (1 - share) + envelope[low + 1] * share
    gain = np.exp((moved - envelope).clip(-3.0, 3.0))
    changed = istft(spectrum * gain, nperseg=512, noverlap=384)[1][: len(voice)]
    return changed.astype(np.float32)


def reverberate(random: Random, generator: np.random.Generator, sound: np.ndarray) -> np.ndarray:
    """Direct sound, a few early reflections and a decaying tail (RT60 0.1 to 0.6 s) that loses its treble."""
    rt60_s = random.uniform(0.1, 0.6)
    length = int(rt60_s * SAMPLE_RATE)
    time_s = np.arange(length) / SAMPLE_RATE
    tail = generator.standard_normal(length) * 10 ** (-3 * time_s / rt60_s)
    damping = random.uniform(0.0, 0.7)
    tail = (1 - damping) * tail + damping * np.concatenate([[0.0], tail[:-1]])
    tail[: int(random.uniform(0.002, 0.02) * SAMPLE_RATE)] = 0.0
    response = np.zeros(length)
    response[0] = 1.0
    for _ in range(random.randint(2, 8)):
        delay_s = random.uniform(0.001, 0.04)
        sign = random.choice((-1, 1))
        response[int(delay_s * SAMPLE_RATE)] += sign * random.uniform(0.1, 0.6) * 10 ** (-3 * delay_s / rt60_s)
    # How far the tail lies below the direct sound: near a laptop 20 dB, across a room 2 dB.
    direct_db = random.uniform(2.0, 20.0)
    response += tail * 10 ** (-direct_db / 20) / np.sqrt((tail**2).sum() + 1e-9)
    return fftconvolve(sound, response.astype(np.float32))[: len(sound)].astype(np.float32)


def add_noise(
    random: Random, generator: np.random.Generator, sound: np.ndarray, snr_db: float, babble: Sequence[np.ndarray]
) -> np.ndarray:
    """One or two kinds of noise, together `snr_db` below the voice where it is loud."""
    kinds = random.choices(NOISES, NOISE_WEIGHTS, k=random.randint(1, 2))
    noise = np.zeros(len(sound), np.float32)
    for kind in kinds:
        if kind == "babble" and babble:
            piece = babble_noise(random, len(sound), babble)
        elif kind == "hum":
            piece = hum_noise(random, len(sound))
        elif kind == "clicks":
            piece = click_noise(random, generator, len(sound))
        else:
            piece = coloured_noise(random, generator, len(sound))
            if kind == "gusts":
                piece = piece * gusts(random, len(sound))
        noise += piece / (np.sqrt(np.mean(piece**2)) + 1e-9) * random.uniform(0.3, 1.0)
    noise *= speech_rms(sound) * 10 ** (-snr_db / 20) / (np.sqrt(np.mean(noise**2)) + 1e-9)
    return sound + noise


def speech_rms(sound: np.ndarray) -> float:
    """Root mean square of the louder half of 20 ms frames, so that silence around does not count."""
    frames = sound[: len(sound) // 320 * 320].reshape(-1, 320)
    power = np.sort((frames**2).mean(axis=1))
    return float(np.sqrt(power[len(power) // 2 :].mean()))


def coloured_noise(random: Random, generator: np.random.Generator, length: int) -> np.ndarray:
    """White to brown, with a resonance at times (fans, engines)."""
    size = next_fast_len(length, real=True)
    spectrum = rfft(generator.standard_normal(size, dtype=np.float32))
    hertz = np.linspace(20.0, SAMPLE_RATE / 2, len(spectrum), dtype=np.float32)
    gain = hertz ** -random.uniform(0.0, 1.0)
    if random.random() < 0.3:
        centre, octaves = random.uniform(100.0, 4000.0), random.uniform(0.1, 0.6)
        gain = gain * (1 + random.uniform(1.0, 8.0) * np.exp(-((np.log2(hertz / centre) / octaves) ** 2)))
    return irfft(spectrum * gain, size)[:length].astype(np.float32)


def hum_noise(random: Random, length: int) -> np.ndarray:
    time_s = np.arange(length, dtype=np.float32) / SAMPLE_RATE
    mains = random.choice((50.0, 60.0)) * random.choice((1, 1, 2))
    phases = [(k, random.uniform(0.2, 1.0) / k, random.uniform(0.0, 6.3)) for k in range(1, random.randint(2, 9))]
    return sum(share * np.sin(2 * np.pi * mains * k * time_s + phase) for k, share, phase in phases).astype(np.float32)


def babble_noise(random: Random, length: int, babble: Sequence[np.ndarray]) -> np.ndarray:
    noise = np.zeros(length, np.float32)
    for _ in range(random.randint(3, 7)):
        voice = random.choice(babble)
        repeated = np.resize(voice, length + len(voice))
        start = random.randrange(len(voice))
        noise += repeated[start : start + length] * random.uniform(0.3, 1.0)
    return noise


def click_noise(random: Random, generator: np.random.Generator, length: int) -> np.ndarray:
    """Keys and knocks."""
    noise = coloured_noise(random, generator, length) * 0.02
    for _ in range(random.randint(1, 6)):
        size = random.randint(80, 800)
        start = random.randrange(max(1, length - size))
        knock = generator.standard_normal(size, dtype=np.float32) * np.exp(
            -np.arange(size, dtype=np.float32) * 5 / size
        )
        noise[start : start + size] += knock[: length - start]
    return noise


def gusts(random: Random, length: int) -> np.ndarray:
    """A level that comes and goes a few times a second."""
    num_knots = max(2, int(length / SAMPLE_RATE * random.uniform(1.0, 5.0)) + 2)
    knots = [10 ** random.uniform(-1.0, 0.3) for _ in range(num_knots)]
    return np.interp(np.linspace(0, num_knots - 1, length), np.arange(num_knots), knots).astype(np.float32)


def microphone(random: Random, sound: np.ndarray) -> np.ndarray:
    """Its frequency response: a random tilt and ripple, a low and a high end; one in six is a telephone."""
    size = next_fast_len(len(sound) + 512, real=True)
    spectrum = rfft(sound, size)
    hertz = np.linspace(1.0, SAMPLE_RATE / 2, len(spectrum))
    knots_hz = np.geomspace(80.0, 8000.0, 8)
    tilt_db = random.uniform(-6.0, 6.0)
    knots_db = [tilt_db * (k / 7 - 0.5) + random.gauss(0.0, 2.5) for k in range(8)]
    gain = 10 ** (np.interp(np.log(hertz), np.log(knots_hz), knots_db) / 20)
    if random.random() < 0.16:
        low_hz, high_hz = 300.0, 3400.0
    else:
        low_hz = random.uniform(50.0, 300.0) if random.random() < 0.5 else None
        high_hz = random.uniform(3400.0, 7800.0) if random.random() < 0.5 else None
    order = random.choice((2, 4, 8))
    if low_hz is not None:
        gain = gain / np.sqrt(1 + (low_hz / hertz.clip(low_hz / 30)) ** (2 * order))
    if high_hz is not None:
        gain = gain / np.sqrt(1 + (hertz / high_hz) ** (2 * order + 8))
    return irfft(spectrum * gain, size)[: len(sound)].astype(np.float32)


def clip(random: Random, sound: np.ndarray) -> np.ndarray:
    """Too loud for the converter: its loudest 0.2 to 5 % of samples within speech flattened, hard or softly."""
    limit = np.quantile(np.abs(sound[np.abs(sound) > 0.05 * np.abs(sound).max()]), 1 - random.uniform(0.002, 0.05))
    if random.random() < 0.5:
        return sound.clip(-limit, limit)
    return limit * np.tanh(sound / limit)


def few_bits(sound: np.ndarray) -> np.ndarray:
    """Through the eight logarithmic bits of a telephone (mu-law)."""
    peak = float(np.abs(sound).max()) + 1e-9
    squeezed = np.sign(sound) * np.log1p(255 * np.abs(sound) / peak) / np.log(256)
    steps = np.round(squeezed * 127) / 127
    return (np.sign(steps) * (256 ** np.abs(steps) - 1) / 255 * peak).astype(np.float32)
