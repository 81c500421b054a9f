"""Codec frames to sound as they come, by Qwen3's vocoder: a transformer, then convolutions; knows no Talker.

The arithmetic of `Qwen3OmniMoeCode2Wav.forward`, which is causal, so each window goes on where the last one ended: it
is given the keys and values of the last frames and the last inputs of every convolution. Each frame is computed once,
whatever the windows, and nothing is computed again as context.

Transposed convolutions cut as much off both ends of what they make (`Qwen3OmniMoeCausalTransConvNet`). The sound
therefore lags behind the frames, by 555 samples (23 ms) as published, and what lags at an utterance's end never comes:
the library's one pass has it neither. Its `chunked_decode`, which `generate` uses, loses as much at every joint, 300
frames apart, and there forgets all but 25 frames, where the transformer's layers together hear 568.
"""

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import (
    Qwen3OmniMoeCode2Wav,
    Qwen3OmniMoeCode2WavTransformerLayer,
    apply_rotary_pos_emb,
)

from app.engine.aside import Aside, Packet
from app.engine.causal import Stack
from app.engine.graphs import Recordings
from app.engine.ramp import Blocks, Paces, Ramp
from app.engine.stepping import Step, alone
from app.types.turn import TurnSettings

# Frames per window where no measured pace says otherwise (`app.engine.ramp`, whose block is one frame here); the last
# entry repeats, and none is smaller than the one before. The first is of two: the sound of one (57 ms) would be over
# before the next can be relied on, and how fast frames come is only known with the second. A window costs its frames,
# and once what every window costs: with the published weights on one core of a CPU 0.18 s for 1 frame, 0.38 s for 8 and
# 0.54 s for 12. So more than 8 bring little.
CHUNKS = (2, 2, 3, 5, 8)


class Past(NamedTuple):
    """What n utterances' next windows need of those before.

    `num_frames` int64 `[n]`: so many there were; `heard` `[n, layer, 2, head, window - 1, head_dim]`: keys and values
    of the newest, which stand at the end; `kept` `[n, size]`: the last inputs of all convolutions, see `Tape`.
    """

    num_frames: torch.Tensor
    heard: torch.Tensor
    kept: torch.Tensor


class Waving(Step):
    """Asked: the sound of `codes` int64 `[1, num_frames, num_quantizers]` behind `past`, None at the beginning.
    `recurs`: such windows are common. Found: `wave` `[num_samples]` in [-1, 1], and `past` with these frames."""

    def __init__(self, runner: "Code2Wav", codes: torch.Tensor, past: Past | None, recurs: bool) -> None:
        super().__init__(runner)
        self.codes, self.past, self.recurs = codes, past, recurs
        self.wave: torch.Tensor | None = None


class Code2Wav:
    """The weights, which are the library's, and how fast they are here; `speech` opens one utterance.

    `records`, `batches`: see `Flow`. On CUDA all of it runs aside, and nobody waits for it.
    """

    def __init__(self, model: Qwen3OmniMoeCode2Wav, records: bool = False, batches: bool | None = None) -> None:
        assert set(model.config.layer_types) == {"sliding_attention"}, model.config.layer_types
        self._model = model
        self.aside = Aside(self.device)
        self._is_batched = self.device.type == "cuda" if batches is None else batches
        self._recordings = Recordings(self.device) if records else None
        self._num_before = model.config.sliding_window - 1
        self._stack = Stack(model)
        self.num_quantizers = model.config.num_quantizers
        self.samples_per_frame = int(model.total_upsample)
        # At the end of an utterance, and that its sound lags behind its frames.
        self.num_lost = self._stack.num_lost
        self.paces = Paces()

    @property
    def device(self) -> torch.device:
        return self._model.code_embedding.weight.device

    def speech(
        self,
        voice: object,
        seed: int,
        settings: TurnSettings,
        sample_rate: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> "WaveStream":
        """`voice`, `seed`: of no use here, the codes have the voice and nothing is drawn."""
        # Who names a seed wants the same sound again, and other windows round otherwise.
        is_fixed = settings.seed is not None
        return WaveStream(self, Ramp(self.blocks(sample_rate), self.paces.of(1), clock, is_fixed))

    def blocks(self, sample_rate: int, chunks: tuple[int, ...] = CHUNKS) -> Blocks:
        """What a ramp must know: windows need nothing on either side."""
        frame_s, lost_s = self.samples_per_frame / sample_rate, self.num_lost / sample_rate
        return Blocks(chunks, look_back=0, look_ahead=0, codes=1, seconds=frame_s, lost_s=lost_s)

    def waving(self, frames: Sequence[Sequence[int]], past: Past | None, recurs: bool = True) -> Waving:
        """The step that makes the sound of `frames`, the codes of each, behind `past`."""
        # Codes that the codec never has (a Talker may sample control codes) are code 0, as in `Token2Wav`.
        known = self._model.config.codebook_size
        codes = torch.tensor([[[code if 0 <= code < known else 0 for code in frame] for frame in frames]])
        with self.aside():
            return Waving(self, self.aside.upload(codes), past, recurs)

    def recordings(self, voice: object, guidance: float) -> list[Callable[[], None]]:
        """What to do so that all windows that a ramp can ask for but a reply's last are recorded before one is asked
        for, if they can be."""

        def sound(*chunks: int) -> None:
            past = None
            for chunk in chunks:
                step = self.waving([[0] * self.num_quantizers] * chunk, past)
                list(alone(step.done()))
                past = step.past

        later = {chunk for _, chunk in self.blocks(sample_rate=1).possible()}
        return [partial(sound, CHUNKS[0]), *(partial(sound, CHUNKS[0], chunk) for chunk in sorted(later))]

    # -- steps -------------------------------------------------------------------------------------------------------

    def key(self, step: Waving) -> Hashable:
        return (step.codes.shape[1], step.past is None) if self._is_batched else id(step)

    def run(self, steps: Sequence[Waving]) -> None:
        with self.aside():
            codes = torch.cat([step.codes for step in steps])
            past = None
            if steps[0].past is not None:
                past = Past(*(torch.cat(parts) for parts in zip(*(step.past for step in steps))))
            waves, past = self._recorded(codes, past, all(step.recurs for step in steps))
        for row, step in enumerate(steps):
            step.wave, step.past = waves[row], Past(*(part[row : row + 1] for part in past))

    def _recorded(self, codes: torch.Tensor, past: Past | None, recurs: bool) -> tuple[torch.Tensor, Past]:
        """`forward`, on tensors that stay where they are if such windows are common."""
        one = None
        if self._recordings is not None and recurs:
            num = len(codes)
            size = 1 << (num - 1).bit_length()  # three are done as four
            shape = (size, codes.shape[1], past is None)
            one = self._recordings.of(shape, lambda: _Pass(self, codes, past, size))
        if one is None:
            return self.forward(codes, past)
        return one(codes, past)

    def forward(self, codes: torch.Tensor, past: Past | None = None) -> tuple[torch.Tensor, Past]:
        """`codes` `[n, num_frames, num_quantizers]` behind `past` -> waves `[n, num_samples]` in [-1, 1], and the past
        with these frames. At the beginning it is the library's whole pass."""
        hidden, num_frames, heard = self._transformed(codes, past)
        waves, kept = self._stack(hidden.transpose(1, 2), None if past is None else past.kept)
        return waves.clamp(-1, 1), Past(num_frames, heard, kept)

    def _transformed(self, codes: torch.Tensor, past: Past | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The transformer's part: hidden states `[n, num_frames, hidden]`, then `num_frames` and `heard` of the next
        past."""
        transformer = self._model.pre_transformer
        hidden = self._model.code_embedding(codes + self._model.code_offset.view(-1)).mean(2)
        num, length, before = *codes.shape[:2], self._num_before
        if past is None:
            attention = transformer.layers[0].self_attn
            num_heads = attention.k_proj.out_features // attention.head_dim
            heard = hidden.new_zeros(num, len(transformer.layers), 2, num_heads, before, attention.head_dim)
            num_frames = codes.new_zeros(num)
        else:
            num_frames, heard = past.num_frames, past.heard
        # Places of all keys, those of the new frames from 0 on.
        places = torch.arange(-before, length, device=codes.device)
        here = places[before:, None]
        mask = (places <= here) & (places >= here - before) & (places >= -num_frames[:, None, None])
        turns = transformer.rotary_emb(hidden, num_frames[:, None] + here[:, 0])
        found = []
        for layer, past_heard in zip(transformer.layers, heard.unbind(1)):
            hidden, new_heard = _attended(layer, hidden, past_heard, turns, mask[:, None])
            found.append(new_heard[..., length:, :])
        return transformer.norm(hidden), num_frames + length, torch.stack(found, 1)


def _attended(
    layer: Qwen3OmniMoeCode2WavTransformerLayer,
    hidden: torch.Tensor,
    heard: torch.Tensor,
    turns: tuple[torch.Tensor, torch.Tensor],
    mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One layer behind what was `heard` `[n, 2, head, num_before, head_dim]`; gives all that now is, too."""
    attention, normed = layer.self_attn, layer.input_layernorm(hidden)
    query, keys, values = (
        project(normed).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    query, keys = apply_rotary_pos_emb(query, keys, *turns)
    heard = torch.cat([heard, torch.stack([keys, values], 1)], 3)
    keys, values = heard.unbind(1)
    is_shared = query.shape[1] > keys.shape[1]
    seen = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, enable_gqa=is_shared)
    hidden = hidden + layer.self_attn_layer_scale(attention.o_proj(seen.transpose(1, 2).flatten(2)))
    return hidden + layer.mlp_layer_scale(layer.mlp(layer.post_attention_layernorm(hidden))), heard


class _Pass:
    """The sound of so many utterances' windows of one length on tensors that stay where they are."""

    def __init__(self, code2wav: Code2Wav, codes: torch.Tensor, past: Past | None, num: int) -> None:
        """`codes`, `past`: of any such windows."""
        self._codes = codes.new_zeros(num, *codes.shape[1:])
        self._past = None if past is None else Past(*(part.new_zeros(num, *part.shape[1:]) for part in past))
        waves, after = code2wav.forward(self._codes, self._past)
        self._found = (waves, *after)

        def work() -> None:
            waves, after = code2wav.forward(self._codes, self._past)
            for part, new in zip(self._found, (waves, *after)):
                part.copy_(new)

        self.run = code2wav._recordings.recorded(work)

    def __call__(self, codes: torch.Tensor, past: Past | None) -> tuple[torch.Tensor, Past]:
        num = len(codes)
        self._codes[:num] = codes
        for part, new in zip(self._past or (), past or ()):
            part[:num] = new
        self.run()
        waves, *after = (part[:num].clone() for part in self._found)
        return waves, Past(*after)


@dataclass(frozen=True, eq=False)
class _Flight:
    """A packet that is not there yet, of a window of so many frames."""

    packet: Packet
    num_frames: int
    is_last: bool


class WaveStream:
    """One utterance on its way to sound: `push` frames, `finish` once. The packets together are the whole wave, that of
    the library's one pass over all frames."""

    def __init__(self, weights: Code2Wav, ramp: Ramp) -> None:
        self._weights = weights
        self._ramp = ramp
        self._waiting: list[Sequence[int]] = []
        self._past: Past | None = None
        self._flight: _Flight | None = None
        self.num_samples = 0
        # Of the newest packet: seconds that a device was at it while nobody waited.
        self.device_s = 0.0
        # How long the player must wait with the first packet.
        self.hold_s = 0.0

    def text_ended(self) -> None:
        """Frames come faster from now on."""
        self._ramp.text_ended()

    def pause(self) -> None:
        """Where there is only to be waited."""
        if self._flight is not None:
            self._flight.packet.pause()

    def push(self, frame: Sequence[int]) -> Iterator[Step | torch.Tensor | None]:
        """`frame`: one code of each quantizer. Yields what is to be done, None where there is only to be waited, and
        each new packet of samples `[num_samples]`; often nothing at all."""
        assert len(frame) == self._weights.num_quantizers, (len(frame), self._weights.num_quantizers)
        yield from self._arrived()
        self._waiting.append(frame)
        self._ramp.code()
        # One window at a time: the next is decided on when it is known how long the last one took. It will hardly be
        # smaller, so that frames go on meanwhile until there are as many.
        if self._flight is not None and len(self._waiting) < self._flight.num_frames:
            return
        yield from self._awaited()
        if self._ramp.is_due(len(self._waiting)):
            yield from self._window(is_last=False)

    def finish(self) -> Iterator[Step | torch.Tensor | None]:
        """The rest. Nothing when called again."""
        yield from self._awaited()
        if self._waiting:
            yield from self._window(is_last=True)
            yield from self._awaited()

    def _window(self, is_last: bool) -> Iterator[Step | torch.Tensor | None]:
        """The sound of all frames that wait for it."""
        self._ramp.begin()
        frames, self._waiting = self._waiting, []
        with self._weights.aside():
            begun = self._weights.aside.now()
        step = self._weights.waving(frames, self._past, recurs=not is_last)
        yield from step.done()
        self._past = step.past
        self.num_samples += len(step.wave)
        with self._weights.aside():
            packet = Packet(self._weights.aside, step.wave, begun)
        self._flight = _Flight(packet, len(frames), is_last)
        yield from self._arrived()

    def _arrived(self) -> Iterator[torch.Tensor]:
        """The packet that is on its way, if it is there."""
        flight = self._flight
        if flight is not None and flight.packet.is_ready:
            self._flight = None
            self.hold_s += self._ramp.done(flight.num_frames, flight.num_frames, is_last=flight.is_last)
            self.device_s = flight.packet.device_s
            yield flight.packet.samples()

    def _awaited(self) -> Iterator[torch.Tensor | None]:
        """The same, when it is there."""
        while self._flight is not None:
            yield from self._arrived()
            if self._flight is not None:
                yield None
