"""The vocoder's last part, mel to wave; knows no utterance.

The arithmetic of `Qwen2_5OmniToken2WavBigVGANModel.forward`, which ends on the CPU and computes its factors each time.
"""

from collections.abc import Hashable, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavBigVGANModel as BigVGANModel

from app.engine.aside import Aside
from app.engine.graphs import Recordings
from app.engine.stepping import Step

# As published: decibels of the mel below which all is silence, and what is taken off.
_LEAST_DB = -115.0
_OFFSET_DB = 20.0
# An activation runs at twice the rate: its filters and what they need on the left and on the right.
_RATIO = 2


class Sounding(Step):
    """Asked: `mel` `[1, num_frames, mel_dim]`; `recurs`: such lengths are common. Found: `wave`
    `[num_frames * samples_per_frame]` in [-1, 1]."""

    def __init__(self, runner: "BigVGAN", mel: torch.Tensor, recurs: bool) -> None:
        super().__init__(runner)
        self.mel, self.recurs = mel, recurs
        self.wave: torch.Tensor | None = None


class BigVGAN:
    """The weights, which are the library's. `records`, `batches`: see `Flow`."""

    def __init__(self, model: BigVGANModel, aside: Aside, records: bool = False, batches: bool | None = None) -> None:
        self._aside = aside
        device = model.conv_pre.weight.device
        self._is_batched = device.type == "cuda" if batches is None else batches
        self._recordings = Recordings(device) if records else None
        self._first, self._last = model.conv_pre, model.conv_post
        count = model.num_residual_blocks
        self._stages = [
            (up[0], [_Residual(block) for block in model.resblocks[index * count : (index + 1) * count]])
            for index, up in enumerate(model.ups)
        ]
        self._act = _Activation(model.activation_post)
        self.samples_per_frame = 1
        for rate in model.config.upsample_rates:
            self.samples_per_frame *= rate

    def key(self, step: Sounding) -> Hashable:
        return step.mel.shape[1] if self._is_batched else id(step)

    def run(self, steps: Sequence[Sounding]) -> None:
        with self._aside():
            waves = self._waves(steps)
        for step, wave in zip(steps, waves):
            step.wave = wave

    def _waves(self, steps: Sequence[Sounding]) -> torch.Tensor:
        mel = torch.cat([step.mel for step in steps])
        one = None
        if self._recordings is not None and all(step.recurs for step in steps):
            size = 1 << (len(steps) - 1).bit_length()  # three are done as four
            one = self._recordings.of((size, mel.shape[1]), lambda: _Pass(self, mel.new_zeros(size, *mel.shape[1:])))
        if one is None:
            return self.forward(mel)
        one.mel[: len(steps)] = mel
        one.run()
        return one.waves[: len(steps)].clone()

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """`[n, num_frames, mel_dim]` -> `[n, num_frames * samples_per_frame]`"""
        loudness = 20 * torch.log10(torch.exp(mel.transpose(1, 2)).clamp(min=10 ** (_LEAST_DB / 20))) - _OFFSET_DB
        hidden = self._first((2 * ((loudness - _LEAST_DB) / -_LEAST_DB) - 1).clamp(-1, 1))
        for up, blocks in self._stages:
            hidden = up(hidden)
            total = blocks[0](hidden)
            for block in blocks[1:]:
                total = total + block(hidden)
            hidden = total / len(blocks) if len(blocks) > 1 else total
        return self._last(self._act(hidden)).clamp(-1, 1)[:, 0]


class _Pass:
    """The waves of so many mels of one length on tensors that stay where they are."""

    def __init__(self, bigvgan: BigVGAN, mel: torch.Tensor) -> None:
        self.mel = mel
        self.waves = mel.new_zeros(mel.shape[0], mel.shape[1] * bigvgan.samples_per_frame)

        def work() -> None:
            self.waves.copy_(bigvgan.forward(self.mel))

        self.run = bigvgan._recordings.recorded(work)


class _Residual:
    def __init__(self, block: nn.Module) -> None:
        acts = [_Activation(act) for act in block.activations]
        self._parts = list(zip(acts[::2], block.convs1, acts[1::2], block.convs2))

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        for first_act, first, second_act, second in self._parts:
            hidden = hidden + second(second_act(first(first_act(hidden))))
        return hidden


class _Activation:
    """x + sin(ax)^2 / b of a channel, at twice the rate so that nothing is mirrored into what one hears."""

    def __init__(self, act: nn.Module) -> None:
        assert act.upsample.ratio == act.downsample.stride == _RATIO, (act.upsample.ratio, act.downsample.stride)
        snake = act.act
        self._factor = snake.alpha.detach().exp()[:, None]
        self._share = (1.0 / (snake.beta.detach().exp() + snake.no_div_by_zero))[:, None]
        channels = len(self._factor)
        up, down = act.upsample, act.downsample
        self._up = (_RATIO * up.filter).expand(channels, -1, -1).contiguous()
        self._down = down.filter.expand(channels, -1, -1).contiguous()
        self._up_pad, self._cut = (up.pad, up.pad), (up.pad_left, up.pad_right)
        self._down_pad = (down.pad_left, down.pad_right)

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[n, channel, length]`"""
        channels, (left, right) = hidden.shape[1], self._cut
        hidden = F.conv_transpose1d(_held(hidden, *self._up_pad), self._up, stride=_RATIO, groups=channels)
        hidden = hidden[..., left:-right]
        hidden = torch.addcmul(hidden, self._share, (hidden * self._factor).sin_().square_())
        return F.conv1d(_held(hidden, *self._down_pad), self._down, stride=_RATIO, groups=channels)


def _held(hidden: torch.Tensor, left: int, right: int) -> torch.Tensor:
    """With its edges held for so long. A CPU takes far longer for `F.pad` of this kind."""
    rest = hidden.shape[:-1]
    return torch.cat([hidden[..., :1].expand(*rest, left), hidden, hidden[..., -1:].expand(*rest, right)], -1)
