"""Stage: BigVGAN learns mel -> wave from recordings by spectral losses alone; knows neither codes nor texts."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniBigVGANConfig as BigVGANConfig
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavBigVGANModel as BigVGAN

from training.loop import Training, cosine
from training.speech.cuts import Cutter
from training.speech.fast_activation import FastActivation, taps
from training.speech.mel import NUM_MELS, LogMel, to_model_domain
from training.speech.reply_voices import VOICES
from training.speech.voices_out import Recordings, load_recordings
from training.workspace import Workspace

NAME = "vocoder"
# The first of these that was trained is what speaks.
STAGES = ("vocoder_gan", NAME)
NUM_STEPS = 6000
NUM_FRAMES, BATCH = 32, 8
LEARNING_RATE = 1e-3
MEL_WEIGHT = 1.5
# Window and hop of the spectra that are compared.
RESOLUTIONS = ((256, 64), (512, 128), (2048, 512))


def config() -> BigVGANConfig:
    return BigVGANConfig(
        mel_dim=NUM_MELS,
        upsample_initial_channel=128,
        upsample_rates=[5, 4, 4, 3],
        upsample_kernel_sizes=[11, 8, 8, 7],
        resblock_kernel_sizes=[5],
        resblock_dilation_sizes=[[1, 3, 9]],
    )


def new_vocoder() -> BigVGAN:
    model = BigVGAN(config())
    reset_parameters(model)
    with torch.no_grad():
        # The class squeezes its input into [-1, 1]; without this the first layers start almost silent.
        model.conv_pre.weight.mul_(4)
    return model


def reset_parameters(model: nn.Module) -> None:
    """Back to torch's own initialisation, which the library replaces by a far smaller one."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d | nn.Linear):
            module.reset_parameters()


def load_vocoder(workspace: Workspace, stages: Sequence[str] = STAGES) -> BigVGAN:
    model = BigVGAN(config()).to(workspace.device)
    model.load_state_dict(workspace.load_newest(*stages))
    return model.eval()


def forward(model: BigVGAN, mel: torch.Tensor, activation: FastActivation) -> torch.Tensor:
    """[batch, 80, frame] in the model's domain -> waves [batch, frame * 240].

    The class's forward without its clamp, squeeze and copy to the CPU, which no gradient or batch would survive.
    """
    up, down = taps(model.activation_post)

    def act(module: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        return activation(hidden, module.act.alpha, module.act.beta, up, down)

    hidden = model.conv_pre(model.process_mel_spectrogram(mel))
    per_layer = model.num_residual_blocks
    for layer, (upsample,) in enumerate(model.ups):
        hidden = upsample(hidden)
        summed = 0
        for block in model.resblocks[layer * per_layer : (layer + 1) * per_layer]:
            residual = hidden
            activations = zip(block.activations[::2], block.activations[1::2])
            for first, second, (act_1, act_2) in zip(block.convs1, block.convs2, activations):
                residual = residual + second(act(act_2, first(act(act_1, residual))))
            summed = summed + residual
        hidden = summed / per_layer
    return model.conv_post(act(model.activation_post, hidden))[:, 0]


class SpectralLoss(nn.Module):
    """Distance of spectra at three resolutions, and of the mel spectrogram in ln."""

    def __init__(self) -> None:
        super().__init__()
        self.log_mel = LogMel()
        for size, _ in RESOLUTIONS:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, made: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Waves [batch, num_samples] -> the two distances."""
        spectral = torch.zeros((), device=made.device)
        for size, hop in RESOLUTIONS:
            a, b = self._magnitude(made, size, hop), self._magnitude(real, size, hop)
            spectral = spectral + (a.log() - b.log()).abs().mean() + (a - b).norm() / (b.norm() + 1e-3)
        return spectral / len(RESOLUTIONS), (self.log_mel(made) - self.log_mel(real)).abs().mean()

    def _magnitude(self, waves: torch.Tensor, size: int, hop: int) -> torch.Tensor:
        spectrum = torch.stft(waves, size, hop, size, getattr(self, f"window_{size}"), return_complex=True)
        return (spectrum.real**2 + spectrum.imag**2 + 1e-8).sqrt()


def run(workspace: Workspace) -> None:
    recordings = load_recordings(workspace)
    model = new_vocoder().to(workspace.device).train()
    if started := workspace.started(NAME):
        model.load_state_dict(started)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.8, 0.99), weight_decay=0.01)
    cutter = Cutter(recordings, NUM_FRAMES, held_out=False, device=workspace.device)
    losses = SpectralLoss().to(workspace.device)
    activation = FastActivation(compiled=not workspace.quick)

    def step(index: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        mel, real = cutter.cut(cutter.draw(workspace.random(f"{NAME}/{index}"), BATCH))
        spectral, mel_error = losses(forward(model, mel, activation), real)
        return spectral + MEL_WEIGHT * mel_error, {"spectral": spectral.item(), "mel": mel_error.item()}

    training = Training(
        workspace,
        NAME,
        workspace.steps(NAME, NUM_STEPS, 3),
        {"model": model, "optimizer": optimizer},
        schedule=cosine,
        evaluate=lambda: judge(model, recordings, workspace.size(4, 1)),
    )
    training.run(step, clip=5.0)
    workspace.save_weights(NAME, model.state_dict())
    workspace.save_report(NAME, judge(model, recordings, workspace.size(20, 1)))


@torch.no_grad()
def judge(model: BigVGAN, recordings: Recordings, num_per_voice: int) -> dict[str, float]:
    """Mean error of the ln-mel of held-out sentences that went through the vocoder, voice by voice."""
    log_mel = LogMel().to(model.device)
    report = {}
    for voice, (name, _) in enumerate(VOICES):
        errors = []
        for wave in held_out_waves(recordings, voice, num_per_voice):
            mel = log_mel(wave.to(model.device)[None])
            made = model(to_model_domain(mel)).to(model.device)
            errors.append((log_mel(made[None]) - mel).abs().mean().item())
        report[f"mel_error_{name}"] = round(sum(errors) / len(errors), 4)
    return report


def held_out_waves(recordings: Recordings, voice: int, number: int) -> Iterator[torch.Tensor]:
    """The first `number` held-out sentences of a voice, samples [num_samples] in [-1, 1]."""
    found = [i for i in range(len(recordings)) if recordings.held_out[i] and recordings.voice[i] == voice]
    for index in found[:number]:
        yield torch.from_numpy(recordings.wave(index).astype("float32") / 32767)
