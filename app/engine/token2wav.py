"""Codec tokens to sound as they come: windows of the flow-matching DiT, then BigVGAN with its context."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from transformers import Qwen2_5OmniToken2WavModel as Token2WavModel

from app.engine.flow import LEAST_GUIDANCE, Flow, Voice
from app.engine.ramp import Blocks, Paces, Ramp
from app.engine.spec import TOKEN2WAV_SAMPLE_RATE


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


DEFAULT_WINDOWS = Windows()


class Token2Wav:
    """The vocoder's weights, always float32, and how fast they are here; `stream` opens one utterance."""

    def __init__(self, model: Token2WavModel) -> None:
        self.dit = model.code2wav_dit_model
        self.flow = Flow(self.dit)
        self.bigvgan = model.code2wav_bigvgan_model
        self.samples_per_frame = 1
        for rate in self.bigvgan.config.upsample_rates:
            self.samples_per_frame *= rate
        self.paces = Paces()

    @property
    def device(self) -> torch.device:
        return self.dit.proj_out.weight.device

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

    def mel(
        self, voice: Voice, codes: list[int], noise: torch.Tensor, ode_points: int, guidance: float
    ) -> Iterator[torch.Tensor | None]:
        """Solves one window, see `Flow.mel`."""
        # Codes that the codec never has (a Talker may sample control codes) are silence, as in other servers.
        known = self.dit.text_embed.codec_embed.num_embeddings
        codes_in = torch.tensor([[code if code < known else 0 for code in codes]], device=self.device)
        return self.flow.mel(voice, codes_in, noise, ode_points, guidance)

    def wave(self, mel: torch.Tensor) -> torch.Tensor:
        """Mel `[1, num_frames, mel_dim]` -> samples `[num_frames * samples_per_frame]` in [-1, 1]."""
        return self.bigvgan(mel.transpose(1, 2)).reshape(-1).float()


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
        self._mel = torch.zeros(1, 0, self._mel_dim, device=weights.device)
        self._codes: list[int] = []
        self._num_ready = 0
        self.num_samples = 0
        # How long the player must wait with the first packet.
        self.hold_s = 0.0

    def text_ended(self) -> None:
        """Codes come faster from now on."""
        self._ramp.text_ended()

    def push(self, code: int) -> Iterator[torch.Tensor | None]:
        """Yields None between units of work and each new packet of samples `[num_samples]`, often nothing at all."""
        self._codes.append(code)
        self._ramp.code()
        known, ahead = self._mel.shape[1], self._windows.look_ahead
        num_ready = (len(self._codes) * self._repeats - known) // self._block - ahead
        if num_ready > self._num_ready:
            self._num_ready = num_ready
            if self._ramp.is_due(num_ready):
                self._num_ready = 0
                yield from self._window(known + num_ready * self._block, known + (num_ready + ahead) * self._block)

    def finish(self) -> Iterator[torch.Tensor | None]:
        """The rest: what was kept back for its look-ahead. Nothing when called again."""
        end = len(self._codes) * self._repeats
        if end > self._mel.shape[1]:
            yield from self._window(end, end)

    def _window(self, final: int, end: int) -> Iterator[torch.Tensor | None]:
        """Make mel frames final up to `final`, looking ahead to `end`, and the sound that they settle."""
        self._ramp.begin()
        start = max(0, self._mel.shape[1] - self._windows.look_back * self._block)
        while self._noise.shape[1] < end:
            block = torch.randn(1, self._block, self._mel_dim, generator=self._generator)
            self._noise = torch.cat([self._noise, block], dim=1)
        noise = self._noise[:, start:end].to(self._weights.device)
        codes = self._codes[start // self._repeats : -(-end // self._repeats)]
        mel = None
        for mel in self._weights.mel(self._voice, codes, noise, self._ode_points, self._guidance):
            if mel is None:
                yield None
        known = self._mel.shape[1]
        self._mel = torch.cat([self._mel, mel[:, known - start : final - start]], dim=1)
        # Off the device before the clock is read: what was begun there may still run.
        packet = self._packet(mel[:, final - start :], is_last=final == end).cpu()
        lengths = (-(-frames // self._block) for frames in (end - start, final - known))
        self.hold_s += self._ramp.done(*lengths, is_last=final == end)
        yield packet

    def _packet(self, draft: torch.Tensor, is_last: bool) -> torch.Tensor:
        """Sound up to the last final mel frame. The look-ahead's draft serves as the vocoder's right context."""
        context, rate = self._windows.vocoder_context, self._weights.samples_per_frame
        done = self.num_samples // rate
        final = self._mel.shape[1]
        until = final if is_last or draft.shape[1] >= context else final - context + draft.shape[1]
        start = max(0, done - context)
        mel = torch.cat([self._mel[:, start:], draft[:, :context]], dim=1)
        mel = mel[:, : until - start + context]
        samples = self._weights.wave(mel)[(done - start) * rate : (until - start) * rate]
        self.num_samples += samples.shape[0]
        return samples
