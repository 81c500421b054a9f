"""Streamed speech of Qwen3's vocoder is the library's one pass, sample by sample, however the frames were cut."""

import itertools

import numpy as np
import pytest
import torch
from transformers.models.qwen3_omni_moe.configuration_qwen3_omni_moe import Qwen3OmniMoeCode2WavConfig
from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import Qwen3OmniMoeCode2Wav

from app.engine import code2wav as code2wav_module
from app.engine.code2wav import CHUNKS, Code2Wav, WaveStream
from app.engine.graphs import Recordings
from app.engine.ramp import DELIVERY_S, MARGIN, MAX_HOLD_S, SIZES, Ramp
from app.engine.stepping import alone, run_together
from app.types.turn import TurnSettings
from tests.test_token2wav import LatePacket, all_together

RATE = 24_000
FRAME, LOST = 1920, 555  # samples, as published
TINY = {
    "codebook_size": 64,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_quantizers": 4,
    "decoder_dim": 32,
    "layer_scale_initial_scale": 0.5,
}
DTYPES = {"float64": (torch.float64, 1e-9), "float32": (torch.float32, 1e-5)}


def tiny_model(dtype=torch.float32, **options) -> Qwen3OmniMoeCode2Wav:
    """Published rates and windows, few channels; random weights by which every part is heard as far as it reaches."""
    model = Qwen3OmniMoeCode2Wav(Qwen3OmniMoeCode2WavConfig(**TINY | options)).eval()
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if name.endswith("gamma"):
            weight.data.fill_(0.5)
        elif name.endswith(("alpha", "beta", "bias")):
            weight.data.normal_(0, 0.3, generator=generator)
        elif name == "code_embedding.weight":
            weight.data.normal_(generator=generator)
        elif weight.dim() > 1:
            weight.data.normal_(0, (0.5 / weight[0].numel()) ** 0.5, generator=generator)
    last = model.decoder[-1].conv
    last.weight.data *= 0.25
    last.bias.data.zero_()
    return model.to(dtype)


@pytest.fixture(scope="module", params=DTYPES.values(), ids=DTYPES)
def sounder(request):
    """A model, and how far two ways to the same sound may be apart."""
    dtype, tolerance = request.param
    return tiny_model(dtype), tolerance


@pytest.fixture(scope="module")
def model():
    return tiny_model(torch.float64)


def some_frames(count, seed=0, config=TINY):
    shape = (count, config["num_quantizers"])
    return np.random.default_rng(seed).integers(0, config["codebook_size"], shape).tolist()


@torch.inference_mode()
def offline(model, frames) -> torch.Tensor:
    """The library's own pass over all frames at once."""
    return model(torch.tensor(frames).T[None])[0, 0]


def opened(code2wav, chunks=CHUNKS) -> WaveStream:
    return WaveStream(code2wav, Ramp(code2wav.blocks(RATE, chunks)))


def begun(code2wav, frames, chunks=CHUNKS):
    """All units of an utterance whose frames are there."""
    speech = opened(code2wav, chunks)
    for frame in frames:
        yield from speech.push(frame)
    yield from speech.finish()


@torch.inference_mode()
def packets(code2wav, frames, chunks=CHUNKS) -> list[torch.Tensor]:
    return [unit for unit in alone(begun(code2wav, frames, chunks)) if unit is not None]


# -- the same wave -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 9, 75, 160])
@pytest.mark.parametrize("chunks", [(1,), CHUNKS, (7, 3), (1000,)], ids=["by frame", "by ramp", "uneven", "at once"])
def test_the_streamed_wave_is_the_librarys_one_pass(sounder, count, chunks):
    model, tolerance = sounder
    frames = some_frames(count)
    expected = offline(model, frames)
    wave = torch.cat(packets(Code2Wav(model), frames, chunks))
    assert wave.shape == expected.shape == (count * FRAME - LOST,)
    assert expected.std() > 0.05 and expected.abs().max() <= 1.0
    assert (wave - expected).abs().max() < tolerance


OTHER = {
    "other rates": {"upsample_rates": (3, 2), "upsampling_ratios": (4,)},
    "one rate": {"upsample_rates": (5,), "upsampling_ratios": (2, 3)},
    "shared keys": {"num_attention_heads": 4, "num_key_value_heads": 2},
    "a window of one frame": {"sliding_window": 1},
    "a window of three": {"sliding_window": 3},
}


@pytest.mark.parametrize("options", OTHER.values(), ids=OTHER)
def test_what_is_lost_and_what_is_kept_follow_the_model(options):
    model, frames = tiny_model(torch.float64, **options), some_frames(40)
    code2wav, expected = Code2Wav(model), offline(model, frames)
    wave = torch.cat(packets(code2wav, frames))
    assert len(expected) == 40 * code2wav.samples_per_frame - code2wav.num_lost
    assert wave.shape == expected.shape and (wave - expected).abs().max() < 1e-9


def test_chunked_decode_is_the_same_but_for_what_it_loses_at_each_joint():
    """Where layers hear so little that its 25 frames of left context are all they hear. Behind a joint it counts places
    anew, whose cosines are float32 in any case."""
    model, frames = tiny_model(torch.float64, sliding_window=5), some_frames(650)
    with torch.inference_mode():
        chunked = model.chunked_decode(torch.tensor(frames).T[None])[0, 0]
    wave = torch.cat(packets(Code2Wav(model), frames, (1, 8)))
    ends = [300, 600, 650]
    kept = [wave[start * FRAME : end * FRAME - LOST] for start, end in zip([0, *ends], ends)]
    assert len(wave) - len(chunked) == 2 * LOST
    assert (kept[0] - chunked[: len(kept[0])]).abs().max() < 1e-9
    assert (torch.cat(kept) - chunked).abs().max() < 1e-5


def test_each_packet_is_on_the_cpu_and_counted(model):
    code2wav, frames = Code2Wav(tiny_model()), some_frames(30)
    speech, num_samples = opened(code2wav), 0
    with torch.inference_mode():
        for frame in frames:
            for packet in alone(speech.push(frame)):
                num_samples += len(packet)
                assert packet.dtype == torch.float32 and packet.device.type == "cpu" and packet.abs().max() <= 1
                assert speech.num_samples == num_samples and speech.device_s == 0.0
        num_samples += sum(map(len, alone(speech.finish())))
    assert speech.num_samples == num_samples == 30 * FRAME - LOST


def test_the_first_packet_needs_two_frames_and_packets_follow_the_ramp(model):
    speech, got = opened(Code2Wav(model)), {}
    with torch.inference_mode():
        for number, frame in enumerate(some_frames(30), 1):
            for packet in alone(speech.push(frame)):
                got[number] = len(packet)
    assert got == {2: 2 * FRAME - LOST, 4: 2 * FRAME, 7: 3 * FRAME, 12: 5 * FRAME, 20: 8 * FRAME, 28: 8 * FRAME}


def test_no_frame_is_no_sound_and_the_end_comes_once(model):
    code2wav = Code2Wav(model)
    assert packets(code2wav, []) == []
    speech = opened(code2wav)
    with torch.inference_mode():
        made = [len(packet) for frame in some_frames(3) for packet in alone(speech.push(frame))]
        assert made == [2 * FRAME - LOST]
        assert [len(packet) for packet in alone(speech.finish())] == [FRAME]
        assert list(alone(speech.finish())) == []


def test_codes_out_of_range_are_code_0_and_no_error(model):
    frames = some_frames(12)
    strange, plain = [list(frame) for frame in frames], [list(frame) for frame in frames]
    for number, place, code in ((3, 0, 64), (3, 3, 10_000), (7, 1, -1), (11, 2, 2150)):
        strange[number][place], plain[number][place] = code, 0
    code2wav = Code2Wav(model)
    wave, expected = (torch.cat(packets(code2wav, each)) for each in (strange, plain))
    assert torch.equal(wave, expected)
    assert (wave - torch.cat(packets(code2wav, frames))).abs().max() > 1e-3


def test_a_frame_has_one_code_of_each_quantizer(model):
    with pytest.raises(AssertionError, match="3, 4"):
        list(alone(opened(Code2Wav(model)).push([1, 2, 3])))


# -- several utterances at once ----------------------------------------------------------------------------------------

UTTERANCES = ((60, 1, CHUNKS), (60, 2, CHUNKS), (43, 3, CHUNKS), (60, 4, (2, 3)), (60, 5, (1, 8)), (51, 6, CHUNKS))


def utterances(code2wav):
    return [begun(code2wav, some_frames(count, seed), chunks) for count, seed, chunks in UTTERANCES]


def assert_each_sounds_as_alone(model, found, tolerance=1e-9):
    for (count, seed, _), mine in zip(UTTERANCES, found):
        expected = offline(model, some_frames(count, seed))
        assert mine.shape == expected.shape
        assert (torch.from_numpy(mine).to(expected) - expected).abs().max() < tolerance


def test_utterances_stepped_in_turn_sound_as_each_alone(model):
    with torch.inference_mode():
        found, sizes = all_together(utterances(Code2Wav(model)))
    assert set(sizes) == {1}  # where windows gain nothing from others
    assert_each_sounds_as_alone(model, found)


@pytest.mark.parametrize("records", [False, True], ids=["as it is", "on fixed tensors"])
def test_windows_of_several_people_made_as_one_sound_as_each_alone(model, records):
    with torch.inference_mode():
        found, sizes = all_together(utterances(Code2Wav(model, records, batches=True)))
    assert max(sizes) >= 4 and 2 in sizes, sizes
    assert_each_sounds_as_alone(model, found)


@torch.inference_mode()
def test_a_first_window_and_a_later_one_are_not_made_as_one(model):
    code2wav, frames = Code2Wav(model, batches=True), some_frames(4)
    first, other = code2wav.waving(frames[:2], None), code2wav.waving(frames[:2], None)
    run_together([first])
    run_together([other, later := code2wav.waving(frames[2:], first.past)])
    wave = offline(model, frames)
    assert (torch.cat([other.wave, later.wave]) - wave).abs().max() < 1e-9


@torch.inference_mode()
def test_a_window_that_fails_can_be_done_again_and_spoils_no_other(model, monkeypatch):
    code2wav, frames = Code2Wav(model, batches=True), [some_frames(5, seed) for seed in range(2)]
    expected = [offline(model, each) for each in frames]
    steps = [code2wav.waving(each[:2], None) for each in frames]
    run_together(steps)
    steps = [code2wav.waving(each[2:], step.past) for each, step in zip(frames, steps)]
    pasts, forward, calls = [step.past for step in steps], code2wav.forward, []

    def broken(codes, past):
        calls.append(len(codes))
        found = forward(codes, past)
        if len(calls) in (1, 3):
            raise torch.OutOfMemoryError("no memory")
        return found

    monkeypatch.setattr(code2wav, "forward", broken)
    run_together(steps)
    assert calls == [2, 1, 1] and steps[0].error is None and isinstance(steps[1].error, torch.OutOfMemoryError)
    assert steps[1].wave is None and steps[1].past is pasts[1]
    run_together(steps[1:])
    for step, wanted in zip(steps, expected):
        assert (step.wave - wanted[2 * FRAME - LOST :]).abs().max() < 1e-9


# -- work on fixed tensors ---------------------------------------------------------------------------------------------


def test_speech_on_fixed_tensors_is_the_same_speech_and_only_common_windows_get_them(model):
    plain, fixed = Code2Wav(model), Code2Wav(model, records=True)
    for count, seed in ((43, 1), (26, 2), (2, 3)):
        one, other = (torch.cat(packets(code2wav, some_frames(count, seed))) for code2wav in (plain, fixed))
        assert torch.equal(one, other)
    assert set(fixed._recordings._passes) == {(1, 2, True), *((1, size, False) for size in SIZES if size > 1)}


def test_no_window_that_a_ramp_asks_for_is_recorded_while_a_reply_is_spoken(model, monkeypatch):
    recorded = Code2Wav(model, records=True)
    with torch.inference_mode():
        for work in recorded.recordings(voice=None, guidance=0.5):
            work()
    shapes = set(recorded._recordings._passes)
    assert len(shapes) <= Recordings(torch.device("cpu"))._most
    asked = []
    monkeypatch.setattr(recorded, "run", lambda steps: (asked.append(steps[0].recurs), Code2Wav.run(recorded, steps)))
    for chunks in (CHUNKS, *((CHUNKS[0], size) for size in SIZES)):
        packets(recorded, some_frames(2 + 3 * chunks[-1]), chunks)
    assert asked.count(True) > 20
    assert set(recorded._recordings._passes) == shapes and not recorded._recordings.is_broken


# -- the ramp ----------------------------------------------------------------------------------------------------------


class Machine:
    """A clock: a window of n frames takes `window_s + n * frame_s`, a frame of the Talker `talker_s`. The sound is as
    long as it would be, and silence."""

    def __init__(self, model, monkeypatch, window_s: float, frame_s: float, talker_s: float) -> None:
        self.now, self.slowness, self.lengths = 0.0, 1.0, []
        self.talker_s = talker_s
        self.code2wav = Code2Wav(model)

        def run(steps):
            (step,) = steps
            num_frames = step.codes.shape[1]
            self.lengths.append(num_frames)
            self.now += self.slowness * (window_s + num_frames * frame_s)
            step.wave = torch.zeros(num_frames * FRAME - (LOST if step.past is None else 0))
            step.past = ()

        monkeypatch.setattr(self.code2wav, "run", run)

    def speak(self, count: int, seed: int | None = None, slowness: float = 1.0):
        """When each packet came, and its samples; then the stream. `slowness`: from the first packet on all takes so
        many times as long."""
        speech = self.code2wav.speech(None, 0, TurnSettings(seed=seed), RATE, lambda: self.now)
        came, self.lengths, self.slowness = [], [], 1.0
        for number, frame in enumerate(some_frames(count)):
            self.now += self.slowness * self.talker_s
            if number == count // 3:
                speech.text_ended()
            came += [(self.now, len(packet)) for packet in alone(speech.push(frame))]
            self.slowness = slowness if came else 1.0
        came += [(self.now, len(packet)) for packet in alone(speech.finish())]
        return came, speech

    def warmed_up(self) -> "Machine":
        self.speak(60)
        self.speak(60)
        self.code2wav.paces.settle()
        return self


def played(came, hold_s: float, delivery_s: float = DELIVERY_S) -> tuple[float, float]:
    """When all is played, and the silence between the first sample and the last, if all packets but the first take so
    long to the player."""
    (first, num_samples), *later = came
    dry_at, gap_s = first + hold_s + num_samples / RATE, 0.0
    for at, num_samples in later:
        gap_s += max(0.0, at + delivery_s - dry_at)
        dry_at = max(dry_at, at + delivery_s) + num_samples / RATE
    return dry_at, gap_s


def machines(model, monkeypatch):
    for times in itertools.product((0.001, 0.01, 0.03, 0.06, 0.1), (0.0005, 0.01, 0.03), (0.005, 0.02, 0.03, 0.04)):
        yield Machine(model, monkeypatch, *times).warmed_up(), times


def test_a_reply_plays_without_a_gap_when_the_hold_is_obeyed(model, monkeypatch):
    held = []
    for machine, times in machines(model, monkeypatch):
        came, speech = machine.speak(110)
        held.append(speech.hold_s)
        assert played(came, speech.hold_s)[1] == 0.0 or speech.hold_s == MAX_HOLD_S, (times, speech.hold_s)
    # There are machines on both sides.
    assert sum(0 < hold_s < MAX_HOLD_S for hold_s in held) > 10 and held.count(0.0) > 10, held


def test_a_hold_knows_that_the_first_packet_is_shorter_than_its_frames(model, monkeypatch):
    """On machines that turn out as slow as prudence has it there is no gap with it, and one without that much."""
    gaps_s = []
    for machine, times in machines(model, monkeypatch):
        came, speech = machine.speak(110, seed=7, slowness=MARGIN)
        if 0 < speech.hold_s < MAX_HOLD_S:
            assert played(came, speech.hold_s)[1] < 1e-6, (times, speech.hold_s)
            gaps_s.append(played(came, speech.hold_s - LOST / RATE)[1])
    assert sum(gap_s > 0.001 for gap_s in gaps_s) > 0.7 * len(gaps_s) > 10, gaps_s


def test_the_ramp_knows_when_the_player_runs_dry(model, monkeypatch):
    for machine, times in machines(model, monkeypatch):
        came, speech = machine.speak(50)
        assert speech._ramp._dry_at == pytest.approx(played(came, speech.hold_s, 0.0)[0]), times


def test_a_fast_machine_makes_large_windows_behind_the_first_unless_a_seed_is_named(model, monkeypatch):
    machine = Machine(model, monkeypatch, window_s=0.002, frame_s=0.0005, talker_s=0.02).warmed_up()
    machine.speak(60)
    steered = machine.lengths
    machine.speak(60, seed=3)
    assert machine.lengths[:6] == [*CHUNKS, CHUNKS[-1]]
    assert steered[0] == CHUNKS[0] and set(steered[3:-1]) == {SIZES[-1]}, steered


def test_every_frame_and_window_is_told_to_the_ramp(model, monkeypatch):
    machine = Machine(model, monkeypatch, window_s=0.1, frame_s=0.01, talker_s=0.02)
    machine.speak(60)
    pace = machine.code2wav.paces.of(1)
    assert pace.code_s == pytest.approx(0.02, rel=0.1)
    for length in set(machine.lengths):
        assert pace.window_s(length) == pytest.approx(0.1 + length * 0.01)


# -- packets that come late --------------------------------------------------------------------------------------------


def test_frames_go_on_while_a_packet_is_under_way_until_there_are_as_many(model, monkeypatch):
    monkeypatch.setattr(LatePacket, "num_looks", 6)
    monkeypatch.setattr(code2wav_module, "Packet", LatePacket)
    speech, got, waited = opened(Code2Wav(model), chunks=(8,)), {}, 0
    with torch.inference_mode():
        for number, frame in enumerate(some_frames(16), 1):
            for unit in alone(speech.push(frame)):
                waited += unit is None
                if unit is not None:
                    got[number] = len(unit)
    assert list(got) == [14] and not waited, (got, waited)


@pytest.mark.parametrize("num_looks", [1, 3, 100])
def test_late_packets_come_in_order_and_none_is_lost(model, num_looks, monkeypatch):
    frames = some_frames(50)
    expected = packets(Code2Wav(model), frames)
    monkeypatch.setattr(LatePacket, "num_looks", num_looks)
    monkeypatch.setattr(code2wav_module, "Packet", LatePacket)
    found = packets(Code2Wav(model), frames)
    assert [len(packet) for packet in found] == [len(packet) for packet in expected]
    assert all(torch.equal(*pair) for pair in zip(found, expected))


# -- on a GPU ----------------------------------------------------------------------------------------------------------


on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, this machine has none")


@on_cuda
@pytest.mark.parametrize("records", [False, True], ids=["eager", "recorded"])
def test_sound_of_a_gpu_is_that_of_the_cpu_together_or_alone(records, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    here, there = tiny_model(), tiny_model().cuda()
    code2wav = Code2Wav(there, records)
    with torch.inference_mode():
        found, sizes = all_together(utterances(code2wav))
        for (count, seed, chunks), together in zip(UTTERANCES, found):
            mine = torch.cat(packets(code2wav, some_frames(count, seed), chunks)).numpy()
            assert np.abs(mine - together).max() < 1e-4
    assert max(sizes) >= 4 and not (records and code2wav._recordings.is_broken)
    assert_each_sounds_as_alone(here, found, 1e-4)


@on_cuda
def test_nobody_waits_for_the_gpu_while_speech_is_made():
    """CUDA tells of every call that waits for what was begun. The first utterance makes what is kept."""
    code2wav, frames = Code2Wav(tiny_model().cuda(), records=True), some_frames(40)
    wanted = torch.cat(packets(code2wav, frames))
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = torch.cat(packets(code2wav, frames))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (found - wanted).abs().max() < 1e-5
