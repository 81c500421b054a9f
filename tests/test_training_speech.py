"""The speaking half's training: own forward passes against the library's, codec, recordings, held-out texts."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
    Qwen2_5OmniAntiAliasedActivation1d,
    Qwen2_5OmniSnakeBeta,
)

from training.speech.codec import make_codebook
from training.speech.cuts import Cutter, whole_mel
from training.speech.fast_activation import FastActivation, taps
from training.speech.flow import BATCH, NUM_FRAMES, SPEAKER_SIZE, flow_error, new_flow
from training.speech.mel import HOP, NUM_MELS, LogMel, from_model_domain, to_model_domain
from training.speech.open_text import WORDNET_FOLDER, is_held_out, sentences
from training.speech.phones import NO_PHONE, PLACE, places, said
from training.speech.reply_voices import SAMPLE_RATE, SAMPLES_PER_CODE, VOICES, Phone, finish, recite
from training.speech.vocoder import forward, new_vocoder
from training.speech.voices_out import Recordings, record
from training.speech.words import NO_WORD, align, pronounce, spans, write


@pytest.mark.parametrize("length", [1, 2, 7, 50])
def test_fast_activation_equals_the_librarys(length: int) -> None:
    torch.manual_seed(0)
    library = Qwen2_5OmniAntiAliasedActivation1d(Qwen2_5OmniSnakeBeta(4))
    with torch.no_grad():
        library.act.alpha.normal_()
        library.act.beta.normal_()
    hidden = torch.randn(2, 4, length)
    ours = FastActivation(compiled=False)(hidden, library.act.alpha, library.act.beta, *taps(library))
    torch.testing.assert_close(ours, library(hidden), atol=1e-5, rtol=1e-5)


def test_vocoder_forward_equals_the_librarys_up_to_its_clamp() -> None:
    torch.manual_seed(0)
    model = new_vocoder().eval()
    mel = torch.randn(2, NUM_MELS, 9)
    with torch.no_grad():
        ours, library = forward(model, mel, FastActivation(compiled=False)), model(mel)
    assert ours.shape == (2, 9 * HOP)
    torch.testing.assert_close(ours.clamp(-1, 1), library, atol=1e-5, rtol=1e-4)


def test_flow_learns_and_its_dropped_condition_is_the_class_own_null_branch() -> None:
    torch.manual_seed(0)
    model = new_flow(16)
    pieces = (
        torch.randn(2, 48, NUM_MELS),
        torch.randint(1, 17, (2, 24)),
        torch.randn(2, 60, NUM_MELS),
        torch.randn(2, SPEAKER_SIZE),
    )

    def error(dropped: float) -> torch.Tensor:
        return flow_error(model, pieces, torch.Generator().manual_seed(1), dropped)[0]

    before = error(0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(4):
        error(0.0).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert error(0.0) < before
    mel, codes, reference, vectors = pieces
    with torch.no_grad():
        library = model(
            mel, reference, vectors[:, None].expand(-1, 48, -1), codes, torch.full((2,), 0.5), apply_cfg=True
        )
        null = model(
            mel,
            torch.zeros_like(reference),
            torch.zeros(2, 48, SPEAKER_SIZE),
            torch.zeros_like(codes),
            torch.full((2,), 0.5),
            apply_cfg=False,
        )
    torch.testing.assert_close(library.chunk(2)[1], null, atol=1e-5, rtol=1e-4)
    assert error(1.0) != error(0.0)


def test_codec_codes_are_1_to_k_and_come_back_as_their_nearest_sound() -> None:
    generator = torch.Generator().manual_seed(0)
    sounds, phones = torch.randn(4, 2 * NUM_MELS, generator=generator), torch.tensor([3, 3, 0, 7])
    spoken = []
    for voice in range(len(VOICES)):
        order = torch.arange(4).repeat(16)[torch.randperm(64, generator=generator)]
        spoken.append((voice, sounds[order].reshape(-1, NUM_MELS) * (1 + voice) - 6 * voice, phones[order]))
    book = make_codebook(spoken, 4, generator)
    for voice, mel, own in spoken:
        codes = book.encode(mel, voice, own)
        assert set(codes.tolist()) == {1, 2, 3, 4}
        assert torch.equal(book.phones(codes), own)
        # One code for three voices, whose scales have the same floor.
        torch.testing.assert_close(book.decode(codes, voice), mel, atol=0.1, rtol=0.0)
        assert torch.equal(book.encode(book.decode(codes, voice), voice, own), codes)
    again = make_codebook(spoken, 4, torch.Generator().manual_seed(5))
    torch.testing.assert_close(again.centroids, make_codebook(spoken, 4, torch.Generator().manual_seed(5)).centroids)


def test_what_sounds_alike_and_is_another_phone_gets_another_code() -> None:
    spoken = [(voice, torch.zeros(64, NUM_MELS), torch.arange(2).repeat(16)) for voice in range(len(VOICES))]
    book = make_codebook(spoken, 2, torch.Generator().manual_seed(0))
    assert book.encode(torch.zeros(8, NUM_MELS), 0, torch.tensor([0, 1, 1, 0])).unique().numel() == 2


def test_a_code_belongs_to_the_phone_in_which_its_middle_lies() -> None:
    phones = [("hh", 500), ("ay", 1500), ("pau", 1600)]
    assert places(phones, 5).tolist() == [0, 1, 1, 2, 2]
    h, ay, pau = (PLACE[name] for name, _ in phones)
    assert said(phones, 5, 2).tolist() == [
        [h, ay, pau], [ay, pau, NO_PHONE], [ay, pau, NO_PHONE], [pau, NO_PHONE, NO_PHONE], [pau, NO_PHONE, NO_PHONE]
    ]  # fmt: skip


@pytest.mark.skipif(not shutil.which("flite"), reason="the package flite is not installed")
def test_the_synthesizers_phones_end_with_its_sound() -> None:
    samples, phones = recite("Hello world.", 0)
    assert [name for name, _ in phones] == "hh ax l ow w er l d pau".split()
    ends = [end for _, end in phones]
    assert ends == sorted(ends) and 0 < ends[0] and len(samples) - SAMPLES_PER_CODE <= ends[-1] <= len(samples)


def test_phones_are_given_to_the_words_that_they_belong_to() -> None:
    words = [["ax"], ["r", "eh", "d"], ["hh", "aw", "s"]]
    assert align("ey r iy d pau hh aw s pau".split(), words) == [0, 1, 1, 1, NO_WORD, 2, 2, 2, NO_WORD]
    assert align("r eh d aw s".split(), words) == [1, 1, 1, 2, 2]
    assert align(["pau"], []) == [NO_WORD]
    assert spans("Don't go, Ann.") == [(0, 5), (6, 8), (10, 13)]


@pytest.mark.skipif(not shutil.which("flite"), reason="the package flite is not installed")
def test_every_word_is_pronounced_alone_also_an_abbreviation() -> None:
    found = pronounce(["the", "twelve", "mr", "don't"])
    assert found["twelve"] == "t w eh l v".split() and found["don't"] == "d ow n t".split()
    assert found["mr"] == "m ih s t er".split()


@pytest.mark.skipif(not shutil.which("flite"), reason="the package flite is not installed")
def test_new_texts_add_their_words_to_the_pronunciations_that_are_there(tmp_path) -> None:
    path = tmp_path / "pronunciations.json"
    path.write_text('{"the": ["dh", "iy"]}')
    write(path, ["The cat."])
    assert json.loads(path.read_text()) == {"the": ["dh", "iy"], "cat": ["k", "ae", "t"]}


def test_recorded_speech_is_trimmed_level_and_whole_codes_long() -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    samples = np.concatenate([np.zeros(9000), 0.3 * np.sin(2 * np.pi * 200 * time), np.zeros(12_345)])
    made = finish(samples)
    assert made.dtype == np.int16 and len(made) % SAMPLES_PER_CODE == 0
    assert abs(len(made) / SAMPLE_RATE - 1.09) < 0.03
    assert abs(np.sqrt(np.mean((made / 32767.0) ** 2)) - 0.08) < 0.005


def test_a_piece_has_the_mel_of_the_whole_recording(tmp_path, monkeypatch) -> None:
    generator = np.random.default_rng(0)

    def recite(text: str, voice: int) -> tuple[np.ndarray, list[Phone]]:
        return generator.integers(-9000, 9000, 60 * HOP, dtype=np.int16), [("aa", 60 * HOP)]

    monkeypatch.setattr("training.speech.voices_out.recite", recite)
    record(tmp_path, "open", ["One.", "Two."], ["Three."])
    record(tmp_path, "replies", ["Four."], [])
    recordings = Recordings(tmp_path)
    assert recordings.texts == [text for text in ("One.", "Two.", "Three.", "Four.") for _ in VOICES]
    assert [i for i in range(len(recordings)) if recordings.held_out[i]] == [6, 7, 8]
    mel, wave = Cutter(recordings, 20, held_out=False, device=torch.device("cpu")).cut([(4, 0), (10, 40)])
    whole = torch.stack([whole_mel(recordings, 4, LogMel())[:20], whole_mel(recordings, 10, LogMel())[40:]])
    torch.testing.assert_close(from_model_domain(mel.transpose(1, 2)), whole, atol=1e-4, rtol=1e-4)
    assert torch.equal(wave[1], torch.from_numpy(recordings.wave(10)[40 * HOP :].astype(np.float32) / 32767))
    record(tmp_path, "open", ["Other."], [])
    assert Recordings(tmp_path).texts == recordings.texts


def test_the_models_domain_stays_inside_the_vocoders_clamp() -> None:
    quiet, loud = to_model_domain(torch.tensor([-11.52, 1.5]))
    assert -10.94 < quiet < -2 and 2 < loud < 2.6, (quiet, loud)


@pytest.mark.skipif(not (WORDNET_FOLDER / "data.noun").exists(), reason="the package wordnet-base is not installed")
def test_open_text_is_plain_and_its_held_out_part_is_apart() -> None:
    train, test = sentences("train"), sentences("test")
    assert len(train) > 5000 and 0.03 < len(test) / len(train) < 0.08
    assert not {text.lower() for text in train} & {text.lower() for text in test}
    assert all(is_held_out(text) for text in test)
    assert all(text.endswith(".") and text[0].isupper() and 3 <= len(text.split()) <= 12 for text in train)


def test_a_batch_holds_every_voice_equally() -> None:
    assert BATCH % len(VOICES) == 0 and NUM_FRAMES % 24 == 0
