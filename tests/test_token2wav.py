"""Streamed speech is the offline speech: same noise, same samples but for the look-ahead, no step at any joint."""

import numpy as np
import pytest
import torch
from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni

from app.engine.ramp import Blocks, Pace, Ramp
from app.engine.stepping import alone
from app.engine.token2wav import SpeechStream, Windows

NUM_POINTS = 4


def stream(tiny, codes, windows=None, seed=3, voice="Chelsie", ode_points=NUM_POINTS):
    """Packets of one utterance, and the stream that made them."""
    token2wav = tiny.engine.stages.token2wav
    speech = token2wav.stream(
        tiny.engine.stages.voices[voice], seed, ode_points, guidance=0.5, windows=windows or Windows()
    )
    with torch.inference_mode():
        units = [unit for code in codes for unit in speech.push(code)] + list(speech.finish())
    return [unit.numpy() for unit in units if unit is not None], speech


def offline(tiny, speech: SpeechStream, codes, monkeypatch, voice="Chelsie", ode_points=NUM_POINTS):
    """The library's own Token2Wav over all codes at once, with the noise that the stream drew."""
    noise = speech._noise[:, : 2 * len(codes)]
    monkeypatch.setattr(modeling_qwen2_5_omni.torch, "randn", lambda *args, **kwargs: noise.clone())
    entry = tiny.model.speaker_map[voice]
    with torch.inference_mode():
        wave = tiny.model.token2wav(
            torch.tensor([codes]), conditioning=entry["cond"], reference_mel=entry["ref_mel"], num_steps=ode_points
        )
    monkeypatch.undo()
    return wave.reshape(-1).numpy()


def some_codes(count, seed=0):
    return np.random.default_rng(seed).integers(0, 8192, count).tolist()


@pytest.mark.parametrize("count", [1, 11, 12, 23, 24, 25, 101, 240])
@pytest.mark.parametrize("windows", [Windows(), Windows(chunks=(1,)), Windows(chunks=(3,))], ids=["ramp", "1", "3"])
def test_streamed_wave_equals_the_offline_wave_within_the_look_ahead(tiny, count, windows, monkeypatch):
    codes = some_codes(count)
    packets, speech = stream(tiny, codes, windows)
    wave, expected = np.concatenate(packets), offline(tiny, speech, codes, monkeypatch)
    assert wave.shape == expected.shape
    error = np.sqrt(np.mean((wave - expected) ** 2)) / expected.std()
    assert error < 2e-3, error


def test_windows_that_see_everything_give_the_offline_wave(tiny, monkeypatch):
    codes = some_codes(130)
    packets, speech = stream(tiny, codes, Windows(chunks=(2,), look_back=99, look_ahead=99))
    expected = offline(tiny, speech, codes, monkeypatch)
    assert np.abs(np.concatenate(packets) - expected).max() < 1e-5


def test_no_step_at_any_joint(tiny, monkeypatch):
    """The jump across each joint is what the offline wave has at the same place."""
    codes = some_codes(200, seed=1)
    packets, speech = stream(tiny, codes)
    wave, expected = np.concatenate(packets), offline(tiny, speech, codes, monkeypatch)
    joints = np.cumsum([len(packet) for packet in packets])[:-1]
    assert len(joints) > 4
    jump = np.abs((wave[joints] - wave[joints - 1]) - (expected[joints] - expected[joints - 1]))
    assert jump.max() < 0.02 * expected.std(), jump


def test_the_wave_does_not_depend_on_how_the_codes_were_cut(tiny):
    """Noise belongs to blocks and not to windows, so other windows change the wave no more than look-ahead does."""
    codes = some_codes(100)
    one, other = (np.concatenate(stream(tiny, codes, Windows(chunks=chunks))[0]) for chunks in ((1,), (4,)))
    assert np.sqrt(np.mean((one - other) ** 2)) / one.std() < 2e-3


def test_first_packet_needs_24_codes_and_packets_follow_the_ramp(tiny):
    token2wav = tiny.engine.stages.token2wav
    speech = token2wav.stream(tiny.engine.stages.voices["Ethan"], 0, NUM_POINTS)
    got = {}
    with torch.inference_mode():
        for index, code in enumerate(some_codes(12 * 10)):
            for unit in speech.push(code):
                if unit is not None:
                    got[index + 1] = len(unit)
    assert list(got)[:4] == [24, 36, 60, 96]
    assert list(got.values())[:4] == [5760, 5760, 2 * 5760, 3 * 5760]


def test_codes_out_of_range_are_silence_and_no_error(tiny):
    codes = some_codes(30)
    strange, speech = stream(tiny, codes[:10] + [9000, 100_000, 8292] + codes[13:])
    rows = tiny.engine.stages.token2wav.dit.text_embed.codec_embed.num_embeddings
    plain, _ = stream(tiny, codes[:10] + [0, 0, 8292 if rows > 8292 else 0] + codes[13:])
    assert np.array_equal(np.concatenate(strange), np.concatenate(plain))
    assert np.isfinite(np.concatenate(strange)).all()


def test_the_voice_and_the_seed_change_the_sound(tiny):
    codes = some_codes(40)
    waves = [
        np.concatenate(stream(tiny, codes, seed=seed, voice=voice)[0])
        for seed, voice in ((3, "Chelsie"), (3, "Ethan"), (4, "Chelsie"))
    ]
    again = np.concatenate(stream(tiny, codes)[0])
    assert np.array_equal(again, waves[0])
    assert all(np.abs(waves[0] - other).max() > 1e-3 for other in waves[1:])


def test_a_fast_machine_makes_large_windows_behind_the_first_and_the_same_wave(tiny, monkeypatch):
    pace = Pace()
    for length in (2, 11):
        pace.note_window(length, 0.01)
    pace.settle()
    token2wav, codes = tiny.engine.stages.token2wav, some_codes(12 * 20)
    ramp = Ramp(Blocks(), pace, clock=lambda: 0.0)
    speech = token2wav.stream(tiny.engine.stages.voices["Chelsie"], 3, NUM_POINTS, ramp=ramp)
    with torch.inference_mode():
        units = [unit for code in codes for unit in alone(speech.push(code))] + list(alone(speech.finish()))
    packets = [unit.numpy() for unit in units if unit is not None]
    assert [len(packet) / 5760 for packet in packets] == [1, 8, 8, 3] and speech.hold_s == 0.0
    wave, expected = np.concatenate(packets), offline(tiny, speech, codes, monkeypatch)
    assert np.sqrt(np.mean((wave - expected) ** 2)) / expected.std() < 2e-3


def test_no_code_is_no_sound(tiny):
    packets, _ = stream(tiny, [])
    assert packets == []
