"""Codec tokens to sound as they come: windows of the flow-matching DiT, then BigVGAN with its context."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import Qwen2_5OmniToken2WavModel as Token2WavModel

from app.engine.flow import Flow, Voice


@dataclass(frozen=True)
class Windows:
    """Geometry in DiT blocks (24 mel frames, 12 codes, 240 ms as published) and, for the vocoder, in mel frames.

    `chunks`: blocks made final per window, the last entry repeats. The first is small for an early first packet, the
    second too, because it must be there before the first was played; later ones are larger because a window costs
    (look_back + chunk + look_ahead) / chunk of the offline pass. With look-back 2 and look-ahead 1 the mel stays within
    about 5e-4 of its deviation of the offline pass; BigVGAN reaches its own rounding error with 20 frames of context.
    """

    chunks: tuple[int, ...] = (1, 1, 2, 3)
    look_back: int = 2
    look_ahead: int = 1
    vocoder_context: int = 20

    def chunk(self, window: int) -> int:
        return self.chunks[min(window, len(self.chunks) - 1)]


DEFAULT_WINDOWS = Windows()


class Token2Wav:
    """The vocoder's weights, always float32; `stream` opens one utterance."""

    def __init__(self, model: Token2WavModel) -> None:
        self.dit = model.code2wav_dit_model
        self.flow = Flow(self.dit)
        self.bigvgan = model.code2wav_bigvgan_model
        self.samples_per_frame = 1
        for rate in self.bigvgan.config.upsample_rates:
            self.samples_per_frame *= rate

    @property
    def device(self) -> torch.device:
        return self.dit.proj_out.weight.device

    def stream(
        self, voice: Voice, seed: int, ode_points: int = 10, guidance: float = 0.5, windows: Windows = DEFAULT_WINDOWS
    ) -> "SpeechStream":
        return SpeechStream(self, voice, seed, ode_points, guidance, windows)

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
        self, weights: Token2Wav, voice: Voice, seed: int, ode_points: int, guidance: float, windows: Windows
    ) -> None:
        self._weights = weights
        self._voice = voice
        self._ode_points = ode_points
        self._guidance = guidance
        self._windows = windows
        self._generator = torch.Generator().manual_seed(seed)
        dit = weights.dit
        self._block, self._repeats, self._mel_dim = dit.block_size, dit.repeats, dit.mel_dim
        self._noise = torch.zeros(1, 0, self._mel_dim)
        self._mel = torch.zeros(1, 0, self._mel_dim, device=weights.device)
        self._codes: list[int] = []
        self._num_windows = 0
        self.num_samples = 0

    def push(self, code: int) -> Iterator[torch.Tensor | None]:
        """Yields None between units of work and each new packet of samples `[num_samples]`, often nothing at all."""
        self._codes.append(code)
        chunk = self._windows.chunk(self._num_windows)
        end = self._mel.shape[1] + (chunk + self._windows.look_ahead) * self._block
        if len(self._codes) * self._repeats >= end:
            yield from self._window(self._mel.shape[1] + chunk * self._block, end)

    def finish(self) -> Iterator[torch.Tensor | None]:
        """The rest: what was kept back for its look-ahead. Nothing when called again."""
        end = len(self._codes) * self._repeats
        if end > self._mel.shape[1]:
            yield from self._window(end, end)

    def _window(self, final: int, end: int) -> Iterator[torch.Tensor | None]:
        """Make mel frames final up to `final`, looking ahead to `end`, and the sound that they settle."""
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
        self._num_windows += 1
        yield self._packet(mel[:, final - start :], is_last=final == end)

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
