"""Stage: one code per 20 ms of speech, by k-means over what is said: the phone, and the shape of two mel frames.

Mel alone makes codes that a small Talker cannot foresee: knowing phone, time and the codes before, a probe guessed half
of them, its entropy 1.7 nats. A speech recognizer's features serve better, and the synthesizer tells the phone itself.
With it beside the spectrum's smooth shape (its cosine transform, what is fine in it weighted down) the same number of
codes is guessed to two thirds, at 1.0 nats, and is understood as well. A code then says what is spoken and hardly how
high; voice and melody the DiT learns from its conditioning.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from tqdm import tqdm

from training.speech.cuts import whole_mel
from training.speech.mel import NUM_MELS, LogMel
from training.speech.phones import PHONES, said
from training.speech.reply_voices import SAMPLES_PER_CODE, VOICES
from training.speech.voices_out import Recordings, load_recordings
from training.workspace import Workspace

NAME = "codec"
FRAMES_PER_CODE = 2
# Codes are 1 .. NUM_CODES: the DiT's class takes code 0 for "no code" when it guides.
NUM_CODES = 768
NUM_ROUNDS = 25
# Recordings that are enough to find the codes; all of them are encoded.
NUM_MEASURED = 3000
SAMPLE_SIZE = 150_000
# Keeps silent bands, which hardly vary, from being blown up.
SCALE_FLOOR = 0.05
# So far two phones are apart beside normalised mel; at this distance hardly a code is shared by two.
PHONE_WEIGHT = 6.0
# Coefficients of the cosine transform that draw a vowel; the finer ones, of pitch, weigh little.
NUM_SMOOTH, FINE_WEIGHT = 20, 0.15


@dataclass(frozen=True)
class Codebook:
    """`centroids` [code, 2 * 80 + phone] of features; `mean` and `scale` [voice, 80] of ln-mel."""

    centroids: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor

    def features(self, log_mel: torch.Tensor, voice: int, phones: torch.Tensor) -> torch.Tensor:
        """ln-mel [frame, 80] and phones [code] -> [code, 160 + phone]."""
        shape = ((log_mel - self.mean[voice]) / self.scale[voice]) @ weighted_cosines(log_mel.device)
        phone = PHONE_WEIGHT * F.one_hot(phones.to(log_mel.device), len(PHONES))
        return torch.cat([shape.reshape(-1, FRAMES_PER_CODE * NUM_MELS), phone], 1)

    def encode(self, log_mel: torch.Tensor, voice: int, phones: torch.Tensor) -> torch.Tensor:
        """ln-mel [frame, 80] and phones [code] -> codes [code], each 1 .. number of centroids."""
        return nearest(self.features(log_mel, voice, phones), self.centroids) + 1

    def decode(self, codes: torch.Tensor, voice: int) -> torch.Tensor:
        """Codes [code] -> the ln-mel [2 * code, 80] that they stand for, before the DiT gives them a melody."""
        shape = self.centroids[codes - 1, : FRAMES_PER_CODE * NUM_MELS].reshape(-1, NUM_MELS)
        frames = shape @ torch.linalg.inv(weighted_cosines(shape.device))
        return frames * self.scale[voice] + self.mean[voice]

    def phones(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes [code] -> the phone [code] that each belongs to."""
        return self.centroids[codes - 1, FRAMES_PER_CODE * NUM_MELS :].argmax(1)


def weighted_cosines(device: torch.device) -> torch.Tensor:
    """The orthonormal cosine transform [80, coefficient] with the fine coefficients weighted down."""
    place, order = torch.arange(NUM_MELS) + 0.5, torch.arange(NUM_MELS)
    cosines = torch.cos(math.pi / NUM_MELS * place[:, None] * order) * math.sqrt(2 / NUM_MELS)
    cosines[:, 0] /= math.sqrt(2)
    cosines[:, NUM_SMOOTH:] *= FINE_WEIGHT
    return cosines.to(device)


def nearest(points: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Index of the nearest centroid for every point [num_points, size]."""
    norms = (centroids**2).sum(1)
    return torch.cat([(norms - 2 * part @ centroids.T).argmin(1) for part in points.split(20_000)])


def k_means(points: torch.Tensor, num_centroids: int, generator: torch.Generator) -> torch.Tensor:
    """Centroids [num_centroids, size]; started far apart (k-means++), empty ones thrown onto random points."""

    def draw(weights: torch.Tensor, number: int) -> torch.Tensor:
        return torch.multinomial(weights.cpu(), number, replacement=True, generator=generator).to(points.device)

    start = points[:10_000]
    chosen = [0]
    distance = ((start - start[0]) ** 2).sum(1)
    while len(chosen) < num_centroids:
        chosen.append(int(draw(distance, 1)))
        distance = torch.minimum(distance, ((start - start[chosen[-1]]) ** 2).sum(1))
    centroids = start[chosen].clone()
    for _ in range(NUM_ROUNDS):
        owner = nearest(points, centroids)
        sums = torch.zeros_like(centroids).index_add_(0, owner, points)
        counts = torch.bincount(owner, minlength=num_centroids)[:, None]
        stray = points[draw(torch.ones(len(points)), num_centroids)]
        centroids = torch.where(counts > 0, sums / counts.clamp(min=1), stray)
    return centroids


def make_codebook(
    spoken: list[tuple[int, torch.Tensor, torch.Tensor]], num_codes: int, generator: torch.Generator
) -> Codebook:
    """From triples of a voice, its ln-mel [frame, 80] and its phones [code]."""
    of_voice = [torch.cat([mel for owner, mel, _ in spoken if owner == voice]) for voice in range(len(VOICES))]
    mean = torch.stack([frames.mean(0) for frames in of_voice])
    scale = torch.stack([frames.std(0) for frames in of_voice]) + SCALE_FLOOR
    plain = Codebook(torch.empty(0), mean, scale)
    points = torch.cat([plain.features(mel, voice, phones) for voice, mel, phones in spoken])
    order = torch.randperm(len(points), generator=generator)[:SAMPLE_SIZE].to(points.device)
    return Codebook(k_means(points[order], num_codes, generator), mean, scale)


def run(workspace: Workspace) -> None:
    """Makes the codebook once, from the recordings there are; later recordings are encoded with the same."""
    recordings = load_recordings(workspace)
    if not (workspace.stage(NAME) / "codebook.safetensors").exists():
        known = [index for index in range(len(recordings)) if not recordings.held_out[index]]
        chosen = workspace.random(NAME).sample(known, min(NUM_MEASURED, len(known)))
        generator = torch.Generator().manual_seed(workspace.seed)
        codebook = make_codebook(list(spoken(workspace, recordings, chosen)), workspace.size(NUM_CODES, 64), generator)
        workspace.save_weights(NAME, vars(codebook), "codebook.safetensors")
    codebook = load_codebook(workspace)
    codes = [
        codebook.encode(mel, voice, phones)
        for voice, mel, phones in spoken(workspace, recordings, range(len(recordings)))
    ]
    workspace.save_weights(NAME, {"codes": torch.cat(codes).short()}, "codes.safetensors")
    workspace.save_report(NAME, report(workspace, codebook, recordings, codes))


def spoken(
    workspace: Workspace, recordings: Recordings, indices: Iterable[int]
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Voice, ln-mel [frame, 80] and phones [code] of recordings."""
    log_mel = LogMel().to(workspace.device)
    for index in tqdm(indices, desc=NAME, mininterval=5):
        mel = whole_mel(recordings, index, log_mel)
        yield recordings.voice[index], mel, said(recordings.phones[index], len(mel) // FRAMES_PER_CODE)[:, 0]


def load_codebook(workspace: Workspace) -> Codebook:
    return Codebook(**workspace.load_weights(NAME, "codebook.safetensors"))


def load_codes(workspace: Workspace) -> list[torch.Tensor]:
    """Codes [num_samples // 480] int64 on the CPU of every recording, in the recordings' order."""
    lengths = [length // SAMPLES_PER_CODE for length in load_recordings(workspace).num_samples]
    codes = workspace.load_weights(NAME, "codes.safetensors")["codes"].cpu().long()
    if len(codes) != sum(lengths):
        raise ValueError(f"{len(codes)} codes for {sum(lengths)} of the recordings: run the stage {NAME!r} again")
    return list(codes.split(lengths))


def report(
    workspace: Workspace, codebook: Codebook, recordings: Recordings, codes: list[torch.Tensor]
) -> dict[str, float]:
    """How well codes stand for held-out phones and mel, and how evenly and restlessly they are used."""
    figures: dict[str, float] = {"num_codes": len(codebook.centroids)}
    unseen = [index for index in range(len(recordings)) if recordings.held_out[index]]
    errors: dict[str, list[torch.Tensor]] = {name: [] for name, _ in VOICES}
    right = []
    for index, (voice, mel, phones) in zip(unseen, spoken(workspace, recordings, unseen)):
        errors[VOICES[voice][0]].append((codebook.decode(codes[index], voice) - mel).abs().mean())
        right.append(codebook.phones(codes[index]).cpu() == phones)
    figures |= {f"mel_error_{name}": round(float(torch.stack(found).mean()), 4) for name, found in errors.items()}
    figures["right_phone"] = round(torch.cat(right).float().mean().item(), 4)
    together = torch.cat(codes)
    shares = torch.bincount(together, minlength=len(codebook.centroids) + 1)[1:] / len(together)
    repeats = sum(int((run[1:] == run[:-1]).sum()) for run in codes)
    figures["used"] = int((shares > 0).sum())
    figures["entropy_bits"] = round(float(-(shares * shares.clamp(min=1e-12).log2()).sum()), 2)
    figures["repeat_rate"] = round(repeats / len(together), 3)
    return figures
