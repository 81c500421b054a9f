"""Stage: the bank of recorded users in splits train, test and stranger; knows nothing of what learns from it.

train: a first shard of a few voices as they are, undisturbed, for hearing to begin with; then trained timbres of
espeak-ng and speakers made of Flite's clustergen voices, through rooms and microphones. test: held-out texts, three
quarters by timbres that training never hears. stranger: held-out texts by synthesizers that training never hears.
Half of the test and stranger clips are clean, half recorded through rooms and microphones.
"""

import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from tqdm import tqdm

from training.domain.exchange import Exchange
from training.domain.spoken import user_texts
from training.voices import rooms, synthesizers
from training.voices.bank import FRAMES_PER_S, Bank, Recorded, features_of, shards, write_shard
from training.workspace import Workspace

NAME = "voices_in"
# Clips per shard of training; another number here (or `add_shard`) adds to a bank that is there.
NUM_FIRST = 8_000
TRAIN_SHARDS = (16_000, 16_000, 16_000, 16_000)
CLIPS_PER_VOICE = 2
ESPEAK_SHARE = 0.55
NUM_UNSEEN, NUM_TRAINED, NUM_PER_STRANGER = 1_100, 400, 100
DRAWN = ("first", "train", "trained", "unseen")
# Texts that one process says at a time; Festival says them in one run.
BATCH = 20
NUM_PROCESSES = 2
NUM_BABBLE = 48


@dataclass(frozen=True)
class Job:
    """Texts that one process records, of one drawing."""

    seed: str
    exchanges: tuple[Exchange, ...]
    # A full name for all of them, or who is drawn for each: "first" (few voices, undisturbed), "train" (other
    # speakers), "trained", "unseen".
    voice: str
    is_training: bool
    babble_file: Path


def run(workspace: Workspace) -> None:
    """Makes the shards that are missing, the first of training and the judged splits before the rest."""
    _make_first(workspace)
    add_shard(workspace, 1, workspace.size(TRAIN_SHARDS[0], 24))
    _make_test(workspace)
    _make_stranger(workspace)
    for number, num_clips in enumerate(TRAIN_SHARDS[1:], 2):
        if not workspace.quick:
            add_shard(workspace, number, num_clips)
    report(workspace)


def _make_first(workspace: Workspace) -> None:
    num_clips = workspace.size(NUM_FIRST, 24)
    texts = user_texts(workspace.random(f"{NAME}/train/0"), "train", num_clips)
    _record(workspace, "train", 0, _jobs(workspace, "train/0", texts, "first"), num_clips)


def add_shard(workspace: Workspace, number: int, num_clips: int) -> None:
    """Training clips under their own drawing; a shard that is there stays as it is."""
    num_texts = num_clips // CLIPS_PER_VOICE
    texts = user_texts(workspace.random(f"{NAME}/train/{number}"), "train", num_texts)
    _record(workspace, "train", number, _jobs(workspace, f"train/{number}", texts, "train"), num_clips)


def add_stranger_shard(workspace: Workspace, number: int, num_clips: int) -> None:
    """Training clips by the strangers, as the split "stranger_train": for weights that are shipped, once the strangers
    have judged those that were trained without them."""
    num_texts = num_clips // CLIPS_PER_VOICE // len(synthesizers.STRANGERS)
    jobs = []
    for voice in synthesizers.STRANGERS:
        name = f"stranger_train/{number}/{voice}"
        jobs += _jobs(workspace, name, user_texts(workspace.random(f"{NAME}/{name}"), "train", num_texts), voice)
    workspace.random(f"{NAME}/stranger_train/{number}").shuffle(jobs)
    _record(workspace, "stranger_train", number, jobs, num_clips)


def _make_test(workspace: Workspace) -> None:
    num_unseen, num_trained = workspace.size(NUM_UNSEEN, 12), workspace.size(NUM_TRAINED, 8)
    texts = user_texts(workspace.random(f"{NAME}/test"), "test", num_unseen + num_trained)
    jobs = _jobs(workspace, "test/unseen", texts[:num_unseen], "unseen")
    jobs += _jobs(workspace, "test/trained", texts[num_unseen:], "trained")
    _record(workspace, "test", 0, jobs, len(texts))


def _make_stranger(workspace: Workspace) -> None:
    num_clips = workspace.size(NUM_PER_STRANGER, 2)
    jobs = []
    for voice in synthesizers.STRANGERS:
        texts = user_texts(workspace.random(f"{NAME}/stranger/{voice}"), "test", num_clips)
        jobs += _jobs(workspace, f"stranger/{voice}", texts, voice)
    _record(workspace, "stranger", 0, jobs, num_clips * len(synthesizers.STRANGERS))


def _jobs(workspace: Workspace, name: str, texts: list[Exchange], voice: str) -> list[Job]:
    babble_file = workspace.stage(NAME) / "babble.npz"
    is_training = name.partition("/")[0].endswith("train")
    return [
        Job(f"{workspace.seed}/{name}/{start}", tuple(texts[start : start + BATCH]), voice, is_training, babble_file)
        for start in range(0, len(texts), BATCH)
    ]


def _record(workspace: Workspace, split: str, number: int, jobs: list[Job], num_clips: int) -> None:
    folder = workspace.stage(NAME)
    if folder / f"{split}_{number}.json" in [list_file for _, list_file in shards(folder, split)]:
        return
    _make_babble(workspace)
    # Spawned, since torch's threads do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(NUM_PROCESSES, torch.set_num_threads, (1,)) as pool:
        recorded = pool.imap(record, jobs)
        write_shard(folder, split, number, _bar(recorded, f"{NAME} {split} {number}", num_clips))


def _bar(recorded: Iterable[list[Recorded]], title: str, num_clips: int) -> Iterator[Recorded]:
    with tqdm(desc=title, total=num_clips, mininterval=5) as bar:
        for clips in recorded:
            yield from clips
            bar.update(len(clips))


def record(job: Job) -> list[Recorded]:
    """The clips of a job; depends on nothing but the job."""
    random = Random(job.seed)
    with np.load(job.babble_file) as file:
        babble = [file[name].astype(np.float32) / 32768 for name in file.files]
    if job.voice not in DRAWN:
        tracts = [draw_tract(random) for _ in job.exchanges] if job.is_training else None
        waves = say_all([exchange.user for exchange in job.exchanges], job.voice, tracts)
        speakers = [(job.voice, wave) for wave in waves]
    else:
        speakers = [draw_voice(random, exchange.user, job.voice) for exchange in job.exchanges]
    clips = []
    for index, (exchange, (voice, wave)) in enumerate(zip(job.exchanges, speakers)):
        if job.voice == "first":
            clips.append(Recorded(exchange, voice, True, features_of(rooms.recording(random, wave))))
            continue
        if job.is_training:
            for _ in range(CLIPS_PER_VOICE):
                clips.append(Recorded(exchange, voice, False, features_of(rooms.augment(random, wave, babble))))
            continue
        # The judged voices are themselves: their formants stay.
        is_clean = index % 2 == 0
        if is_clean:
            sound = rooms.recording(random, wave)
        else:
            sound = rooms.augment(random, wave, babble, other_speaker=False)
        clips.append(Recorded(exchange, voice, is_clean, features_of(sound)))
    return clips


def draw_voice(random: Random, text: str, who: str) -> tuple[str, np.ndarray]:
    """A voice's full name, and what it says: as another speaker ("train") or as itself."""
    if who == "first":
        name = random.choice(synthesizers.FIRST_VOICES)
        return name, synthesizers.say(text, name)
    is_other = who == "train"
    if who != "unseen" and random.random() > ESPEAK_SHARE:
        name = random.choice(tuple(synthesizers.FLITE_TRAIN))
        speaker = synthesizers.draw_flite_speaker(random, name) if is_other else {}
        return f"flite/{name}", synthesizers.flite(text, name, **speaker)
    timbres = synthesizers.UNSEEN_TIMBRES if who == "unseen" else synthesizers.TRAIN_TIMBRES
    name = synthesizers.draw_espeak_voice(random, timbres)
    tract = draw_tract(random) if is_other else 1.0
    return f"espeak/{name}", synthesizers.espeak(text, name, random.randint(120, 200), random.randint(20, 80), tract)


def draw_tract(random: Random) -> float:
    """Length of a vocal tract relative to the voice's own."""
    return 0.85 * (1.18 / 0.85) ** random.random()


def say_all(texts: Sequence[str], voice: str, tracts: Sequence[float] | None = None) -> list[np.ndarray]:
    """Every text by the voice of that full name; with `tracts` as other speakers, one per text."""
    if voice.startswith("festival/"):
        return synthesizers.festival_batch(texts, voice.removeprefix("festival/"), tracts)
    tracts = tracts or [1.0] * len(texts)
    return [synthesizers.say(text, voice, tract) for text, tract in zip(texts, tracts, strict=True)]


def _make_babble(workspace: Workspace) -> None:
    """Trained voices that talk in the background of others."""
    path = workspace.stage(NAME) / "babble.npz"
    if path.exists():
        return
    random = workspace.random(f"{NAME}/babble")
    texts = user_texts(random, "train", workspace.size(NUM_BABBLE, 6))
    waves = [draw_voice(random, exchange.user, "train")[1] for exchange in texts]
    np.savez(path, *[(wave.clip(-1, 1) * 32767).astype(np.int16) for wave in waves])


def report(workspace: Workspace) -> None:
    figures = {}
    for split in ("train", "test", "stranger", "stranger_train"):
        if not shards(workspace.stage(NAME), split):
            continue
        bank = Bank(workspace.stage(NAME), split)
        families = Counter(synthesizers.family(voice) for voice in bank.voice)
        figures[split] = {
            "clips": len(bank),
            "texts": len(bank.by_text),
            "hours": round(sum(bank.num_frames) / FRAMES_PER_S / 3600, 2),
            "voices": len(set(bank.voice)),
            "clean": sum(bank.is_clean),
            "share": {name: round(count / len(bank), 3) for name, count in sorted(families.items())},
        }
    workspace.save_report(NAME, figures)
