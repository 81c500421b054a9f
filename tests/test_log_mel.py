"""Our log-mel is the library's, whole and in pieces."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from app.chatml.log_mel import LogMelStream, log_mel
from app.engine.spec import MelRules

RULES = MelRules(num_mel_bins=128, sample_rate=16_000, n_fft=400, hop=160, block_frames=200)
LIBRARY_SECONDS = 8
# float32 logarithms of a sum whose order the library's longer matrix may change.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def library() -> WhisperFeatureExtractor:
    """The published one pads to 300 s; a shorter padding gives the same frames faster."""
    return WhisperFeatureExtractor(feature_size=128, chunk_length=LIBRARY_SECONDS)


def noise(num_samples: int, gain: float = 0.1, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(num_samples) * gain).astype(np.float32)


def click_at_the_end(num_samples: int) -> np.ndarray:
    samples = noise(num_samples, 1e-4)
    samples[-1] = 1.0
    return samples


def of_library(library: WhisperFeatureExtractor, samples: np.ndarray) -> torch.Tensor:
    features = library(samples, sampling_rate=16_000, return_attention_mask=True, return_tensors="pt")
    return features["input_features"][0, :, : int(features["attention_mask"].sum())]


def streamed(samples: np.ndarray, piece: int) -> list[torch.Tensor]:
    stream = LogMelStream(RULES)
    pieces = [samples[start : start + piece] for start in range(0, len(samples), piece)]
    return [block for each in pieces for block in stream.push(each)] + stream.finish()


LENGTHS = [1, 159, 160, 161, 200, 201, 202, 1600, 31_999, 32_000, 32_001, 32_040, 32_041, 48_777, 112_777]
CLIPS = [
    *(pytest.param(noise(length), id=f"noise of {length}") for length in LENGTHS),
    pytest.param(np.zeros(16_000, np.float32), id="silence"),
    *(pytest.param(click_at_the_end(length), id=f"click ends {length}") for length in (16_000, 16_030, 16_150)),
    pytest.param(np.sin(np.arange(40_000) * 0.3).astype(np.float32), id="tone"),
]


@pytest.mark.parametrize("samples", CLIPS)
def test_a_whole_clip_equals_the_librarys(library, samples):
    expected, ours = of_library(library, samples), log_mel(samples, RULES)
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max().item() <= TOLERANCE


def test_the_published_padding_of_300_s_changes_nothing():
    samples = noise(50_001)
    expected = of_library(WhisperFeatureExtractor(feature_size=128, chunk_length=300), samples)
    assert (log_mel(samples, RULES) - expected).abs().max().item() <= TOLERANCE


@pytest.mark.parametrize("piece", [1000, 1, 160, 32_000, 200_000], ids=lambda piece: f"pieces of {piece}")
def test_a_stream_equals_the_whole_clip_however_it_is_cut(piece):
    # The loudest sound comes first, so that the running maximum is the clip's.
    samples = noise(7_000 if piece == 1 else 112_777)
    samples[:400] *= 4
    blocks = streamed(samples, piece)
    whole = log_mel(samples, RULES)
    assert [block.shape[1] for block in blocks] == [block.shape[1] for block in whole.split(RULES.block_frames, 1)]
    assert (torch.cat(blocks, 1) - whole).abs().max().item() <= TOLERANCE


@pytest.mark.parametrize("num_samples", [1, 200, 201, 31_999, 32_000, 32_001, 32_039, 32_040, 32_200, 64_000, 64_017])
def test_a_stream_has_a_frame_per_begun_hop(num_samples):
    blocks = streamed(noise(num_samples), 4096)
    assert sum(block.shape[1] for block in blocks) == -(-num_samples // RULES.hop)
    assert all(block.shape[1] == RULES.block_frames for block in blocks[:-1])


def test_a_stream_without_sound_has_no_block():
    assert streamed(noise(0), 1) == []
    assert log_mel(noise(0), RULES).shape == (128, 0)


def test_a_block_is_ready_half_a_window_after_its_last_frame_began():
    needed = (RULES.block_frames - 1) * RULES.hop + RULES.n_fft // 2
    stream = LogMelStream(RULES)
    assert stream.push(noise(needed - 1)) == []
    assert len(stream.push(noise(1))) == 1


def test_a_rising_level_cuts_earlier_blocks_at_the_loudest_so_far():
    samples = np.concatenate([noise(40_000, 1e-5), noise(40_000, 0.5)])
    blocks, whole = streamed(samples, 1600), log_mel(samples, RULES)
    assert not torch.allclose(blocks[0], whole[:, :200], atol=1e-3)
    assert (blocks[-1] - whole[:, 400:]).abs().max().item() <= TOLERANCE
