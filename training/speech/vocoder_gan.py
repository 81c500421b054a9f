"""Stage: BigVGAN goes on from the spectral losses against small discriminators, which hear what spectra do not show.

Least-squares adversarial loss and feature matching, as in HiFi-GAN (Kong et al., 2020), with discriminators of periods
and of spectra.
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from training.loop import Training, trapezoid
from training.speech.cuts import Cutter
from training.speech.fast_activation import FastActivation
from training.speech.vocoder import BATCH, MEL_WEIGHT, NUM_FRAMES, SpectralLoss, forward, judge, load_vocoder
from training.speech.vocoder import NAME as SPECTRAL
from training.speech.voices_out import load_recordings
from training.workspace import Workspace

NAME = "vocoder_gan"
NUM_STEPS = 600
LEARNING_RATE = 2e-4
JUDGE_LEARNING_RATE = 4e-4
ADVERSARIAL_WEIGHT = 0.3
FEATURE_WEIGHT = 2.0
PERIODS = (2, 3, 5, 7)
# Window and hop of the spectra that are judged.
SPECTRA = ((512, 128), (1024, 256))
SLOPE = 0.1

# Of every discriminator all its layers' outputs; the last is its verdict.
Verdicts = list[list[torch.Tensor]]


class PeriodJudge(nn.Module):
    """Looks at every `period`-th sample: the fine structure of voiced sound."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self._period = period
        channels = (1, 8, 16, 32)
        self.layers = nn.ModuleList(
            [nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in zip(channels, channels[1:])]
            + [nn.Conv2d(channels[-1], 1, (3, 1), 1, (1, 0))]
        )

    def forward(self, waves: torch.Tensor) -> list[torch.Tensor]:
        padded = functional.pad(waves, (0, -waves.shape[-1] % self._period))
        return through(self.layers, padded.view(len(waves), 1, -1, self._period))


class SpectrumJudge(nn.Module):
    """Looks at the logarithm of the magnitude spectrum as at a picture."""

    def __init__(self, size: int, hop: int) -> None:
        super().__init__()
        self._size, self._hop = size, hop
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        channels = (1, 8, 16, 16)
        self.layers = nn.ModuleList(
            [nn.Conv2d(a, b, (5, 3), (2, 1), (2, 1)) for a, b in zip(channels, channels[1:])]
            + [nn.Conv2d(channels[-1], 1, 3, 1, 1)]
        )

    def forward(self, waves: torch.Tensor) -> list[torch.Tensor]:
        spectrum = torch.stft(waves, self._size, self._hop, self._size, self.window, return_complex=True)
        magnitude = (spectrum.real**2 + spectrum.imag**2 + 1e-6).sqrt()
        return through(self.layers, magnitude.log()[:, None])


def through(layers: nn.ModuleList, hidden: torch.Tensor) -> list[torch.Tensor]:
    outputs = []
    for layer in layers[:-1]:
        hidden = functional.leaky_relu(layer(hidden), SLOPE)
        outputs.append(hidden)
    return [*outputs, layers[-1](hidden)]


class Judges(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.all = nn.ModuleList([PeriodJudge(period) for period in PERIODS] + [SpectrumJudge(*s) for s in SPECTRA])

    def forward(self, waves: torch.Tensor) -> Verdicts:
        return [judge(waves) for judge in self.all]


def judges_loss(real: Verdicts, made: Verdicts) -> torch.Tensor:
    """Real sound is worth 1, made sound 0."""
    parts = [(a[-1] - 1).pow(2).mean() + b[-1].pow(2).mean() for a, b in zip(real, made)]
    return torch.stack(parts).mean()


def vocoder_losses(real: Verdicts, made: Verdicts) -> tuple[torch.Tensor, torch.Tensor]:
    """To be worth 1, and to look like real sound to every layer."""
    adversarial = torch.stack([(b[-1] - 1).pow(2).mean() for b in made]).mean()
    features = [(x.detach() - y).abs().mean() for a, b in zip(real, made) for x, y in zip(a[:-1], b[:-1])]
    return adversarial, torch.stack(features).mean()


def run(workspace: Workspace) -> None:
    recordings = load_recordings(workspace)
    model = load_vocoder(workspace, (SPECTRAL,)).train()
    before = judge(model, recordings, workspace.size(20, 1))
    torch.manual_seed(workspace.seed)
    judges = Judges().to(workspace.device)
    optimizers = {
        "optimizer": torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.8, 0.99), weight_decay=0.01),
        "judges_optimizer": torch.optim.AdamW(judges.parameters(), lr=JUDGE_LEARNING_RATE, betas=(0.8, 0.99)),
    }
    cutter = Cutter(recordings, NUM_FRAMES, held_out=False, device=workspace.device)
    losses = SpectralLoss().to(workspace.device)
    activation = FastActivation(compiled=not workspace.quick)

    def step(index: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        mel, real = cutter.cut(cutter.draw(workspace.random(f"{NAME}/{index}"), BATCH))
        made = forward(model, mel, activation)
        verdict_on_real = judges(real)
        judging = judges_loss(verdict_on_real, judges(made.detach()))
        # The vocoder's loss must not move the judges: for it they are constants.
        fixed = {key: value.detach() for key, value in judges.named_parameters()}
        adversarial, features = vocoder_losses(verdict_on_real, functional_call(judges, fixed, (made,)))
        spectral, mel_error = losses(made, real)
        loss = spectral + MEL_WEIGHT * mel_error + ADVERSARIAL_WEIGHT * adversarial + FEATURE_WEIGHT * features
        figures = {"spectral": spectral, "mel": mel_error, "adversarial": adversarial, "features": features}
        figures["judges"] = judging
        return loss + judging, {key: value.item() for key, value in figures.items()}

    training = Training(
        workspace,
        NAME,
        workspace.steps(NAME, NUM_STEPS, 3),
        {"model": model, "judges": judges, **optimizers},
        schedule=trapezoid,
        evaluate=lambda: judge(model, recordings, workspace.size(4, 1)),
    )
    training.run(step, clip=10.0)
    workspace.save_weights(NAME, model.state_dict())
    after = judge(model, recordings, workspace.size(20, 1))
    workspace.save_report(NAME, {"spectral_losses_alone": before, "with_judges": after})
