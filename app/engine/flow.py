"""The flow-matching DiT of the vocoder, evaluated without computing anything twice; knows no window and no sound.

The arithmetic of `Qwen2_5OmniToken2WavDiTModel.sample`, with what does not change taken out of the loop: a voice's
speaker vector is made once, the modulation of all layers once per number of solver points, rotary tables and masks once
per length, what the codes add once per window. Of 1,072 operations per evaluation at the published size about 400 stay.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavDiTModel as DiTModel

from app.engine.decoder import joined

# Below it the library leaves the unconditioned half out.
LEAST_GUIDANCE = 1e-5
# Lengths whose tables are kept: windows come in a few, the tail of each reply in one of its own.
_MAX_LENGTHS = 32
_EPS = 1e-6


@dataclass(frozen=True, eq=False)
class Voice:
    """A speaker of the checkpoint. `cond` `[1, embedding]`, `ref_mel` `[1, num_frames, mel_dim]`, both float32."""

    name: str
    cond: torch.Tensor
    ref_mel: torch.Tensor
    bos_token_id: int


@dataclass(frozen=True, eq=False)
class _Modulation:
    """At one time, for one layer, vectors `[hidden]`: factors and offsets of both norms, gates of both parts."""

    attention_scale: torch.Tensor
    attention_shift: torch.Tensor
    attention_gate: torch.Tensor
    mlp_scale: torch.Tensor
    mlp_shift: torch.Tensor
    mlp_gate: torch.Tensor


@dataclass(frozen=True, eq=False)
class _Moment:
    """Everything of the network that depends on the time alone."""

    layers: tuple[_Modulation, ...]
    out_scale: torch.Tensor
    out_shift: torch.Tensor


@dataclass(frozen=True, eq=False)
class _Schedule:
    """`steps`: lengths of the solver's steps; `moments`: of each step its start, its two thirds and its end."""

    steps: tuple[torch.Tensor, ...]
    moments: tuple[tuple[_Moment, _Moment, _Moment, _Moment], ...]


@dataclass(frozen=True, eq=False)
class _Length:
    """`cos`, `sin` `[num_frames, head_dim / 2]`; `masks`: bool `[num_frames, num_frames]` of each layer, None where all
    is seen."""

    cos: torch.Tensor
    sin: torch.Tensor
    masks: tuple[torch.Tensor | None, ...]


class Flow:
    """The weights, and what is kept of voices, schedules and lengths. Belongs to the worker's thread."""

    def __init__(self, dit: DiTModel) -> None:
        self._dit = dit
        self._layers = tuple(_Layer(block) for block in dit.transformer_blocks)
        self._speakers: dict[str, tuple[Voice, torch.Tensor]] = {}
        self._schedules: dict[int, _Schedule] = {}
        self._lengths: dict[int, _Length] = {}

    def mel(
        self, voice: Voice, codes: torch.Tensor, noise: torch.Tensor, ode_points: int, guidance: float
    ) -> Iterator[torch.Tensor | None]:
        """Solves one window: yields None between solver steps so that others get their turn, the mel
        `[1, num_frames, mel_dim]` last. `codes` int64 `[1, num_codes]`, `noise` `[1, num_frames, mel_dim]`."""
        is_guided = guidance >= LEAST_GUIDANCE
        fixed = self._fixed(voice, codes, is_guided)
        length = self._length(noise.shape[1])
        schedule = self._schedule(ode_points)
        mel = noise

        def velocity(moment: _Moment, at: torch.Tensor) -> torch.Tensor:
            output = self._evaluate(fixed, length, moment, at)
            if not is_guided:
                return output
            guided, null = output.chunk(2)
            return guided + (guided - null) * guidance

        for step, (start, first, second, end) in zip(schedule.steps, schedule.moments):
            # The library's Runge-Kutta: the 3/8 rule.
            k1 = velocity(start, mel)
            k2 = velocity(first, mel + step * k1 * (1 / 3))
            k3 = velocity(second, mel + step * (k2 - k1 * (1 / 3)))
            k4 = velocity(end, mel + step * (k1 - k2 + k3))
            mel = mel + (k1 + 3 * (k2 + k3) + k4) * step / 8
            yield None
        yield mel

    def _evaluate(self, fixed: torch.Tensor, length: _Length, moment: _Moment, mel: torch.Tensor) -> torch.Tensor:
        """`mel` `[1, num_frames, mel_dim]` -> its velocity, of the unconditioned half too where there is one."""
        dit = self._dit
        hidden = fixed + F.linear(mel, dit.input_embed.proj.weight[:, : dit.mel_dim])
        for layer, modulation, mask in zip(self._layers, moment.layers, length.masks):
            hidden = layer(hidden, modulation, length, mask)
        return dit.proj_out(_normed(hidden, moment.out_scale, moment.out_shift))

    # -- what is kept ------------------------------------------------------------------------------------------------

    def _fixed(self, voice: Voice, codes: torch.Tensor, is_guided: bool) -> torch.Tensor:
        """What voice and codes add to the input of every evaluation: `[1 or 2, num_frames, hidden]`."""
        dit = self._dit
        embed, proj = dit.text_embed, dit.input_embed.proj
        table = embed.codec_embed.weight
        # Behind the mel come the speaker vector, the code and the voice's own vector.
        begin = dit.mel_dim + dit.input_embed.spk_encoder.fc.out_channels
        by_code = proj.weight[:, begin : begin + table.shape[1]]
        seen = F.linear(table[codes[0]], by_code) + self._speaker(voice)[0]
        rows = [seen.repeat_interleave(embed.repeats, 0)]
        if is_guided:
            rows.append((F.linear(table[0], by_code) + self._speaker(voice)[1]).expand(rows[0].shape))
        return torch.stack(rows)

    def _speaker(self, voice: Voice) -> torch.Tensor:
        """What the voice adds to the input, and what no voice adds: `[2, hidden]`, the bias included."""
        kept = self._speakers.get(voice.name)
        if kept is None or kept[0] is not voice:
            dit = self._dit
            encoder, proj = dit.input_embed.spk_encoder, dit.input_embed.proj
            vectors = encoder(torch.cat([voice.ref_mel, torch.zeros_like(voice.ref_mel)]))
            cond = torch.cat([voice.cond, torch.zeros_like(voice.cond)])
            begin = dit.mel_dim + vectors.shape[1]
            added = F.linear(vectors, proj.weight[:, dit.mel_dim : begin], proj.bias)
            added = added + F.linear(cond, proj.weight[:, proj.in_features - cond.shape[1] :])
            kept = self._speakers[voice.name] = (voice, added)
        return kept[1]

    def _schedule(self, ode_points: int) -> _Schedule:
        if ode_points not in self._schedules:
            times = torch.linspace(0, 1, ode_points, device=self._dit.proj_out.weight.device)
            times = times - (torch.cos(torch.pi / 2 * times) - 1 + times)  # sway coefficient -1, as published
            steps = times[1:] - times[:-1]
            at = torch.stack([times[:-1], times[:-1] + steps * (1 / 3), times[:-1] + steps * (2 / 3), times[1:]], 1)
            found = self._moments(at.flatten())
            moments = tuple(found[start : start + 4] for start in range(0, len(found), 4))
            self._schedules[ode_points] = _Schedule(tuple(steps), moments)
        return self._schedules[ode_points]

    def _moments(self, times: torch.Tensor) -> tuple[_Moment, ...]:
        dit = self._dit
        embedded = F.silu(dit.time_embed(times))
        layers = [layer.modulations(embedded) for layer in self._layers]
        scales, shifts = dit.norm_out.linear(embedded).chunk(2, dim=1)
        return tuple(
            _Moment(tuple(layer[index] for layer in layers), 1 + scales[index], shifts[index])
            for index in range(len(times))
        )

    def _length(self, num_frames: int) -> _Length:
        if num_frames not in self._lengths:
            while len(self._lengths) >= _MAX_LENGTHS:
                del self._lengths[next(iter(self._lengths))]
            dit = self._dit
            places = torch.arange(num_frames, device=dit.proj_out.weight.device)
            cos, sin = dit.rotary_embed(dit.proj_out.weight[None, :1], places[None])
            half = cos.shape[-1] // 2
            blocks = places // dit.block_size
            ahead = blocks[None, :] - blocks[:, None]
            masks = []
            for block in dit.transformer_blocks:
                mask = (ahead >= -block.look_backward_block) & (ahead <= block.look_ahead_block)
                masks.append(None if bool(mask.all()) else mask)
            self._lengths[num_frames] = _Length(cos[0, :, :half], sin[0, :, :half], tuple(masks))
        return self._lengths[num_frames]


class _Layer:
    """One of the DiT's layers. The library's modules keep using parts of the same memory."""

    def __init__(self, block: nn.Module) -> None:
        self._attn_norm, self._heads = block.attn_norm, block.attn.heads
        self._qkv, self._qkv_bias = joined(block.attn.to_q, block.attn.to_k, block.attn.to_v)
        self._out = block.attn.to_out[0]
        self._up, self._down = block.ff.ff[0], block.ff.ff[3]

    def modulations(self, embedded: torch.Tensor) -> tuple[_Modulation, ...]:
        """`embedded` `[time, hidden]`, after the activation."""
        parts = self._attn_norm.linear(embedded).chunk(6, dim=1)
        return tuple(
            _Modulation(1 + scale, shift, gate, 1 + mlp_scale, mlp_shift, mlp_gate)
            for shift, scale, gate, mlp_shift, mlp_scale, mlp_gate in zip(*parts)
        )

    def __call__(
        self, hidden: torch.Tensor, by: _Modulation, length: _Length, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """`hidden` `[batch, num_frames, hidden]`"""
        batch, num_frames, _ = hidden.shape
        qkv = F.linear(_normed(hidden, by.attention_scale, by.attention_shift), self._qkv, self._qkv_bias)
        qkv = qkv.view(batch, num_frames, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        # Only the first head knows places; even and odd of its numbers are the two coordinates that turn.
        turned = qkv[:2, :, 0]
        even, odd = turned[..., 0::2], turned[..., 1::2]
        turned.copy_(torch.cat([even * length.cos - odd * length.sin, odd * length.cos + even * length.sin], dim=-1))
        heard = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=mask)
        heard = self._out(heard.transpose(1, 2).reshape(batch, num_frames, -1))
        hidden = torch.addcmul(hidden, by.attention_gate, heard)
        thought = F.gelu(self._up(_normed(hidden, by.mlp_scale, by.mlp_shift)), approximate="tanh")
        return torch.addcmul(hidden, by.mlp_gate, self._down(thought))


def _normed(hidden: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(hidden, scale.shape, scale, shift, _EPS)
