"""The spectrogram that DiT and vocoder share: ln of an 80-band magnitude mel at 24 kHz, 100 frames a second."""

import torch
from torch import nn
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from training.speech.reply_voices import SAMPLE_RATE

WINDOW, HOP, NUM_MELS, MAX_FREQUENCY = 1024, 240, 80, 8000.0
# The solver starts at unit noise and its result goes straight into BigVGAN, which clamps to [-10.94, 2.30]:
# both parts share one domain of about unit deviation that stays inside.
MEL_MEAN, MEL_SCALE = -5.5, 2.8


class LogMel(nn.Module):
    """Waves [batch, num_samples] in [-1, 1] -> logarithms [batch, 80, num_samples // 240]."""

    def __init__(self) -> None:
        super().__init__()
        filters = mel_filter_bank(
            WINDOW // 2 + 1, NUM_MELS, 0.0, MAX_FREQUENCY, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("filters", torch.from_numpy(filters).float().T.contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        margin = (WINDOW - HOP) // 2
        padded = functional.pad(waves[:, None], (margin, margin), mode="reflect")[:, 0]
        spectrum = torch.stft(padded, WINDOW, HOP, WINDOW, self.window, center=False, return_complex=True)
        magnitude = (spectrum.real**2 + spectrum.imag**2 + 1e-9).sqrt()
        return (self.filters @ magnitude).clamp(min=1e-5).log()


def to_model_domain(log_mel: torch.Tensor) -> torch.Tensor:
    return (log_mel - MEL_MEAN) / MEL_SCALE


def from_model_domain(mel: torch.Tensor) -> torch.Tensor:
    return mel * MEL_SCALE + MEL_MEAN
