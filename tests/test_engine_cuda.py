"""The laws of parity on a GPU: the same code, in float32 and in bfloat16."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import Qwen2_5OmniForConditionalGeneration, Qwen2_5OmniProcessor

from app.chatml.render import render_turn
from app.engine.aside import Aside
from app.engine.flow import Flow
from app.engine.loader import EngineOptions, load_engine
from app.engine.stepping import Step, alone, run_together
from app.engine.token2wav import Token2Wav
from app.types.events import Prefilled
from tests import library
from tests.engine_kit import SYSTEM, Tiny, codes, new_turn, run, text_ids, wave
from tests.test_engine_parity import CASES, GREEDY, NUM_CODES, NUM_TEXT
from tests.test_stepping import together
from tests.test_token2wav import UTTERANCES, all_together, begun

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, this machine has none")


@pytest.fixture(
    scope="module",
    params=[(dtype, engine) for dtype in ("float32", "bfloat16") for engine in ("eager", "graphs")],
    ids="-".join,
)
def on_gpu(request, tiny_checkpoint):
    dtype, engine = request.param
    options = EngineOptions(str(tiny_checkpoint), device="cuda", dtype=dtype, engine=engine)
    engine = load_engine(options, lambda *_: None)
    model = Qwen2_5OmniForConditionalGeneration.from_pretrained(
        tiny_checkpoint, dtype=getattr(torch, dtype), device_map={"": "cuda"}
    ).eval()
    yield Tiny(engine, model, Qwen2_5OmniProcessor.from_pretrained(tiny_checkpoint))
    engine.close()


@pytest.mark.parametrize("name", ["text", "image", "audio", "video with sound"])
def test_greedy_text_and_codes_equal_generate_on_a_gpu(on_gpu, name):
    parts = CASES[name]
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": library.content(parts)}]
    made = library.inputs(on_gpu.processor, messages, parts)
    made = {
        key: value.to("cuda", on_gpu.model.dtype if value.is_floating_point() and "second" not in key else None)
        for key, value in made.items()
    }
    text, expected, _ = library.generate(
        on_gpu.model, made, library.uses_sound_of_video(parts), speaker="Chelsie", thinker_max_new_tokens=NUM_TEXT,
        talker_max_new_tokens=NUM_CODES, thinker_do_sample=False, talker_do_sample=False, token2wav_num_steps=2,
    )  # fmt: skip
    events = run(on_gpu.engine, on_gpu.engine.new_state(), parts, GREEDY)
    if on_gpu.model.dtype == torch.float32:
        assert (text_ids(events), codes(events)) == (text, expected)
    else:  # rounding may tip a near tie; the first tokens do not depend on that
        assert text_ids(events)[:2] == text[:2] and codes(events)[:1] == expected[:1]


@pytest.mark.parametrize("name", ["text", "audio"])
def test_turns_stepped_together_on_a_gpu_say_what_each_says_alone(on_gpu, name):
    if on_gpu.model.dtype != torch.float32:
        pytest.skip("rounding may tip a near tie")
    words = [CASES[name], CASES["text"], CASES["image"], CASES[name]]
    expected = [run(on_gpu.engine, on_gpu.engine.new_state(), parts, GREEDY) for parts in words]
    with torch.inference_mode():
        turns = []
        for parts in words:
            state = on_gpu.engine.new_state()
            prompt = render_turn(on_gpu.engine.spec, on_gpu.engine.tokenizer, state, parts, SYSTEM)
            turns.append(new_turn(on_gpu.engine, state, prompt, GREEDY))
        found, _ = together(turns)
    for mine, wanted in zip(found, expected):
        assert (text_ids(mine), codes(mine)) == (text_ids(wanted), codes(wanted))
        assert abs(wave(mine) - wave(wanted)).max() < 1e-3


def test_sound_of_the_gpu_is_that_of_the_cpu(on_gpu, tiny):
    if on_gpu.model.dtype != torch.float32:
        pytest.skip("only float32 makes the same codes on both")
    settings = replace(GREEDY, talker=replace(GREEDY.talker, max_new_tokens=60))
    here, there = (run(one.engine, one.engine.new_state(), CASES["text"], settings) for one in (on_gpu, tiny))
    assert abs(wave(here) - wave(there)).max() < 1e-2


def test_a_prompt_counts_as_prefilled_when_the_gpu_has_done_it(on_gpu):
    engine, state = on_gpu.engine, on_gpu.engine.new_state()
    with torch.inference_mode():
        prompt = render_turn(engine.spec, engine.tokenizer, state, CASES["image"], SYSTEM)
        for event in new_turn(engine, state, prompt, GREEDY).alone():
            if isinstance(event, Prefilled):
                assert torch.cuda.current_stream().query(), "kernels still run"
                return
    raise AssertionError("no Prefilled")


@pytest.fixture
def exact(on_gpu, monkeypatch):
    """The vocoder's weights for products in full float32: else 10 bits are what other kernels differ by."""
    if on_gpu.model.dtype != torch.float32:
        pytest.skip("the vocoder is the same in both")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)

    def made(**options):
        token2wav = Token2Wav(on_gpu.model.token2wav, **options)
        token2wav.flow = Flow(token2wav.dit, token2wav.aside, precision="float32", **options)
        return token2wav

    return made


@pytest.mark.parametrize("records", [False, True], ids=["eager", "recorded"])
def test_windows_evaluated_as_one_on_a_gpu_sound_as_each_alone(on_gpu, exact, records):
    plain, joint = exact(batches=False), exact(batches=True, records=records)
    with torch.inference_mode():
        expected = [torch.cat(list(sounds(begun(on_gpu, plain, *one)))).numpy() for one in UTTERANCES]
        found, sizes = all_together([begun(on_gpu, joint, *one) for one in UTTERANCES])
    assert max(sizes) >= 4
    for mine, wanted in zip(found, expected):
        assert mine.shape == wanted.shape and np.abs(mine - wanted).max() < 1e-4


def test_recorded_speech_on_a_gpu_is_the_same_speech(on_gpu, exact):
    plain, recorded = exact(), exact(records=True)
    with torch.inference_mode():
        for one in UTTERANCES[:4]:
            wanted, mine = (torch.cat(list(sounds(begun(on_gpu, each, *one)))) for each in (plain, recorded))
            assert (mine - wanted).abs().max() < 1e-5
    assert not recorded.flow._recordings.is_broken and not recorded.bigvgan._recordings.is_broken


def test_products_in_10_bits_spoil_little_and_are_the_vocoders_own_affair(on_gpu, exact):
    full, narrow = exact(), Token2Wav(on_gpu.model.token2wav)
    with torch.inference_mode():
        wanted, mine = (torch.cat(list(sounds(begun(on_gpu, each, *UTTERANCES[0])))) for each in (full, narrow))
    assert ((mine - wanted).square().mean().sqrt() / wanted.std()) < 2e-2
    assert not torch.backends.cuda.matmul.allow_tf32


def test_nobody_waits_for_the_gpu_while_speech_is_made(on_gpu):
    """CUDA tells of every call that waits for what was begun. The first utterance makes what is kept."""
    token2wav = on_gpu.engine.stages.token2wav
    with torch.inference_mode():
        wanted = torch.cat(list(sounds(begun(on_gpu, token2wav, *UTTERANCES[0]))))
        torch.cuda.set_sync_debug_mode("error")
        try:
            found = torch.cat(list(sounds(begun(on_gpu, token2wav, *UTTERANCES[0]))))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert (found - wanted).abs().max() < 1e-5


def test_what_runs_aside_does_not_hold_up_the_rest_of_the_gpu(on_gpu):
    device = on_gpu.engine.stages.token2wav.device
    aside = Aside(device)
    square = torch.randn(4096, 4096, device=device)
    torch.cuda.synchronize()
    with aside():
        for _ in range(200):
            square @ square
        end = aside.now()
    torch.ones(1, device=device).item()
    assert not end.query(), "the default stream waited for the other"
    end.synchronize()


def test_a_turn_stopped_with_speech_under_way_leaves_the_next_one_as_it_would_be(on_gpu):
    engine, settings = on_gpu.engine, replace(GREEDY, talker=replace(GREEDY.talker, max_new_tokens=60))
    wanted = run(engine, engine.new_state(), CASES["text"], settings)
    for num_steps in (30, 45, 60):
        with torch.inference_mode():
            state = engine.new_state()
            turn = new_turn(
                engine, state, render_turn(engine.spec, engine.tokenizer, state, CASES["text"], SYSTEM), settings
            )
            steps = turn.steps()
            for _, item in zip(range(num_steps), steps):
                if isinstance(item, Step):
                    run_together([item])
            steps.close()
        found = run(engine, engine.new_state(), CASES["text"], settings)
        assert codes(found) == codes(wanted) and abs(wave(found) - wave(wanted)).max() < 1e-4


def sounds(units):
    """An utterance's packets, whoever is waited for."""
    return (unit for unit in alone(units) if unit is not None)
