"""Any sound file or sound track to mono float32 at one rate, never more of it than the limit; knows no video."""

import os
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
import soundfile
from av.container import InputContainer

from app.errors import BadInput
from app.media.container import BROKEN, audio_stream, frames, header_duration_s, open_container
from app.media.limits import GRACE_S, MediaLimits
from app.media.source import ByteReader, Source, unreadable
from app.types.media import Audio

MIN_DURATION_S = 0.1
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 768_000
_BLOCK_SAMPLES = 65_536
# libswresample's default filter lets 8.5 kHz through at -26 dB when going to 16 kHz; this one is at -106 dB, and flat
# within 0.1 dB up to 7 kHz.
_FILTER = {"filter_size": "128", "filter_type": "kaiser", "kaiser_beta": "10", "cutoff": "0.97"}

_UNREADABLE = (soundfile.SoundFileError, ValueError, TypeError)

# Mono samples and their rate.
Block = tuple[np.ndarray, int]


class TooLong(Exception):
    """More sound than the limit. Carries nothing: the caller knows the file and the limit."""


def is_plain_sound(head: bytes) -> bool:
    """WAV, AIFF, FLAC and AU, which soundfile reads best."""
    return (
        (head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE")
        or (head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"))
        or head.startswith((b"fLaC", b".snd"))
    )


def decode_audio(source: Source, sample_rate: int, limits: MediaLimits) -> Audio:
    """A sound file, or the sound of a video; raises BadInput."""
    try:
        samples = np.zeros(0, np.float32)
        if is_plain_sound(source.head):
            samples = resampled(_plain_blocks(source), sample_rate, limits.max_audio_s)
        if len(samples) == 0:
            with open_container(source, limits.max_pixels) as container:
                samples = track_samples(container, sample_rate, limits.max_audio_s)
    except TooLong:
        raise too_long(source, duration_s(source, limits), limits.max_audio_s) from None
    if len(samples) == 0:
        raise BadInput(f"{source.name} holds no sound that can be decoded; save it as WAV or MP3 and upload that.")
    if len(samples) < MIN_DURATION_S * sample_rate:
        raise BadInput(f"{source.name} lasts less than {MIN_DURATION_S:g} s, too short to be heard; record it again.")
    return Audio(samples, sample_rate)


def duration_s(source: Source, limits: MediaLimits) -> float | None:
    """What the header says; raises BadInput for what is no sound file."""
    if is_plain_sound(source.head):
        try:
            with soundfile.SoundFile(_SteadyReader(source.file)) as file:
                return file.frames / file.samplerate
        except (*_UNREADABLE, ZeroDivisionError):
            pass
    with open_container(source, limits.max_pixels) as container:
        if audio_stream(container) is None:
            raise unreadable(source)
        return header_duration_s(container)


def track_samples(container: InputContainer, sample_rate: int, max_s: float) -> np.ndarray:
    """The first sound track, empty when there is none or nothing of it decodes; raises TooLong."""
    stream = audio_stream(container)
    if stream is None or stream.codec_context is None:
        return np.zeros(0, np.float32)
    return resampled(_track_blocks(container, stream), sample_rate, max_s)


def too_long(source: Source, duration: float | None, max_s: float) -> BadInput:
    lasts = f"lasts {duration:.0f} s" if duration and duration > max_s else "is too long"
    return BadInput(f"{source.name} {lasts} and at most {max_s:g} s can be sent; cut it first.")


def resampled(blocks: Iterator[Block], sample_rate: int, max_s: float) -> np.ndarray:
    """All blocks in a row at one rate, float32 in [-1, 1]; raises TooLong as soon as there is too much.

    Not-a-number counts as silence. Sound that has the right rate already passes unchanged.
    """
    pieces: list[np.ndarray] = []
    resampler: _Resampler | None = None
    num_seconds = 0.0
    for samples, rate in blocks:
        num_seconds += len(samples) / rate
        if num_seconds > max_s + GRACE_S:
            raise TooLong
        if resampler is None or resampler.rate_in != rate:
            pieces += resampler.finish() if resampler else []
            resampler = _Resampler(rate, sample_rate)
        pieces += resampler.push(np.clip(np.nan_to_num(samples, posinf=0.0, neginf=0.0), -1.0, 1.0))
    pieces += resampler.finish() if resampler else []
    if not pieces:
        return np.zeros(0, np.float32)
    return np.clip(np.concatenate(pieces), -1.0, 1.0)


class _Resampler:
    """One run of sound of one rate. Owns the filter's state; gives as many samples as the run's length asks for."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self.rate_in = rate_in
        self._rate_out = rate_out
        self._num_in = 0
        self._num_out = 0
        self._filter = None
        if rate_in != rate_out:
            self._filter = av.AudioResampler("flt", "mono", rate_out, options=_FILTER)

    def push(self, samples: np.ndarray) -> list[np.ndarray]:
        if self._filter is None or len(samples) == 0:
            return [samples]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), "flt", "mono")
        frame.sample_rate, frame.pts, frame.time_base = self.rate_in, self._num_in, Fraction(1, self.rate_in)
        self._num_in += len(samples)
        return self._counted([out.to_ndarray()[0] for out in self._filter.resample(frame)])

    def finish(self) -> list[np.ndarray]:
        if self._filter is None or self._num_in == 0:
            return []
        tail = self._counted([out.to_ndarray()[0] for out in self._filter.resample(None)])
        num_excess = self._num_out - round(self._num_in * self._rate_out / self.rate_in)
        if num_excess < 0:
            return [*tail, np.zeros(-num_excess, np.float32)]
        last = np.concatenate(tail) if tail else np.zeros(0, np.float32)
        return [last[: len(last) - num_excess]]

    def _counted(self, pieces: list[np.ndarray]) -> list[np.ndarray]:
        self._num_out += sum(map(len, pieces))
        return pieces


class _SteadyReader(ByteReader):
    """Stays where it is when a broken header sends it before the file: soundfile would print such an error."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._seek = self.seek
        self.seek = self._seek_if_possible

    def _seek_if_possible(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError):
            return self.tell()


def _plain_blocks(source: Source) -> Iterator[Block]:
    """Through soundfile; ends early where the file is broken, at once when soundfile cannot read it at all."""
    try:
        with soundfile.SoundFile(_SteadyReader(source.file)) as file:
            if not _LOWEST_RATE <= file.samplerate <= _HIGHEST_RATE:
                return
            num_frames = max(1, min(_BLOCK_SAMPLES, 16 * _BLOCK_SAMPLES // file.channels))
            while len(block := file.read(num_frames, dtype="float32", always_2d=True)):
                yield block.mean(axis=1), file.samplerate
    except _UNREADABLE:
        return


def _track_blocks(container: InputContainer, stream: av.AudioStream) -> Iterator[Block]:
    for frame in frames(container, stream):
        if not _LOWEST_RATE <= frame.sample_rate <= _HIGHEST_RATE:
            return
        try:
            yield _mono(frame), frame.sample_rate
        except BROKEN:
            return


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """The mean of all channels, as the published reader (librosa) takes it; float32 with full scale at 1."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype.kind == "f":
        return values.mean(axis=0, dtype=np.float64).astype(np.float32)
    # Unsigned 8-bit sound rests at 128.
    offset, full_scale = (128, 128) if values.dtype.kind == "u" else (0, np.iinfo(values.dtype).max + 1)
    return ((values.mean(axis=0, dtype=np.float64) - offset) / full_scale).astype(np.float32)
