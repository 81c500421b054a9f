"""The flow-matching DiT of the vocoder, evaluated without computing anything twice; knows no utterance and no sound.

The arithmetic of `Qwen2_5OmniToken2WavDiTModel.sample`, with what does not change taken out of the loop: a voice's
speaker vector is made once, the modulation of all layers once per number of solver points, rotary tables and masks once
per length, what the codes add once per window. Of 1,072 operations per evaluation at the published size about 280 stay.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavDiTModel as DiTModel

from app.engine.aside import Aside
from app.engine.decoder import joined
from app.engine.graphs import Recordings
from app.engine.products import Product
from app.engine.stepping import Step

# Below it the library leaves the unconditioned half out.
LEAST_GUIDANCE = 1e-5
# Lengths whose tables are kept: windows come in a few, the tail of each reply in one of its own.
_MAX_LENGTHS = 32
_EPS = 1e-6
# Of a layer's modulation: factors and offsets of both norms, gates of both parts.
_ROWS_PER_LAYER = 6


@dataclass(frozen=True, eq=False)
class Voice:
    """A speaker of the checkpoint. `cond` `[1, embedding]`, `ref_mel` `[1, num_frames, mel_dim]`, both float32."""

    name: str
    cond: torch.Tensor
    ref_mel: torch.Tensor
    bos_token_id: int


class _Moment:
    """Everything of the network that depends on the time alone, in one tensor `[layers * 6 + 2, hidden]`: of each layer
    factor and offset of its first norm, its gate, the same of its second part; factor and offset of the last norm."""

    def __init__(self, vectors: torch.Tensor) -> None:
        self.vectors = vectors
        self.rows = vectors.unbind(0)


@dataclass(frozen=True, eq=False)
class _Schedule:
    """`steps`: lengths of the solver's steps; `moments`: of each step its start, its two thirds and its end."""

    steps: tuple[torch.Tensor, ...]
    moments: tuple[tuple[_Moment, _Moment, _Moment, _Moment], ...]


@dataclass(frozen=True, eq=False)
class _Length:
    """`turns`: complex `[num_frames, head_dim / 2]`. `masks` `[num_frames, num_frames]` of each layer, what is added to
    the scores; None where a frame sees `span` frames, its own block or all."""

    num_frames: int
    span: int
    turns: torch.Tensor
    masks: tuple[torch.Tensor | None, ...]


class Solving(Step):
    """A window on its way from noise to mel, to be done `num_left` times, once for each step of the solver.

    `recurs`: windows of this length are common. Found: `mel` `[1, num_frames, mel_dim]`.
    """

    def __init__(
        self, runner: "Flow", fixed: torch.Tensor, noise: torch.Tensor, ode_points: int, guidance: float, recurs: bool
    ) -> None:
        super().__init__(runner)
        self.fixed, self.mel = fixed, noise
        self.ode_points, self.recurs = ode_points, recurs
        # On the device already: a number would be uploaded, and waited for, each time that windows are put together.
        self.guidance = noise.new_full((1, 1, 1), guidance) if len(fixed) > 1 else None
        self.num_done = 0

    @property
    def num_left(self) -> int:
        return self.ode_points - 1 - self.num_done


class Flow:
    """The weights, and what is kept of voices, schedules and lengths. Belongs to the worker's thread.

    `batches`: windows that are at the same step are evaluated as one, which a processor that is busy with one gains
    nothing from. `records`: evaluations of common lengths run on tensors that stay where they are, as graphs on CUDA.
    `precision`: of the layers' products, "float32", "tf32" (CUDA's float32 with 10 bits) or "bfloat16"; norms, sums and
    the solver stay float32.
    """

    def __init__(
        self,
        dit: DiTModel,
        aside: Aside,
        records: bool = False,
        batches: bool | None = None,
        precision: str | None = None,
    ) -> None:
        self._dit, self._aside = dit, aside
        device = dit.proj_out.weight.device
        self._is_batched = device.type == "cuda" if batches is None else batches
        self._is_tf32 = device.type == "cuda" and precision in (None, "tf32")
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self._layers = tuple(_Layer(block, dtype) for block in dit.transformer_blocks)
        mel_weight = dit.input_embed.proj.weight[:, : dit.mel_dim]
        self._entry, self._out = Product(mel_weight.clone()), Product(dit.proj_out.weight, dit.proj_out.bias)
        self._recordings = Recordings(device) if records else None
        self._speakers: dict[str, tuple[Voice, torch.Tensor]] = {}
        self._schedules: dict[int, _Schedule] = {}
        self._lengths: dict[int, _Length] = {}

    def solve(
        self,
        voice: Voice,
        codes: torch.Tensor,
        noise: torch.Tensor,
        ode_points: int,
        guidance: float,
        recurs: bool = True,
    ) -> Solving:
        """The step that solves one window, see there; to be called within `aside`. `codes` int64 `[num_codes]`, `noise`
        `[1, num_frames, mel_dim]`."""
        fixed = self._fixed(voice, codes, guidance >= LEAST_GUIDANCE)
        return Solving(self, fixed, noise, ode_points, guidance, recurs)

    def key(self, step: Solving) -> Hashable:
        if not self._is_batched:
            return id(step)
        return step.mel.shape[1], step.ode_points, len(step.fixed), step.num_done

    def run(self, steps: Sequence[Solving]) -> None:
        with self._aside(), _products_in(tf32=self._is_tf32):
            mel = self._stepped(steps)
        for row, step in enumerate(steps):
            step.mel = mel[row : row + 1]
            step.num_done += 1

    def _stepped(self, steps: Sequence[Solving]) -> torch.Tensor:
        """Their mels behind one step of the solver more, `[window, num_frames, mel_dim]`."""
        first = steps[0]
        schedule, mel = self._schedule(first.ode_points), torch.cat([step.mel for step in steps])
        length, moments = schedule.steps[first.num_done], schedule.moments[first.num_done]
        evaluate = self._evaluation(steps)
        guidance = None if first.guidance is None else torch.cat([step.guidance for step in steps])

        def velocity(moment: _Moment, at: torch.Tensor) -> torch.Tensor:
            output = evaluate(moment, at)
            if guidance is None:
                return output[0]
            guided, null = output
            return guided + (guided - null) * guidance

        # The library's Runge-Kutta: the 3/8 rule.
        k1 = velocity(moments[0], mel)
        k2 = velocity(moments[1], mel + length * k1 * (1 / 3))
        k3 = velocity(moments[2], mel + length * (k2 - k1 * (1 / 3)))
        k4 = velocity(moments[3], mel + length * (k1 - k2 + k3))
        return mel + (k1 + 3 * (k2 + k3) + k4) * length / 8

    def _evaluation(self, steps: Sequence[Solving]) -> Callable[[_Moment, torch.Tensor], torch.Tensor]:
        """Of a moment and mels `[window, num_frames, mel_dim]`: velocities `[1 or 2, window, num_frames, mel_dim]`."""
        fixed = torch.stack([step.fixed for step in steps], 1)
        length = self._length(fixed.shape[2])
        if self._recordings is None or not all(step.recurs for step in steps):
            return lambda moment, mel: self._evaluate(fixed, length, moment, mel)
        halves, num_windows = fixed.shape[:2]
        size = 1 << (num_windows - 1).bit_length()  # three are evaluated as four
        one = self._recordings.of((halves, size, length.num_frames), lambda: _Pass(self, length, halves, size))
        if one is None:
            return lambda moment, mel: self._evaluate(fixed, length, moment, mel)
        one.fixed[:, :num_windows] = fixed

        def evaluate(moment: _Moment, mel: torch.Tensor) -> torch.Tensor:
            one.moment.vectors.copy_(moment.vectors)
            one.mel[:num_windows] = mel
            one.run()
            return one.velocity[:, :num_windows].clone()

        return evaluate

    def _evaluate(self, fixed: torch.Tensor, length: _Length, moment: _Moment, mel: torch.Tensor) -> torch.Tensor:
        hidden = (fixed + self._entry(mel)).flatten(0, 2)
        rows = moment.rows
        for index, layer in enumerate(self._layers):
            start = index * _ROWS_PER_LAYER
            hidden = layer(hidden, rows[start : start + _ROWS_PER_LAYER], length, length.masks[index])
        return self._out(_normed(hidden, *rows[-2:])).view(*fixed.shape[:3], -1)

    # -- what is kept ------------------------------------------------------------------------------------------------

    def _fixed(self, voice: Voice, codes: torch.Tensor, is_guided: bool) -> torch.Tensor:
        """What voice and codes add to the input of every evaluation: `[1 or 2, num_frames, hidden]`."""
        dit = self._dit
        embed, proj = dit.text_embed, dit.input_embed.proj
        table = embed.codec_embed.weight
        # Behind the mel come the speaker vector, the code and the voice's own vector.
        begin = dit.mel_dim + dit.input_embed.spk_encoder.fc.out_channels
        by_code = proj.weight[:, begin : begin + table.shape[1]]
        seen = F.linear(table[codes], by_code) + self._speaker(voice)[0]
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
            found = [_Moment(vectors) for vectors in self._moments(at.flatten())]
            moments = tuple(tuple(found[start : start + 4]) for start in range(0, len(found), 4))
            self._schedules[ode_points] = _Schedule(tuple(steps), moments)
        return self._schedules[ode_points]

    def _moments(self, times: torch.Tensor) -> torch.Tensor:
        """`[time, layers * 6 + 2, hidden]`"""
        dit = self._dit
        embedded = F.silu(dit.time_embed(times))
        scale, shift = dit.norm_out.linear(embedded).chunk(2, dim=1)
        parts = [layer.modulations(embedded) for layer in self._layers] + [torch.stack([1 + scale, shift], 1)]
        return torch.cat(parts, 1)

    def _length(self, num_frames: int) -> _Length:
        if num_frames not in self._lengths:
            while len(self._lengths) >= _MAX_LENGTHS:
                del self._lengths[next(iter(self._lengths))]
            dit = self._dit
            device = dit.proj_out.weight.device
            places = torch.arange(num_frames, device=device)
            cos, sin = dit.rotary_embed(dit.proj_out.weight[None, :1], places[None])
            half = cos.shape[-1] // 2
            blocks = torch.arange(num_frames) // dit.block_size
            ahead = blocks[None, :] - blocks[:, None]
            # Whole blocks that see nothing but themselves are as many short windows.
            is_whole = num_frames % dit.block_size == 0
            kinds: dict[tuple[int, int], torch.Tensor | None] = {}
            for block in dit.transformer_blocks:
                back, front = block.look_backward_block, block.look_ahead_block
                if (back, front) not in kinds:
                    mask = (ahead >= -back) & (ahead <= front)
                    is_plain = bool(mask.all()) or (is_whole and back == front == 0)
                    added = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
                    kinds[back, front] = None if is_plain else added.to(device)
            masks = tuple(kinds[block.look_backward_block, block.look_ahead_block] for block in dit.transformer_blocks)
            span = dit.block_size if is_whole else num_frames
            turns = torch.complex(cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous())
            self._lengths[num_frames] = _Length(num_frames, span, turns, masks)
        return self._lengths[num_frames]


class _Pass:
    """An evaluation of so many windows of one length on tensors that stay where they are."""

    def __init__(self, flow: Flow, length: _Length, halves: int, num_windows: int) -> None:
        dit = flow._dit
        weight = dit.proj_out.weight
        num_rows = len(flow._layers) * _ROWS_PER_LAYER + 2
        self.fixed = weight.new_zeros(halves, num_windows, length.num_frames, weight.shape[1])
        self.mel = weight.new_zeros(num_windows, length.num_frames, dit.mel_dim)
        self.moment = _Moment(weight.new_zeros(num_rows, weight.shape[1]))
        self.velocity = weight.new_zeros(halves, *self.mel.shape)

        def work() -> None:
            self.velocity.copy_(flow._evaluate(self.fixed, length, self.moment, self.mel))

        self.run = flow._recordings.recorded(work)


class _Layer:
    """One of the DiT's layers. The library's modules keep using parts of the same memory unless `dtype` is another."""

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        self._attn_norm, self._heads, self._dtype = block.attn_norm, block.attn.heads, dtype
        weight, bias = joined(block.attn.to_q, block.attn.to_k, block.attn.to_v)
        self._qkv = Product(weight.to(dtype), bias.to(dtype))
        self._heard, self._up, self._down = (
            Product(linear.weight.to(dtype), linear.bias.to(dtype))
            for linear in (block.attn.to_out[0], block.ff.ff[0], block.ff.ff[3])
        )

    def modulations(self, embedded: torch.Tensor) -> torch.Tensor:
        """`embedded` `[time, hidden]`, after the activation -> `[time, 6, hidden]`"""
        parts = self._attn_norm.linear(embedded).chunk(_ROWS_PER_LAYER, dim=1)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = parts
        return torch.stack([1 + scale, shift, gate, 1 + mlp_scale, mlp_shift, mlp_gate], 1)

    def __call__(
        self, hidden: torch.Tensor, by: Sequence[torch.Tensor], length: _Length, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """`hidden` `[window * num_frames, hidden]`"""
        scale, shift, gate, mlp_scale, mlp_shift, mlp_gate = by
        qkv = self._qkv(_normed(hidden, scale, shift).to(self._dtype))
        # Only the first head knows places.
        self._turn(qkv.view(-1, length.num_frames, 3, self._heads, qkv.shape[-1] // (3 * self._heads)), length)
        span = length.span if mask is None else length.num_frames
        query, keys, values = qkv.view(-1, span, 3, self._heads, qkv.shape[-1] // (3 * self._heads)).permute(
            2, 0, 3, 1, 4
        )
        heard = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        heard = self._heard(heard.transpose(1, 2).reshape(len(hidden), -1))
        hidden = torch.addcmul(hidden, gate, heard.to(hidden.dtype))
        thought = self._down(self._up.gelu(_normed(hidden, mlp_scale, mlp_shift).to(self._dtype)))
        return torch.addcmul(hidden, mlp_gate, thought.to(hidden.dtype))

    def _turn(self, qkv: torch.Tensor, length: _Length) -> None:
        """By its place, in place: even and odd numbers of the first head are the two coordinates. (The library sorts
        them, which the products of queries and keys do not notice.) `qkv` `[window, num_frames, 3, head, head_dim]`"""
        turned = qkv[:, :, :2, 0].unflatten(-1, (-1, 2))
        if qkv.dtype == torch.float32:
            torch.view_as_complex(turned).mul_(length.turns[:, None])
        else:
            turned.copy_(torch.view_as_real(torch.view_as_complex(turned.float()) * length.turns[:, None]))


def _normed(hidden: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(hidden, scale.shape, scale, shift, _EPS)


@contextmanager
def _products_in(tf32: bool) -> Iterator[None]:
    """CUDA's float32 products with 10 bits or as they are. What the other stages compute is left as it was."""
    if not tf32:
        yield
        return
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = True
    try:
        yield
    finally:
        matmul.allow_tf32 = before
