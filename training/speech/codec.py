"""Stage: one code per 20 ms of speech, by k-means over two mel frames whose voice was normalised away.

A code says what is spoken and how high; whose voice it is, the DiT learns from its conditioning.
"""

from dataclasses import dataclass

import torch
from tqdm import tqdm

from training.speech.cuts import whole_mel
from training.speech.mel import NUM_MELS, LogMel
from training.speech.reply_voices import SAMPLES_PER_CODE, VOICES
from training.speech.voices_out import Recordings, load_recordings
from training.workspace import Workspace

NAME = "codec"
FRAMES_PER_CODE = 2
# Codes are 1 .. NUM_CODES: the DiT's class takes code 0 for "no code" when it guides.
NUM_CODES = 768
NUM_ROUNDS = 25
SAMPLE_SIZE = 150_000
# Keeps silent bands, which hardly vary, from being blown up.
SCALE_FLOOR = 0.05


@dataclass(frozen=True)
class Codebook:
    """`centroids` [code, 2 * 80] of normalised frames; `mean` and `scale` [voice, 80] of ln-mel."""

    centroids: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor

    def normalise(self, log_mel: torch.Tensor, voice: int) -> torch.Tensor:
        """ln-mel [frame, 80] -> [code, 160]."""
        return ((log_mel - self.mean[voice]) / self.scale[voice]).reshape(-1, FRAMES_PER_CODE * NUM_MELS)

    def encode(self, log_mel: torch.Tensor, voice: int) -> torch.Tensor:
        """ln-mel [frame, 80] -> codes [frame // 2], each 1 .. number of centroids."""
        return nearest(self.normalise(log_mel, voice), self.centroids) + 1

    def decode(self, codes: torch.Tensor, voice: int) -> torch.Tensor:
        """Codes [code] -> the ln-mel [2 * code, 80] that they stand for."""
        frames = self.centroids[codes - 1].reshape(-1, NUM_MELS)
        return frames * self.scale[voice] + self.mean[voice]


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


def make_codebook(mels: list[tuple[int, torch.Tensor]], num_codes: int, generator: torch.Generator) -> Codebook:
    """From pairs of a voice and its ln-mel [frame, 80]."""
    of_voice = [torch.cat([mel for owner, mel in mels if owner == voice]) for voice in range(len(VOICES))]
    mean = torch.stack([frames.mean(0) for frames in of_voice])
    scale = torch.stack([frames.std(0) for frames in of_voice]) + SCALE_FLOOR
    plain = Codebook(torch.empty(0), mean, scale)
    points = torch.cat([plain.normalise(mel, voice) for voice, mel in mels])
    order = torch.randperm(len(points), generator=generator)[:SAMPLE_SIZE].to(points.device)
    return Codebook(k_means(points[order], num_codes, generator), mean, scale)


def run(workspace: Workspace) -> None:
    """Makes the codebook once, from the recordings there are; later recordings are encoded with the same."""
    recordings = load_recordings(workspace)
    log_mel = LogMel().to(workspace.device)
    mels = [whole_mel(recordings, i, log_mel) for i in tqdm(range(len(recordings)), desc=NAME, mininterval=5)]
    if not (workspace.stage(NAME) / "codebook.safetensors").exists():
        known = [(recordings.voice[i], mel) for i, mel in enumerate(mels) if not recordings.held_out[i]]
        generator = torch.Generator().manual_seed(workspace.seed)
        codebook = make_codebook(known, workspace.size(NUM_CODES, 64), generator)
        workspace.save_weights(NAME, vars(codebook), "codebook.safetensors")
    codebook = load_codebook(workspace)
    codes = [codebook.encode(mel, voice) for mel, voice in zip(mels, recordings.voice)]
    workspace.save_weights(NAME, {"codes": torch.cat(codes).short()}, "codes.safetensors")
    workspace.save_report(NAME, report(codebook, recordings, mels, codes))


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
    codebook: Codebook, recordings: Recordings, mels: list[torch.Tensor], codes: list[torch.Tensor]
) -> dict[str, float]:
    """How well codes stand for held-out mel, and how evenly and restlessly they are used."""
    figures: dict[str, float] = {"num_codes": len(codebook.centroids)}
    for voice, (name, _) in enumerate(VOICES):
        chosen = [i for i in range(len(mels)) if recordings.held_out[i] and recordings.voice[i] == voice]
        points = torch.cat([codebook.normalise(mels[i], voice) for i in chosen])
        kept = codebook.centroids[torch.cat([codes[i] for i in chosen]) - 1]
        explained = 1 - (points - kept).pow(2).mean() / points.var(0).mean()
        errors = [(codebook.decode(codes[i], voice) - mels[i]).abs().mean() for i in chosen]
        figures[f"explained_variance_{name}"] = round(float(explained), 4)
        figures[f"mel_error_{name}"] = round(float(torch.stack(errors).mean()), 4)
    together = torch.cat(codes)
    shares = torch.bincount(together, minlength=len(codebook.centroids) + 1)[1:] / len(together)
    repeats = sum(int((run[1:] == run[:-1]).sum()) for run in codes)
    figures["used"] = int((shares > 0).sum())
    figures["entropy_bits"] = round(float(-(shares * shares.clamp(min=1e-12).log2()).sum()), 2)
    figures["repeat_rate"] = round(repeats / len(together), 3)
    return figures
