"""Codec tokens to sound as they come: windows of the flow-matching DiT, then BigVGAN with its context."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers import Qwen2_5OmniToken2WavModel as Token2WavModel

from app.engine.aside import Aside, Packet
from app.engine.bigvgan import BigVGAN, Sounding
from app.engine.flow import LEAST_GUIDANCE, Flow, Solving, Voice
from app.engine.ramp import Blocks, Paces, Ramp
from app.engine.spec import TOKEN2WAV_SAMPLE_RATE
from app.engine.stepping import Step, run_together
from app.types.turn import TurnSettings


@dataclass(frozen=True)
class Windows:
    """Geometry in DiT blocks (24 mel frames, 12 codes, 240 ms as published) and, for the vocoder, in mel frames.

    `chunks`: blocks made final per window, the last entry repeats, where no measured pace says otherwise
    (`app.engine.ramp`). The first is small for an early first packet, the second too, because it must be there before
    the first was played; later ones are larger because a window costs (look_back + chunk + look_ahead) / chunk of the
    offline pass. With look-back 2 and look-ahead 1 the mel stays within
    about 5e-4 of its deviation of the offline pass; BigVGAN reaches its own rounding error with 20 frames of context.
    """

    chunks: tuple[int, ...] = (1, 1, 2, 3)
    look_back: int = 2
    look_ahead: int = 1
    vocoder_context: int = 20

    def sounding_frames(self, num_final: int, num_drafted: int) -> int:
        """Mel frames whose sound can be made when so many are final, with the draft of the next as right context."""
        return num_final - max(0, self.vocoder_context - num_drafted)


DEFAULT_WINDOWS = Windows()


class Token2Wav:
    """The vocoder's weights, always float32, and how fast they are here; `speech` opens one utterance.

    `records`, `batches`: see `Flow`. On CUDA all of it runs aside, and nobody waits for it.
    """

    def __init__(self, model: Token2WavModel, records: bool = False, batches: bool | None = None) -> None:
        self.dit = model.code2wav_dit_model
        self.aside = Aside(self.device)
        self.flow = Flow(self.dit, self.aside, records, batches)
        self.bigvgan = BigVGAN(model.code2wav_bigvgan_model, self.aside, records, batches)
        self.samples_per_frame = self.bigvgan.samples_per_frame
        self.paces = Paces()

    @property
    def device(self) -> torch.device:
        return self.dit.proj_out.weight.device

    def speech(
        self,
        voice: Voice,
        seed: int,
        settings: TurnSettings,
        sample_rate: int,
        clock: Callable[[], float] = time.monotonic,
        windows: Windows = DEFAULT_WINDOWS,
    ) -> "SpeechStream":
        """An utterance of a turn with such settings, of which `seed` is drawn already; it keeps pace with `clock`."""
        # Who names a seed wants the same sound again, and other windows change it, if ever so little.
        is_fixed = settings.seed is not None
        ramp = self.ramp(windows, settings.ode_points, settings.guidance, sample_rate, clock, is_fixed)
        return self.stream(voice, seed, settings.ode_points, settings.guidance, windows, ramp)

    def stream(
        self,
        voice: Voice,
        seed: int,
        ode_points: int = 10,
        guidance: float = 0.5,
        windows: Windows = DEFAULT_WINDOWS,
        ramp: Ramp | None = None,
    ) -> "SpeechStream":
        """`ramp`: decides how much each window makes; the chunks of `windows` by default."""
        return SpeechStream(self, voice, seed, ode_points, guidance, windows, ramp or Ramp(self._blocks(windows)))

    def ramp(
        self,
        windows: Windows,
        ode_points: int,
        guidance: float,
        sample_rate: int,
        clock: Callable[[], float] = time.monotonic,
        is_fixed: bool = False,
    ) -> Ramp:
        """Of one utterance, at the pace that was measured here. `is_fixed`: see there."""
        num_evaluations = 4 * (ode_points - 1) * (2 if guidance >= LEAST_GUIDANCE else 1)
        return Ramp(self._blocks(windows, sample_rate), self.paces.of(num_evaluations), clock, is_fixed)

    def _blocks(self, windows: Windows, sample_rate: int = TOKEN2WAV_SAMPLE_RATE) -> Blocks:
        size = self.dit.block_size
        seconds = size * self.samples_per_frame / sample_rate
        return Blocks(windows.chunks, windows.look_back, windows.look_ahead, size // self.dit.repeats, seconds)

    def solving(
        self,
        voice: Voice,
        codes: Sequence[int],
        noise: torch.Tensor,
        ode_points: int,
        guidance: float,
        recurs: bool = True,
    ) -> Solving:
        """The step that solves one window; `noise` `[1, num_frames, mel_dim]` on the CPU. `recurs`: windows of this
        length are common."""
        # Codes that the codec never has (a Talker may sample control codes) are silence, as in other servers.
        known = self.dit.text_embed.codec_embed.num_embeddings
        with self.aside():
            codes_in = self.aside.upload(torch.tensor([code if code < known else 0 for code in codes]))
            return self.flow.solve(voice, codes_in, self.aside.upload(noise), ode_points, guidance, recurs)

    def lengths(self, windows: Windows) -> tuple[list[int], list[int]]:
        """Mel frames of all windows that a ramp can ask for but a reply's last: of the DiT's and of BigVGAN's."""
        blocks, size, context = self._blocks(windows), self.dit.block_size, windows.vocoder_context
        dit, mels = set(), set()
        for back, chunk in blocks.possible():
            dit.add(blocks.in_window(back, chunk) * size)
            done, until = (
                max(0, windows.sounding_frames(num_blocks * size, windows.look_ahead * size))
                for num_blocks in (back, back + chunk)
            )
            mels.add(until - max(0, done - context) + context)
        return sorted(dit), sorted(mels)

    def recordings(self, voice: Voice, guidance: float, windows: Windows = DEFAULT_WINDOWS) -> list[Callable[[], None]]:
        """What to do so that all such windows are recorded before one is asked for, if they can be."""

        def solve(num_frames: int) -> None:
            codes = [0] * (num_frames // self.dit.repeats)
            run_together([self.solving(voice, codes, torch.zeros(1, num_frames, self.dit.mel_dim), 2, guidance)])

        def sound(num_frames: int) -> None:
            with self.aside():
                mel = torch.zeros(1, num_frames, self.dit.mel_dim, device=self.device)
            run_together([self.sounding(mel)])

        dit, mels = self.lengths(windows)
        return [partial(solve, length) for length in dit] + [partial(sound, length) for length in mels]

    def sounding(self, mel: torch.Tensor, recurs: bool = True) -> Sounding:
        """The step that makes a wave of a mel `[1, num_frames, mel_dim]`, which was made aside."""
        return Sounding(self.bigvgan, mel, recurs)


@dataclass(frozen=True, eq=False)
class _Flight:
    """A packet that is not there yet, of a window of so many blocks, `num_final` of which it made final."""

    packet: Packet
    num_blocks: int
    num_final: int
    is_last: bool


class SpeechStream:
    """One utterance on its way to sound: `push` codes, `finish` once. The packets together are the whole wave.

    The noise is drawn block by block, so it depends on the seed and not on how the codes were cut.
    """

    def __init__(
        self,
        weights: Token2Wav,
        voice: Voice,
        seed: int,
        ode_points: int,
        guidance: float,
        windows: Windows,
        ramp: Ramp,
    ) -> None:
        self._weights = weights
        self._voice = voice
        self._ode_points = ode_points
        self._guidance = guidance
        self._windows = windows
        self._ramp = ramp
        self._generator = torch.Generator().manual_seed(seed)
        dit = weights.dit
        self._block, self._repeats, self._mel_dim = dit.block_size, dit.repeats, dit.mel_dim
        self._noise = torch.zeros(1, 0, self._mel_dim)
        with weights.aside():
            self._mel = torch.zeros(1, 0, self._mel_dim, device=weights.device)
        self._codes: list[int] = []
        self._num_ready = 0
        self._flight: _Flight | None = None
        self.num_samples = 0
        # Of the newest packet: seconds that a device was at it while nobody waited.
        self.device_s = 0.0
        # How long the player must wait with the first packet.
        self.hold_s = 0.0

    def text_ended(self) -> None:
        """Codes come faster from now on."""
        self._ramp.text_ended()

    def pause(self) -> None:
        """Where there is only to be waited."""
        if self._flight is not None:
            self._flight.packet.pause()

    def push(self, frame: Sequence[int]) -> Iterator[Step | torch.Tensor | None]:
        """`frame`: one code. Yields what is to be done, None where there is only to be waited, and each new packet of
        samples `[num_samples]`; often nothing at all."""
        yield from self._arrived()
        self._codes += frame
        self._ramp.code()
        known, ahead = self._mel.shape[1], self._windows.look_ahead
        num_ready = (len(self._codes) * self._repeats - known) // self._block - ahead
        if num_ready > self._num_ready:
            self._num_ready = num_ready
            # One window at a time: the next is decided on when it is known how long the last one took.
            yield from self._awaited()
            if self._ramp.is_due(num_ready):
                self._num_ready = 0
                yield from self._window(known + num_ready * self._block, known + (num_ready + ahead) * self._block)

    def finish(self) -> Iterator[Step | torch.Tensor | None]:
        """The rest: what was kept back for its look-ahead. Nothing when called again."""
        yield from self._awaited()
        end = len(self._codes) * self._repeats
        if end > self._mel.shape[1]:
            yield from self._window(end, end)
            yield from self._awaited()

    def _window(self, final: int, end: int) -> Iterator[Step | torch.Tensor | None]:
        """Make mel frames final up to `final`, looking ahead to `end`, and the sound that they settle."""
        self._ramp.begin()
        start = max(0, self._mel.shape[1] - self._windows.look_back * self._block)
        while self._noise.shape[1] < end:
            block = torch.randn(1, self._block, self._mel_dim, generator=self._generator)
            self._noise = torch.cat([self._noise, block], dim=1)
        codes, known, is_last = (
            self._codes[start // self._repeats : -(-end // self._repeats)],
            self._mel.shape[1],
            final == end,
        )
        with self._weights.aside():
            begun = self._weights.aside.now()
        noise = self._noise[:, start:end]
        solving = self._weights.solving(self._voice, codes, noise, self._ode_points, self._guidance, not is_last)
        while solving.num_left:
            yield from solving.done()
        with self._weights.aside():
            self._mel = torch.cat([self._mel, solving.mel[:, known - start : final - start]], dim=1)
            sounding, place = self._sounding(solving.mel[:, final - start :], is_last)
        yield from sounding.done()
        with self._weights.aside():
            packet = Packet(self._weights.aside, sounding.wave[place], begun)
        self._flight = _Flight(packet, -(-(end - start) // self._block), -(-(final - known) // self._block), is_last)
        yield from self._arrived()

    def _sounding(self, draft: torch.Tensor, is_last: bool) -> tuple[Sounding, slice]:
        """Sound up to the last final mel frame, and where it stands in the wave that is made: the look-ahead's draft
        serves as the vocoder's right context."""
        context, rate = self._windows.vocoder_context, self._weights.samples_per_frame
        done = self.num_samples // rate
        final = self._mel.shape[1]
        until = final if is_last else self._windows.sounding_frames(final, draft.shape[1])
        start = max(0, done - context)
        mel = torch.cat([self._mel[:, start:], draft[:, :context]], dim=1)[:, : until - start + context]
        place = slice((done - start) * rate, (until - start) * rate)
        self.num_samples += place.stop - place.start
        return self._weights.sounding(mel, not is_last), place

    def _arrived(self) -> Iterator[torch.Tensor]:
        """The packet that is on its way, if it is there."""
        flight = self._flight
        if flight is not None and flight.packet.is_ready:
            self._flight = None
            self.hold_s += self._ramp.done(flight.num_blocks, flight.num_final, is_last=flight.is_last)
            self.device_s = flight.packet.device_s
            yield flight.packet.samples()

    def _awaited(self) -> Iterator[torch.Tensor | None]:
        """The same, when it is there."""
        while self._flight is not None:
            yield from self._arrived()
            if self._flight is not None:
                yield None
