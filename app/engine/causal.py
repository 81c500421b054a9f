"""Causal convolutions that go on where the last window ended: each input is convolved once; knows no transformer.

Transposed ones cut as much off both ends of what they make (`Qwen3OmniMoeCausalTransConvNet`), so that a window's
output lags behind its input.
"""

from collections.abc import Callable
from itertools import chain

import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import (
    Qwen3OmniMoeCausalConvNet,
    Qwen3OmniMoeCausalTransConvNet,
    Qwen3OmniMoeCode2Wav,
    Qwen3OmniMoeCode2WavDecoderResidualUnit,
    Qwen3OmniMoeConvNeXtBlock,
    Qwen3OmniMoeSnakeBeta,
)


class Tape:
    """The last inputs of all convolutions, one behind the other: read as the last window left them, `kept` `[n, size]`,
    None before the first, and written anew for the next."""

    def __init__(self, kept: torch.Tensor | None) -> None:
        self._kept, self._at = kept, 0
        self._new: list[torch.Tensor] = []

    def behind(self, hidden: torch.Tensor, num: int, is_padded: bool) -> torch.Tensor:
        """`hidden` `[n, channel, length]` behind the `num` inputs before it; before the first window those are zeros if
        it `is_padded`, else there are none."""
        if self._kept is not None:
            end = self._at + num * hidden.shape[1]
            before = self._kept[:, self._at : end].unflatten(1, (hidden.shape[1], num))
            self._at, hidden = end, torch.cat([before, hidden], -1)
        elif is_padded:
            hidden = F.pad(hidden, (num, 0))
        self._new.append(hidden[..., hidden.shape[-1] - num :].flatten(1))
        return hidden

    def written(self) -> torch.Tensor:
        return torch.cat(self._new, 1)


class Causal:
    def __init__(self, module: Qwen3OmniMoeCausalConvNet) -> None:
        assert module.stride == 1, module.stride
        # The library's kernel size has the dilation in it.
        self._conv, self._reach = module.conv, module.kernel_size - 1

    def __call__(self, hidden: torch.Tensor, tape: Tape) -> torch.Tensor:
        return self._conv(tape.behind(hidden, self._reach, is_padded=True) if self._reach else hidden)


class Transposed:
    """Cuts what reaches over the edge on the right, which comes with the next window, and as much on the left, which
    only the first has: later ones have the inputs that it lacks."""

    def __init__(self, module: Qwen3OmniMoeCausalTransConvNet) -> None:
        (kernel,), (self.stride,) = module.conv.kernel_size, module.conv.stride
        assert kernel % self.stride == 0, (kernel, self.stride)
        self._module, self.reach = module, kernel // self.stride - 1

    def __call__(self, hidden: torch.Tensor, tape: Tape) -> torch.Tensor:
        return self._module(tape.behind(hidden, self.reach, is_padded=False) if self.reach else hidden)


class _ConvNeXt:
    def __init__(self, module: Qwen3OmniMoeConvNeXtBlock) -> None:
        self._conv = Causal(module.dwconv)
        self._rest, self._gamma = nn.Sequential(module.norm, module.pwconv1, module.act, module.pwconv2), module.gamma

    def __call__(self, hidden: torch.Tensor, tape: Tape) -> torch.Tensor:
        rest = self._rest(self._conv(hidden, tape).transpose(1, 2))
        return hidden + (self._gamma * rest).transpose(1, 2)


class _Snake:
    """x + sin(ax)^2 / b of a channel."""

    def __init__(self, module: Qwen3OmniMoeSnakeBeta) -> None:
        self._factor = module.alpha.detach().exp()[:, None]
        self._share = (1.0 / (module.beta.detach().exp() + module.no_div_by_zero))[:, None]

    def __call__(self, hidden: torch.Tensor, tape: Tape | None = None) -> torch.Tensor:
        return torch.addcmul(hidden, self._share, (hidden * self._factor).sin_().square_())


class _Residual:
    def __init__(self, module: Qwen3OmniMoeCode2WavDecoderResidualUnit) -> None:
        self._acts = _Snake(module.act1), _Snake(module.act2)
        self._convs = Causal(module.conv1), Causal(module.conv2)

    def __call__(self, hidden: torch.Tensor, tape: Tape) -> torch.Tensor:
        rest = hidden
        for act, conv in zip(self._acts, self._convs):
            rest = conv(act(rest), tape)
        return hidden + rest


_KINDS = {
    Qwen3OmniMoeCausalConvNet: Causal,
    Qwen3OmniMoeCausalTransConvNet: Transposed,
    Qwen3OmniMoeConvNeXtBlock: _ConvNeXt,
    Qwen3OmniMoeSnakeBeta: _Snake,
    Qwen3OmniMoeCode2WavDecoderResidualUnit: _Residual,
}


class Stack:
    """All convolutions of a vocoder one behind the other. `num_lost`: by so many samples its output lags, and the last
    so many never come."""

    def __init__(self, model: Qwen3OmniMoeCode2Wav) -> None:
        modules = chain(*model.upsample, *(getattr(part, "block", [part]) for part in model.decoder))
        self._parts: list[Callable] = [_KINDS[type(module)](module) for module in modules]
        self.num_lost = 0
        for part in self._parts:
            if isinstance(part, Transposed):
                self.num_lost = (self.num_lost + part.reach) * part.stride

    def __call__(self, hidden: torch.Tensor, kept: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """`hidden` `[n, channel, length]` behind what the last window `kept` `[n, size]`, None before the first ->
        waves `[n, num_samples]`, and what to keep for the next window."""
        tape = Tape(kept)
        for part in self._parts:
            hidden = part(hidden, tape)
        return hidden[:, 0], tape.written()
