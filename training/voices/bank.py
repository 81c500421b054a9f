"""Recorded users on disk: log-mel clips, what is said in them and by whom; knows no synthesizer and no model."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from app.chatml.log_mel import log_mel
from app.engine.spec import MelRules
from training.domain.exchange import Exchange

NUM_MEL_BINS = 128
FRAMES_PER_S = 100
# The published sound tower's features; a block is n_window * 2 frames.
MEL_RULES = MelRules(num_mel_bins=NUM_MEL_BINS, sample_rate=16_000, n_fft=400, hop=160, block_frames=200)


@dataclass(frozen=True)
class Recorded:
    """One clip on its way to the disk. `mel`: float16 [frames, 128]; `is_clean`: no room, noise or microphone."""

    exchange: Exchange
    voice: str
    is_clean: bool
    mel: np.ndarray


class Bank:
    """The clips of a split, all its shards in order, and of others that there may be; the features stay on disk until a
    clip is asked for.

    Raises FileNotFoundError where the split has no shard.
    """

    def __init__(self, folder: Path, split: str, *others: str) -> None:
        self.exchanges: list[Exchange] = []
        # Full names as in `training.voices.synthesizers`: "espeak/en-us+f3".
        self.voice: list[str] = []
        self.is_clean: list[bool] = []
        self.num_frames: list[int] = []
        # Clips that say the same text.
        self.by_text: dict[str, list[int]] = {}
        self._place: list[tuple[np.memmap, int]] = []
        first = shards(folder, split)
        if not first:
            raise FileNotFoundError(f"{folder} has no {split} clips: run the stage 'voices_in' first")
        for mel_file, list_file in first + [shard for other in others for shard in shards(folder, other)]:
            features = np.memmap(mel_file, np.float16, "r").reshape(-1, NUM_MEL_BINS)
            content = json.loads(list_file.read_text())
            exchanges = [Exchange(**fields) for fields in content["exchanges"]]
            start = 0
            for index, voice, is_clean, num_frames in content["clips"]:
                self.by_text.setdefault(exchanges[index].user, []).append(len(self.exchanges))
                self.exchanges.append(exchanges[index])
                self.voice.append(voice)
                self.is_clean.append(is_clean)
                self.num_frames.append(num_frames)
                self._place.append((features, start))
                start += num_frames

    def __len__(self) -> int:
        return len(self.exchanges)

    def mel(self, index: int) -> torch.Tensor:
        """Log-mel [frames, 128] float32, 100 frames a second, as `app.chatml.log_mel` makes them."""
        features, start = self._place[index]
        return torch.from_numpy(features[start : start + self.num_frames[index]].astype(np.float32))


def shards(folder: Path, split: str) -> list[tuple[Path, Path]]:
    """The finished ones: features and list of each."""
    numbers = sorted(int(path.stem.rpartition("_")[2]) for path in folder.glob(f"{split}_*.json"))
    return [(folder / f"{split}_{number}.mel", folder / f"{split}_{number}.json") for number in numbers]


def write_shard(folder: Path, split: str, number: int, clips: Iterable[Recorded]) -> None:
    """Writes clips as they come. The list comes last and at once, so that an unfinished shard is none."""
    exchanges: dict[Exchange, int] = {}
    rows = []
    with (folder / f"{split}_{number}.mel").open("wb") as file:
        for clip in clips:
            assert clip.mel.dtype == np.float16 and clip.mel.shape[1] == NUM_MEL_BINS, (clip.mel.dtype, clip.mel.shape)
            clip.mel.tofile(file)
            index = exchanges.setdefault(clip.exchange, len(exchanges))
            rows.append((index, clip.voice, clip.is_clean, len(clip.mel)))
    content = {"exchanges": [asdict(exchange) for exchange in exchanges], "clips": rows}
    partial = folder / f"{split}_{number}.partial"
    partial.write_text(json.dumps(content))
    partial.replace(folder / f"{split}_{number}.json")


def features_of(samples: np.ndarray) -> np.ndarray:
    """Float32 samples at 16 kHz to float16 [frames, 128]."""
    return log_mel(samples, MEL_RULES).T.contiguous().numpy().astype(np.float16)
