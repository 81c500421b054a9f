"""Stage: the reply voices read plain English and the domain's replies; knows nothing of what learns from it."""

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.speech import words
from training.speech.open_text import sentences
from training.speech.reply_voices import SAMPLE_RATE, VOICES, Phone, recite
from training.workspace import Workspace

NAME = "voices_out"
# Two sets, read one after the other, so that sound models can begin on the first while the second is recorded.
SETS = ("open", "replies")
PRONUNCIATIONS = "pronunciations.json"


class Recordings:
    """All recordings of a folder, the sets that exist in their order; the samples stay on disk."""

    def __init__(self, folder: Path) -> None:
        self.texts: list[str] = []
        self.voice: list[int] = []
        self.held_out: list[bool] = []
        # Length of every recording in samples.
        self.num_samples: list[int] = []
        # What is said when: phones with the samples at which they end.
        self.phones: list[list[Phone]] = []
        self._place: list[tuple[np.memmap, int]] = []
        for name in SETS:
            if not (folder / f"{name}.json").exists():
                continue
            samples = np.memmap(folder / f"{name}.i16", dtype=np.int16, mode="r")
            start = 0
            for text, voice, held_out, length, phones in json.loads((folder / f"{name}.json").read_text()):
                self.texts.append(text)
                self.voice.append(voice)
                self.held_out.append(held_out)
                self.num_samples.append(length)
                self.phones.append([(name, end) for name, end in phones])
                self._place.append((samples, start))
                start += length
        if not self.texts:
            raise FileNotFoundError(f"no recordings in {folder}: run the stage {NAME!r} first")

    def __len__(self) -> int:
        return len(self.texts)

    def wave(self, index: int) -> np.ndarray:
        """Samples [num_samples] int16 at 24 kHz, a multiple of 480."""
        samples, start = self._place[index]
        return samples[start : start + self.num_samples[index]]


def load_recordings(workspace: Workspace) -> Recordings:
    return Recordings(workspace.folder / NAME)


def load_pronunciations(workspace: Workspace) -> dict[str, list[str]]:
    """Phones of every word of the recordings, said alone. Raises FileNotFoundError naming the stage to run first."""
    path = workspace.folder / NAME / PRONUNCIATIONS
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run the stage {NAME!r} first")
    return json.loads(path.read_text())


def run(workspace: Workspace) -> None:
    record_open_text(workspace)
    record_replies(workspace)
    words.write(workspace.stage(NAME) / PRONUNCIATIONS, load_recordings(workspace).texts)
    report(workspace)


def record_open_text(workspace: Workspace) -> None:
    random = workspace.random(NAME)
    train = random.sample(sentences("train"), workspace.size(8000, 24))
    test = random.sample(sentences("test"), workspace.size(80, 8))
    record(workspace.stage(NAME), "open", train, test)


def record_replies(workspace: Workspace) -> None:
    from training.domain.replies import reply_texts

    train = reply_texts(workspace.random(f"{NAME}/replies"), "train", workspace.size(4000, 24))
    test = reply_texts(workspace.random(f"{NAME}/replies/test"), "test", workspace.size(160, 12))
    # Replies that are learnt by heart are in both splits; who has learnt them is no judge of unseen text.
    record(workspace.stage(NAME), "replies", train, [text for text in test if text not in set(train)])


def record(folder: Path, name: str, train: Iterable[str], test: Iterable[str]) -> None:
    """Every text by every voice into `name`.i16 and `name`.json; a set that is there stays as it is."""
    if (folder / f"{name}.json").exists():
        return
    jobs = [
        (text, voice, held_out)
        for held_out, texts in ((False, train), (True, test))
        for text in texts
        for voice in range(len(VOICES))
    ]
    lines = []
    with ThreadPoolExecutor(os.cpu_count()) as pool, (folder / f"{name}.i16").open("wb") as file:
        recitals = pool.map(lambda job: recite(job[0], job[1]), jobs)
        for job, (samples, phones) in zip(jobs, tqdm(recitals, desc=f"{NAME} {name}", total=len(jobs), mininterval=5)):
            samples.tofile(file)
            lines.append((*job, len(samples), phones))
    (folder / f"{name}.json").write_text(json.dumps(lines))


def report(workspace: Workspace) -> None:
    recordings = load_recordings(workspace)
    workspace.save_report(
        NAME,
        {
            "recordings": len(recordings),
            "texts": len(set(recordings.texts)),
            "hours": round(sum(recordings.num_samples) / SAMPLE_RATE / 3600, 2),
            "held_out": sum(recordings.held_out),
        },
    )
