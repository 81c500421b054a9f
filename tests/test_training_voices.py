"""Recorded users: what a microphone may do to a voice, who is trained on, and what the bank gives back."""

import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from app.chatml.log_mel import log_mel
from training.domain.exchange import Exchange
from training.voices import rooms, synthesizers
from training.voices.bank import MEL_RULES, Bank, Recorded, features_of, write_shard
from training.voices.mel_augment import augment_mel
from training.voices.stage import CLIPS_PER_VOICE, Job, record

needs_voices = pytest.mark.skipif(
    not all(shutil.which(name) for name in ("espeak-ng", "flite", "festival")), reason="a synthesizer is not installed"
)


def voice_like(seconds: float = 1.5, seed: int = 0) -> np.ndarray:
    time_s = np.arange(int(seconds * rooms.SAMPLE_RATE)) / rooms.SAMPLE_RATE
    pulses = sum(np.sin(2 * np.pi * 120 * k * time_s + k) / k for k in range(1, 30))
    return (0.1 * pulses * (1 + np.sin(2 * np.pi * 4 * time_s + seed))).astype(np.float32)


def test_every_recording_is_finite_float32_within_full_scale_and_keeps_the_whole_voice():
    voice, babble = voice_like(), [voice_like(seed=1)]
    for seed in range(150):
        sound = rooms.augment(Random(seed), voice, babble)
        assert sound.dtype == np.float32 and np.isfinite(sound).all(), seed
        assert len(voice) + 0.07 * 16_000 - 2 <= len(sound) <= len(voice) + 16_000, (seed, len(sound))
        assert 0.02 < np.abs(sound).max() <= 1.0, (seed, np.abs(sound).max())


def test_the_same_drawing_gives_the_same_recording():
    first, again = (rooms.augment(Random(5), voice_like(), [voice_like(seed=1)]) for _ in range(2))
    assert np.array_equal(first, again)


def test_noise_is_as_far_below_the_voice_as_asked():
    voice = voice_like()
    noisy = rooms.add_noise(Random(1), np.random.default_rng(1), voice, 12.0, [voice_like(seed=1)])
    measured_db = 20 * np.log10(rooms.speech_rms(voice) / np.sqrt(np.mean((noisy - voice) ** 2)))
    assert measured_db == pytest.approx(12.0, abs=0.1)


def test_a_longer_tract_lowers_formants_and_stretches_time():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    longer = synthesizers.reshape(tone, 16_000, 1.25)
    assert len(longer) == 20_000
    assert np.abs(np.fft.rfft(longer)).argmax() * 16_000 / len(longer) == pytest.approx(800, abs=2)


def test_no_trained_voice_is_of_an_unseen_timbre_or_a_stranger():
    random = Random(0)
    drawn = {f"espeak/{synthesizers.draw_espeak_voice(random, synthesizers.TRAIN_TIMBRES)}" for _ in range(3000)}
    drawn |= {f"flite/{name}" for name in synthesizers.FLITE_TRAIN}
    assert {synthesizers.role(voice) for voice in drawn} == {"train"}
    assert {synthesizers.role(voice) for voice in synthesizers.STRANGERS} == {"stranger"}
    assert synthesizers.role("espeak/en-gb+f3") == "unseen"


def test_the_bank_gives_back_the_features_of_the_app_over_all_shards(tmp_path: Path):
    texts = ["one", "two", "one"]
    sounds = [voice_like(0.31), voice_like(0.5), voice_like(1.234)]
    clips = [
        Recorded(Exchange("say", text, "Yes."), f"espeak/en-us+f{index}", index == 1, features_of(sound))
        for index, (text, sound) in enumerate(zip(texts, sounds))
    ]
    write_shard(tmp_path, "train", 0, clips[:2])
    write_shard(tmp_path, "train", 1, clips[2:])
    bank = Bank(tmp_path, "train")
    assert bank.exchanges == [clip.exchange for clip in clips]
    assert bank.voice == [clip.voice for clip in clips] and bank.is_clean == [False, True, False]
    assert bank.by_text == {"one": [0, 2], "two": [1]}
    for index, sound in enumerate(sounds):
        expected = log_mel(sound, MEL_RULES).T
        assert bank.mel(index).dtype == torch.float32 and bank.mel(index).shape == expected.shape
        assert torch.equal(bank.mel(index), expected.half().float()), index


def test_an_unfinished_shard_is_none(tmp_path: Path):
    (tmp_path / "train_0.mel").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="voices_in"):
        Bank(tmp_path, "train")


def test_training_time_changes_keep_the_bins_and_never_touch_the_clip():
    mel = torch.from_numpy(features_of(voice_like()).astype(np.float32))
    before = mel.clone()
    for seed in range(100):
        changed = augment_mel(Random(seed), mel)
        assert changed.shape[1] == 128 and changed.dtype == torch.float32 and changed.isfinite().all(), seed
        assert 0.7 * len(mel) <= len(changed) <= 1.5 * len(mel) + 40, (seed, len(changed), len(mel))
    assert torch.equal(mel, before)
    assert torch.equal(augment_mel(Random(3), mel), augment_mel(Random(3), mel))


@needs_voices
@pytest.mark.parametrize(
    "voice", ["espeak/en-us+f2", "flite/slt", "flite/kal", "festival/ked_diphone", "festival/cmu_us_slt_arctic_hts"]
)
def test_every_synthesizer_speaks_at_16_khz(voice: str):
    sound = synthesizers.say("what is twenty three plus four", voice)
    assert sound.dtype == np.float32 and 1.0 < len(sound) / 16_000 < 3.5, len(sound)
    assert 0.05 < np.abs(sound).max() <= 1.01


@needs_voices
def test_another_speaker_keeps_the_tempo_that_was_asked_for():
    lengths = [len(synthesizers.flite("one two three four", "awb", tract=tract)) for tract in (0.8, 1.0, 1.16)]
    assert max(lengths) < 1.06 * min(lengths), lengths


@needs_voices
def test_a_text_without_sound_is_an_error_that_names_it():
    with pytest.raises(synthesizers.SynthesisFailed, match="could not say|silence|no sound"):
        synthesizers.espeak(" ", "en-us")


@needs_voices
def test_festival_as_another_speaker_keeps_its_tempo():
    shorter, own = synthesizers.festival_batch(["one two three four"] * 2, "ked_diphone", [0.85, 1.0])
    assert len(shorter) == pytest.approx(len(own), rel=0.06)


@needs_voices
def test_a_job_gives_the_same_clips_whoever_does_it(tmp_path: Path):
    exchange = Exchange("say", "hello", "Hello.")
    np.savez(tmp_path / "babble.npz", (voice_like() * 32767).astype(np.int16))
    job = Job("0/train/0", (exchange, exchange), "train", True, tmp_path / "babble.npz")
    first, again = record(job), record(job)
    assert [clip.voice for clip in first] == [clip.voice for clip in again]
    assert all(np.array_equal(one.mel, other.mel) for one, other in zip(first, again, strict=True))
    assert len(first) == 2 * CLIPS_PER_VOICE
