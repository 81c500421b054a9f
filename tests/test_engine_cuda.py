"""The laws of parity on a GPU: the same code, in float32 and in bfloat16."""

from dataclasses import replace

import pytest
import torch
from transformers import Qwen2_5OmniForConditionalGeneration, Qwen2_5OmniProcessor

from app.chatml.render import render_turn
from app.engine.loader import EngineOptions, load_engine
from app.types.events import Prefilled
from tests import library
from tests.engine_kit import SYSTEM, Tiny, codes, new_turn, run, text_ids, wave
from tests.test_engine_parity import CASES, GREEDY, NUM_CODES, NUM_TEXT
from tests.test_stepping import together

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
