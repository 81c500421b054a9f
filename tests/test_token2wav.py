"""Streamed speech is the offline speech: same noise, same samples but for the look-ahead, no step at any joint."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni

from app.engine import token2wav as token2wav_module
from app.engine.aside import Packet
from app.engine.bigvgan import BigVGAN
from app.engine.graphs import Recordings
from app.engine.loader import _record
from app.engine.ramp import SIZES, Blocks, Pace, Ramp
from app.engine.stepping import Step, alone, run_together
from app.engine.token2wav import SpeechStream, Token2Wav, Windows
from app.types.events import AudioChunk, CodecDelta, StageTimed, TurnFinished, TurnInterrupted
from app.types.turn import TextPart
from tests.engine_kit import run, wave
from tests.test_engine_session import SETTINGS

NUM_POINTS = 4


def stream(tiny, codes, windows=None, seed=3, voice="Chelsie", ode_points=NUM_POINTS):
    """Packets of one utterance, and the stream that made them."""
    token2wav = tiny.engine.stages.token2wav
    speech = token2wav.stream(
        tiny.engine.stages.voices[voice], seed, ode_points, guidance=0.5, windows=windows or Windows()
    )
    with torch.inference_mode():
        units = [unit for code in codes for unit in alone(speech.push((code,)))] + list(alone(speech.finish()))
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
            for unit in alone(speech.push((code,))):
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
        units = [unit for code in codes for unit in alone(speech.push((code,)))] + list(alone(speech.finish()))
    packets = [unit.numpy() for unit in units if unit is not None]
    assert [len(packet) / 5760 for packet in packets] == [1, 8, 8, 3] and speech.hold_s == 0.0
    wave, expected = np.concatenate(packets), offline(tiny, speech, codes, monkeypatch)
    assert np.sqrt(np.mean((wave - expected) ** 2)) / expected.std() < 2e-3


def test_no_code_is_no_sound(tiny):
    packets, _ = stream(tiny, [])
    assert packets == []


# -- several utterances at once ----------------------------------------------------------------------------------------

UTTERANCES = (  # codes, voice, seed, guidance
    (101, "Chelsie", 3, 0.5),
    (101, "Ethan", 4, 0.5),
    (90, "Chelsie", 5, 1.5),
    (101, "Ethan", 6, 0.0),
    (64, "Ethan", 7, 0.5),
    (101, "Chelsie", 8, 0.0),
)


def begun(tiny, token2wav, count, voice, seed, guidance):
    """All units of an utterance whose codes are there."""
    speech = token2wav.stream(tiny.engine.stages.voices[voice], seed, NUM_POINTS, guidance)
    for code in some_codes(count, seed):
        yield from speech.push((code,))
    yield from speech.finish()


def all_together(utterances):
    """Waves of utterances stepped as the worker does it, and how many steps each time might be done as one."""
    packets, live, sizes = [[] for _ in utterances], dict(enumerate(utterances)), []
    while live:
        asked = []
        for index, units in list(live.items()):
            while isinstance(unit := next(units, "the end"), torch.Tensor):
                packets[index].append(unit.numpy())
            if unit == "the end":
                del live[index]
            elif unit is not None:
                asked.append(unit)
        groups = {}
        for step in asked:
            groups.setdefault((type(step), step.runner.key(step)), []).append(step)
        sizes += [len(group) for group in groups.values()]
        run_together(asked)
    return [np.concatenate(found) for found in packets], sizes


@pytest.mark.parametrize("records", [False, True], ids=["as it is", "on fixed tensors"])
def test_windows_of_several_people_evaluated_as_one_sound_as_each_alone(tiny, records):
    plain, joint = (Token2Wav(tiny.model.token2wav, is_both and records, batches=is_both) for is_both in (False, True))
    with torch.inference_mode():
        expected = [
            np.concatenate([unit.numpy() for unit in alone(begun(tiny, plain, *utterance))]) for utterance in UTTERANCES
        ]
        found, sizes = all_together([begun(tiny, joint, *utterance) for utterance in UTTERANCES])
    assert max(sizes) >= 4 and 2 in sizes, sizes
    for mine, wanted in zip(found, expected):
        assert mine.shape == wanted.shape
        assert np.abs(mine - wanted).max() < 1e-4


def test_where_windows_gain_nothing_from_others_each_is_evaluated_alone(tiny):
    token2wav = tiny.engine.stages.token2wav
    with torch.inference_mode():
        _, sizes = all_together([begun(tiny, token2wav, *utterance) for utterance in UTTERANCES[:2]])
    assert set(sizes) == {1}


def test_a_window_whose_step_fails_can_be_done_again_and_spoils_no_other(tiny, monkeypatch):
    token2wav = Token2Wav(tiny.model.token2wav, batches=True)
    evaluate, calls = token2wav.flow._evaluate, []

    def broken(fixed, *args):
        calls.append(fixed.shape[1])
        if len(calls) % 5 == 4:  # in the middle of a step
            raise torch.OutOfMemoryError("no memory")
        return evaluate(fixed, *args)

    with torch.inference_mode():
        voice, noise = tiny.engine.stages.voices["Ethan"], torch.randn(2, 1, 48, token2wav.dit.mel_dim)
        expected = [token2wav.solving(voice, some_codes(24), noise[index], NUM_POINTS, 0.5) for index in range(2)]
        for step in expected:
            run_together([step])
        steps = [token2wav.solving(voice, some_codes(24), noise[index], NUM_POINTS, 0.5) for index in range(2)]
        monkeypatch.setattr(token2wav.flow, "_evaluate", broken)
        run_together(steps)
    assert calls[:4] == [2] * 4 and steps[0].error is None and isinstance(steps[1].error, torch.OutOfMemoryError)
    assert steps[1].num_done == 0 and torch.equal(steps[1].mel, noise[1])
    assert (steps[0].mel - expected[0].mel).abs().max() < 1e-5


# -- work on fixed tensors ---------------------------------------------------------------------------------------------


def test_speech_on_fixed_tensors_is_the_same_speech_and_only_common_lengths_get_them(tiny):
    plain, fixed = (Token2Wav(tiny.model.token2wav, records) for records in (False, True))
    for utterance in ((101, "Chelsie", 3, 0.5), (77, "Ethan", 4, 0.5), (30, "Ethan", 4, 0.0)):
        with torch.inference_mode():
            one, other = (list(alone(begun(tiny, token2wav, *utterance))) for token2wav in (plain, fixed))
        assert np.array_equal(torch.cat(one).numpy(), torch.cat(other).numpy())
    block = fixed.dit.block_size
    shapes = fixed.flow._recordings._passes
    assert shapes and all(num_frames % block == 0 for _, _, num_frames in shapes), list(shapes)
    assert fixed.bigvgan._recordings._passes


@torch.inference_mode()
def test_no_window_that_a_ramp_asks_for_is_recorded_while_a_reply_is_spoken(tiny, monkeypatch):
    """All were before: those of the published chunks, and whichever a machine's pace chooses."""
    plain, recorded = tiny.engine.stages, Token2Wav(tiny.model.token2wav, records=True)
    told = []
    monkeypatch.setattr(tiny.engine, "stages", replace(plain, token2wav=recorded))
    for stage in (plain.thinker, plain.talker):
        monkeypatch.setattr(stage.runner, "prepare", lambda width: None, raising=False)
    _record(tiny.engine, lambda stage, share: told.append(share))
    assert told[0] == 0.0 and told == sorted(told) and 0.9 < told[-1] < 1.0
    kept = [recorded.flow._recordings, recorded.bigvgan._recordings]
    shapes = [set(recordings._passes) for recordings in kept]
    assert not any(recordings.is_broken for recordings in kept)
    asked = []
    for make in (recorded.flow.run, recorded.bigvgan.run):
        runner = make.__self__
        monkeypatch.setattr(runner, "run", lambda steps, make=make: (asked.append(steps[0].recurs), make(steps)))
    for chunks in (Windows().chunks, *((1, size) for size in SIZES)):
        speech = recorded.stream(plain.voices["Chelsie"], 3, 2, windows=Windows(chunks=chunks))
        for code in some_codes(12 * (2 + 3 * chunks[-1])):
            list(alone(speech.push((code,))))
        list(alone(speech.finish()))
    assert asked.count(True) > 20
    assert [set(recordings._passes) for recordings in kept] == shapes, shapes


class _Counted:
    def __init__(self, made, name, error=None):
        self.name, self.error = name, error
        made.append(name)

    def run(self):
        if self.error is not None:
            raise self.error


def test_the_shape_that_was_not_used_for_longest_goes_first():
    made, kept = [], Recordings(torch.device("cpu"), most=2)
    for name in "abacab":
        assert kept.of(name, lambda: _Counted(made, name)).name == name  # noqa: B023
    assert made == ["a", "b", "c", "b"]


def test_what_cannot_be_recorded_is_done_without_for_now_or_for_good(caplog):
    made, kept = [], Recordings(torch.device("cpu"))
    assert kept.of(1, lambda: _Counted(made, 1, torch.OutOfMemoryError("no memory"))) is None
    assert kept.of(1, lambda: _Counted(made, 1)).name == 1
    assert kept.of(2, lambda: _Counted(made, 2, RuntimeError("operation not permitted"))) is None
    assert kept.of(3, lambda: _Counted(made, 3)) is None and made == [1, 1, 2] and "RuntimeError" in caplog.text


@pytest.mark.parametrize("num_frames", [1, 7, 44, 64])
def test_bigvgan_of_our_own_makes_the_librarys_wave(tiny, num_frames):
    model = tiny.model.token2wav.code2wav_bigvgan_model
    mel = torch.randn(2, num_frames, model.config.mel_dim, generator=torch.Generator().manual_seed(0)) * 3 - 4
    bigvgan = BigVGAN(model, tiny.engine.stages.token2wav.aside)
    with torch.inference_mode():
        expected = torch.stack([model(one.T[None]).reshape(-1) for one in mel])
        found = torch.cat([bigvgan.forward(one[None]) for one in mel])
        both = bigvgan.forward(mel)  # by other kernels
    assert found.shape == both.shape == expected.shape and expected.abs().max() > 1e-3
    assert (found - expected).abs().max() < 1e-6 and (both - expected).abs().max() < 1e-5


# -- packets that come late --------------------------------------------------------------------------------------------


class LatePacket(Packet):
    """There only when it has been asked for so many times."""

    num_looks = 5

    def __init__(self, *args):
        super().__init__(*args)
        self._looks_left = self.num_looks

    @property
    def is_ready(self):
        self._looks_left -= 1
        return self._looks_left < 0

    def samples(self):
        assert self._looks_left < 0, "taken before it was there"
        return super().samples()


@pytest.mark.parametrize("num_looks", [1, 5, 100])
def test_late_packets_come_in_order_before_the_end_and_none_is_lost(tiny, num_looks, monkeypatch):
    words = (TextPart("tell me more of it than that, please"),)
    expected = run(tiny.engine, tiny.engine.new_state(), words, SETTINGS)
    monkeypatch.setattr(LatePacket, "num_looks", num_looks)
    monkeypatch.setattr(token2wav_module, "Packet", LatePacket)
    found = run(tiny.engine, tiny.engine.new_state(), words, SETTINGS)
    assert isinstance(found[-1], TurnFinished) and np.array_equal(wave(found), wave(expected))
    starts, sizes = zip(*[(event.start_sample, len(event.samples)) for event in found if isinstance(event, AudioChunk)])
    assert list(starts) == np.cumsum([0, *sizes[:-1]]).tolist()
    assert found[-1].metrics.audio_s == expected[-1].metrics.audio_s


def test_nobody_waits_for_a_packet_while_there_is_something_to_say(tiny, monkeypatch):
    """Codes go on while the first is under way; only the decision on the next window waits for it."""
    monkeypatch.setattr(LatePacket, "num_looks", 6)
    monkeypatch.setattr(token2wav_module, "Packet", LatePacket)
    token2wav = tiny.engine.stages.token2wav
    speech, got, waited = token2wav.stream(tiny.engine.stages.voices["Ethan"], 0, NUM_POINTS), {}, 0
    with torch.inference_mode():
        for index, code in enumerate(some_codes(36)):
            for unit in alone(speech.push((code,))):
                waited += unit is None
                if unit is not None:
                    got[index + 1] = len(unit)
    assert list(got) == [30] and not waited, (got, waited)


def test_a_turn_that_is_stopped_while_a_packet_is_under_way_ends_and_the_next_one_speaks(tiny, monkeypatch):
    from tests.test_stepping import started

    state_words = (TextPart("hello"),)
    expected = run(tiny.engine, tiny.engine.new_state(), state_words, SETTINGS)
    monkeypatch.setattr(LatePacket, "num_looks", 10**9)
    monkeypatch.setattr(token2wav_module, "Packet", LatePacket)
    with torch.inference_mode():
        turn, _ = started(tiny, state_words, SETTINGS)
        steps, waits = turn.steps(), 0
        for item in steps:
            assert not isinstance(item, AudioChunk)
            if isinstance(item, Step):
                run_together([item])
            waits += item is None
            if waits > 20:
                break
        steps.close()
        ends = list(turn.interrupted())
    assert isinstance(ends[-1], TurnInterrupted)
    monkeypatch.undo()
    again = run(tiny.engine, tiny.engine.new_state(), state_words, SETTINGS)
    assert np.array_equal(wave(again), wave(expected))


def test_what_a_device_did_while_nobody_waited_counts_for_its_stage(tiny, monkeypatch):
    monkeypatch.setattr(LatePacket, "device_s", 1000.0)
    monkeypatch.setattr(token2wav_module, "Packet", LatePacket)
    events = run(tiny.engine, tiny.engine.new_state(), (TextPart("hello"),), SETTINGS)
    (took,) = [event.duration_s for event in events if isinstance(event, StageTimed) and event.stage == "token2wav"]
    chunks = [event for event in events if isinstance(event, AudioChunk)]
    assert 1000 * len(chunks) <= took < 1000 * len(chunks) + 100 and any(isinstance(e, CodecDelta) for e in events)
