"""A long prompt goes through in pieces that change nothing, may be stopped at any of them and leave no trace then."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention.bias import causal_lower_right

from app.chatml.render import render_turn
from app.engine import thinker as thinker_module
from app.engine.decoder import Decoder, KVCache
from app.engine.engine import Engine
from app.engine.state import EngineState
from app.engine.stepping import alone
from app.engine.tokenizer_parts import build_tokenizer
from app.session.fit import Load, fit_turn
from app.types.events import TERMINAL, CodecDelta, TextDelta, TurnFailed, TurnFinished, TurnInterrupted
from app.types.prompt import MelBlock, Prompt, Segment, VisionBlock
from app.types.turn import TALKER_SAMPLING, THINKER_SAMPLING, TextPart, TurnSettings
from benchmarks.geometry import build_7b, spec_7b
from benchmarks.memory import AsOnGpu, LiveBytes, Parts
from tests.engine_kit import (
    SYSTEM,
    codes,
    last_states,
    new_turn,
    noise_image,
    noise_video,
    run,
    sound,
    text_ids,
)
from tests.test_engine_worker import Listener

SETTINGS = TurnSettings(
    thinker=replace(THINKER_SAMPLING.greedy(), max_new_tokens=8),
    talker=replace(TALKER_SAMPLING.greedy(), max_new_tokens=20),
    ode_points=2,
)
TURNS = (
    (TextPart("What is all this? " * 9), noise_image(1), sound(2, 5.5), TextPart("tell me")),
    (noise_video(3, seconds=7, sound_s=6.4), TextPart("and that"), noise_image(4, 56, 84)),
)
# Every size that falls on, before and behind an edge of something.
SIZES = (1, 7, 33, 64)


@pytest.fixture
def in_pieces(tiny):
    """Sets how many tokens go through at once, in Thinker and Talker."""
    decoders = [tiny.engine.stages.thinker.decoder, tiny.engine.stages.talker.decoder]
    kept = [decoder.max_rows for decoder in decoders]

    def set_size(size: int) -> None:
        for decoder in decoders:
            decoder.max_rows = size

    yield set_size
    for decoder, size in zip(decoders, kept):
        decoder.max_rows = size


def conversation(tiny):
    """Two turns: the state behind them, their events, and every state that the Thinker's decoder gave."""
    state = tiny.engine.new_state()
    with last_states(tiny.engine.stages.thinker.decoder) as seen:
        events = [run(tiny.engine, state, parts, SETTINGS) for parts in TURNS]
    return state, events, torch.cat(seen)


@pytest.mark.parametrize("size", SIZES)
def test_in_pieces_a_prompt_is_what_it_is_whole(tiny, in_pieces, size):
    """Ids, positions, states, greedy tokens and codes, behind a first turn and behind nothing."""
    in_pieces(10**9)
    whole, expected, hidden = conversation(tiny)
    in_pieces(size)
    state, events, found = conversation(tiny)
    assert state.ids == whole.ids and state.mark() == whole.mark()
    assert torch.equal(state.positions.since(0), whole.positions.since(0))
    assert (state.states.since(0) - whole.states.since(0)).abs().max() < 5e-5
    assert (found - hidden).abs().max() < 5e-5
    for mine, theirs in zip(events, expected):
        assert (text_ids(mine), codes(mine)) == (text_ids(theirs), codes(theirs))


@pytest.mark.parametrize("size", [7, 33])
def test_in_16_bits_pieces_are_as_near_to_exact_ones_as_the_whole(tiny, size):
    model = tiny.model.thinker.model
    generator = torch.Generator().manual_seed(0)
    embeds, positions = torch.randn(90, model.config.hidden_size, generator=generator), torch.arange(90).expand(3, -1)
    short = type(model)._from_config(model.config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    short.load_state_dict(model.state_dict())
    with torch.inference_mode():
        exact = Decoder(model).forward(KVCache(), embeds, positions)
        decoder = Decoder(short)
        whole = decoder.forward(KVCache(), embeds.bfloat16(), positions)
        decoder.max_rows = size
        pieces = decoder.forward(KVCache(), embeds.bfloat16(), positions)
    error, of_whole = ((states.float() - exact).abs().mean() for states in (pieces, whole))
    assert error < 1.1 * of_whole, (error, of_whole)


def test_pieces_are_of_one_length_and_none_is_too_long(tiny, in_pieces):
    in_pieces(40)
    with last_states(tiny.engine.stages.thinker.decoder) as seen:
        run(tiny.engine, tiny.engine.new_state(), (TextPart("a word " * 30),), SETTINGS)
    lengths = [len(states) for states in seen if len(states) > 1]
    assert len(lengths) > 2 and max(lengths) <= 40 and max(lengths) - min(lengths) <= 1, lengths


def test_a_turn_that_is_stopped_at_any_piece_leaves_no_trace(tiny, in_pieces):
    in_pieces(16)
    state, never = tiny.engine.new_state(), tiny.engine.new_state()
    for one in (state, never):
        run(tiny.engine, one, TURNS[0], SETTINGS)
    mark, positions = state.mark(), state.positions.since(0).clone()
    num_stops = 0
    with torch.inference_mode():
        prompt = render_turn(tiny.engine.spec, tiny.engine.tokenizer, state, TURNS[1], SYSTEM)
        while True:
            turn = new_turn(tiny.engine, state, prompt, SETTINGS)
            steps = turn.steps()
            items = [next(steps) for _ in range(num_stops + 1)]
            if any(isinstance(item, TextDelta) for item in items):
                break
            steps.close()
            assert isinstance(list(turn.interrupted())[-1], TurnInterrupted)
            assert state.mark() == mark and state.ids == never.ids, num_stops
            assert torch.equal(state.positions.since(0), positions), num_stops
            num_stops += 1
        steps.close()
        turn.abandon()
    assert num_stops > 10, num_stops
    found, expected = (run(tiny.engine, one, TURNS[1], SETTINGS) for one in (state, never))
    assert (text_ids(found), codes(found)) == (text_ids(expected), codes(expected))


def test_the_talker_reads_a_long_prompt_in_pieces_too_and_may_be_stopped_at_any(tiny, in_pieces):
    in_pieces(16)
    num_stops = 0
    while True:
        state, silent = tiny.engine.new_state(), tiny.engine.new_state()
        turn, items = written(tiny, state, SETTINGS, num_stops + 1)
        if any(isinstance(item, CodecDelta) for item in items):
            break
        assert items == [None] * (num_stops + 1)
        said = text_ids(list(turn.interrupted()))
        turn, _ = written(tiny, silent, replace(SETTINGS, speak=False), 0)
        assert text_ids(list(turn.interrupted())) == said
        assert state.mark() == silent.mark() and state.talker_length == state.talker_cache.length > silent.talker_length
        found, expected = (run(tiny.engine, one, TURNS[1], SETTINGS) for one in (state, silent))
        assert (text_ids(found), codes(found)) == (text_ids(expected), codes(expected)), num_stops
        num_stops += 1
    assert num_stops > 5, num_stops


def written(tiny, state, settings, num_items):
    """A first turn up to its second word, whose state speech begins with, and so many items further; these."""
    with torch.inference_mode():
        prompt = render_turn(tiny.engine.spec, tiny.engine.tokenizer, state, TURNS[0], SYSTEM)
        turn = new_turn(tiny.engine, state, prompt, settings)
        steps = alone(turn.steps())
        for _ in range(2):
            while not isinstance(next(steps), TextDelta):
                pass
        items = [next(steps) for _ in range(num_items)]
        steps.close()
    return turn, items


def test_a_stop_is_obeyed_between_two_pieces_and_others_go_on_meanwhile(tiny, in_pieces):
    in_pieces(8)
    engine = Engine(tiny.engine.spec, tiny.engine.tokenizer, tiny.engine.stages, max_turns=2)
    decoder = engine.stages.thinker.decoder
    try:
        endless = replace(SETTINGS, thinker=replace(SETTINGS.thinker, max_new_tokens=4000), speak=False)
        talking, other = engine.new_state(), Listener()
        prompt = render_turn(engine.spec, engine.tokenizer, talking, (TextPart("hello"),), SYSTEM)
        other_handle = engine.submit(talking, prompt, endless, 1, other)
        other.wait_for(TextDelta)
        state, listener = engine.new_state(), Listener()
        long = render_turn(engine.spec, engine.tokenizer, state, (TextPart("many words " * 60),), SYSTEM)
        told, handle, forward = [], None, decoder.forward

        def noted(cache, embeds, positions):
            if cache is state.thinker_cache:
                told.append(sum(isinstance(event, TextDelta) for event in other.events))
                if len(told) == 6:
                    handle.stop()
            return forward(cache, embeds, positions)

        decoder.forward = noted
        handle = engine.submit(state, long, SETTINGS, 2, listener)
        assert isinstance(listener.wait_for(*TERMINAL), TurnInterrupted)
        del decoder.forward
        assert len(told) == 6 < long.num_tokens // 8
        assert all(later > earlier for earlier, later in zip(told, told[1:])), told
        assert state.num_tokens == 0 and state.thinker_cache.length == 0
        other_handle.stop()
        other.wait_for(*TERMINAL)
    finally:
        engine.close()


@pytest.mark.parametrize("stage", ["thinker", "talker"])
@pytest.mark.parametrize("fails_at", [1, 2, 5])
def test_a_failure_in_any_piece_leaves_no_trace(tiny, in_pieces, stage, fails_at):
    in_pieces(40)
    engine = Engine(tiny.engine.spec, tiny.engine.tokenizer, tiny.engine.stages, max_turns=1)
    state, never = tiny.engine.new_state(), tiny.engine.new_state()
    for one in (state, never):
        run(tiny.engine, one, TURNS[0], SETTINGS)
    mark, talker_length = state.mark(), state.talker_length
    layer, calls = getattr(engine.stages, stage).decoder.layers[-1], []

    def exhausted(hidden, *turn):
        calls.append(len(hidden))
        if len(calls) == fails_at:
            raise torch.OutOfMemoryError("no memory")
        return type(layer).heads(layer, hidden, *turn)

    try:
        layer.heads = exhausted
        listener = Listener()
        prompt = render_turn(engine.spec, engine.tokenizer, state, TURNS[1], SYSTEM)
        engine.submit(state, prompt, SETTINGS, 2, listener)
        assert isinstance(listener.wait_for(*TERMINAL), TurnFailed)
    finally:
        del layer.heads
        engine.close()
    assert len(calls) == fails_at and min(calls) > 1
    assert state.mark() == mark and state.thinker_cache.length == mark.num_tokens
    # What the Talker read of earlier turns meanwhile is right, and stays.
    assert talker_length <= state.talker_length == state.talker_cache.length <= mark.num_tokens
    found, expected = (run(tiny.engine, one, TURNS[1], SETTINGS) for one in (state, never))
    assert isinstance(found[-1], TurnFinished)
    assert (text_ids(found), codes(found)) == (text_ids(expected), codes(expected))


# -- the towers --------------------------------------------------------------------------------------------------------


def segment_of(tiny, parts) -> Segment:
    prompt = render_turn(
        tiny.engine.spec, tiny.engine.tokenizer, tiny.engine.new_state(), parts, SYSTEM, min_segment_tokens=10**9
    )
    assert len(prompt.segments) == 1
    return prompt.segments[0]


def rows_of(thinker, segment) -> tuple[dict[int, torch.Tensor], int]:
    """What the towers give, by placeholder; and in how many units."""
    with torch.inference_mode():
        encoded = list(thinker.encode(segment))
    ids = {item.token_id for item in encoded}
    return {id_: torch.cat([item.rows for item in encoded if item.token_id == id_]) for id_ in ids}, len(encoded)


def by_the_library(thinker, segment) -> dict[int, torch.Tensor]:
    """All sounds at once, all pictures at once, and a video as one clip, as `generate()` has it."""
    model, config = thinker.model, thinker.model.config
    mels = [feature.mel for feature in segment.features if isinstance(feature, MelBlock)]
    views = [feature for feature in segment.features if isinstance(feature, VisionBlock)]
    clip = [view for view in views if view.is_video]
    pictures = [view for view in views if not view.is_video]
    with torch.inference_mode():
        found = {}
        if mels:
            lengths = torch.tensor([sum(mel.shape[1] for mel in mels)])
            found[config.audio_token_id] = model.audio_tower(torch.cat(mels, 1), feature_lens=lengths).last_hidden_state
        if pictures:
            grids = torch.tensor([view.grid_thw for view in pictures])
            patches = torch.cat([view.patches for view in pictures])
            found[config.image_token_id] = model.visual(patches, grid_thw=grids).pooler_output
        if clip:
            grid = torch.tensor([[sum(view.grid_thw[0] for view in clip), *clip[0].grid_thw[1:]]])
            patches = torch.cat([view.patches for view in clip])
            found[config.video_token_id] = model.visual(patches, grid_thw=grid).pooler_output
    return found


CLIPS = {
    "sound": (sound(1, 13.4),),
    "video": (noise_video(2, seconds=9),),
    "video with sound": (noise_video(3, seconds=11, sound_s=10.7),),
    "pictures of several sizes": (noise_image(4), noise_image(5, 56, 168), noise_image(6, 140, 84)),
    "pictures, a video and its sound": (noise_image(7), noise_video(8, seconds=7, sound_s=7.9), noise_image(9, 28, 28)),
}


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize(("num_blocks", "num_patches"), [(1, 1), (2, 60), (3, 200), (16, 2048)])
def test_towers_in_groups_give_what_they_give_of_the_whole_clip(tiny, monkeypatch, name, num_blocks, num_patches):
    thinker, segment = tiny.engine.stages.thinker, segment_of(tiny, CLIPS[name])
    monkeypatch.setattr(thinker_module, "MAX_SOUND_BLOCKS", num_blocks)
    monkeypatch.setattr(thinker_module, "MAX_PATCHES", num_patches)
    (found, num_units), expected = rows_of(thinker, segment), by_the_library(thinker, segment)
    assert found.keys() == expected.keys()
    for id_, rows in expected.items():
        assert found[id_].shape == rows.shape
        assert (found[id_] - rows).abs().max() < 1e-5, (id_, (found[id_] - rows).abs().max())
    if num_patches == 1:  # every group of frames, every picture and every block of sound for itself
        views = [feature for feature in segment.features if isinstance(feature, VisionBlock)]
        sounds = [feature for feature in segment.features if isinstance(feature, MelBlock)]
        assert num_units == len(sounds) + sum(view.grid_thw[0] for view in views)


def test_towers_in_groups_are_in_16_bits_as_near_to_exact_rows_as_of_the_whole(tiny, monkeypatch):
    thinker, segment = tiny.engine.stages.thinker, segment_of(tiny, CLIPS["pictures, a video and its sound"])
    exact = by_the_library(thinker, segment)
    model, halves, in_halves = thinker.model, halved(segment), copy.copy(thinker)
    in_halves.model = SimpleNamespace(
        audio_tower=copy.deepcopy(model.audio_tower).bfloat16(),
        visual=copy.deepcopy(model.visual).bfloat16(),
        config=model.config,
    )
    whole = by_the_library(in_halves, halves)
    monkeypatch.setattr(thinker_module, "MAX_SOUND_BLOCKS", 1)
    monkeypatch.setattr(thinker_module, "MAX_PATCHES", 1)
    found, _ = rows_of(in_halves, halves)
    for id_, rows in exact.items():
        error, of_whole = ((some[id_].float() - rows).abs().mean() for some in (found, whole))
        assert error <= 1.1 * of_whole, (id_, error, of_whole)


def halved(segment: Segment) -> Segment:
    def half(feature):
        if isinstance(feature, MelBlock):
            return replace(feature, mel=feature.mel.bfloat16())
        return replace(feature, patches=feature.patches.bfloat16())

    return replace(segment, features=tuple(half(feature) for feature in segment.features))


def test_what_one_frame_shows_changes_no_other_groups_rows(tiny):
    """In the library's own towers attention ends at two frames and at a block of sound."""
    thinker, segment = tiny.engine.stages.thinker, segment_of(tiny, CLIPS["video with sound"])
    config = thinker.model.config
    first_view = next(index for index, feature in enumerate(segment.features) if isinstance(feature, VisionBlock))
    first_mel = next(index for index, feature in enumerate(segment.features) if isinstance(feature, MelBlock))
    features = list(segment.features)
    view, mel = features[first_view], features[first_mel]
    per_group = view.grid_thw[1] * view.grid_thw[2]
    features[first_view] = replace(view, patches=torch.cat([-view.patches[:per_group], view.patches[per_group:]]))
    features[first_mel] = replace(mel, mel=-mel.mel)
    before = by_the_library(thinker, segment)
    after = by_the_library(thinker, replace(segment, features=tuple(features)))
    num_rows = {config.video_token_id: view.num_tokens // view.grid_thw[0], config.audio_token_id: mel.num_tokens}
    for id_, num in num_rows.items():
        assert (after[id_][:num] - before[id_][:num]).abs().max() > 1e-3
        assert torch.equal(after[id_][num:], before[id_][num:])


def test_a_block_too_short_for_a_token_is_not_encoded(tiny):
    """Of a clip whose last block has two frames only; the library gives no row for it either."""
    thinker = tiny.engine.stages.thinker
    frames = 2 * thinker.model.audio_tower.n_window
    mel = torch.randn(thinker.model.audio_tower.num_mel_bins, 2 * frames + 2)
    segment = Segment(torch.zeros(0, dtype=torch.long), torch.zeros(3, 0, dtype=torch.long), (MelBlock(mel, 100),))
    (found, _), expected = rows_of(thinker, segment), by_the_library(thinker, segment)
    (rows,), (whole,) = found.values(), expected.values()
    assert rows.shape == whole.shape and (rows - whole).abs().max() < 1e-5


# -- memory ------------------------------------------------------------------------------------------------------------


def test_logits_are_made_of_the_sampled_rows_only(tiny):
    """One row for each text token, one of the Talker's for each code, however long the prompt is."""
    stages = tiny.engine.stages
    seen: dict[str, list[int]] = {"text": [], "code": []}
    hooks = [
        head.register_forward_hook(lambda _, args, logits, rows=rows: rows.append(logits[..., 0].numel()))
        for rows, head in (
            (seen["text"], stages.thinker.model.lm_head),
            (seen["code"], stages.talker.model.codec_head),
        )
    ]
    try:
        state = tiny.engine.new_state()
        events = [event for parts in TURNS for event in run(tiny.engine, state, parts, SETTINGS)]
    finally:
        for hook in hooks:
            hook.remove()
    assert sum(seen["text"]) == len(text_ids(events)) and set(seen["text"]) == {1}
    assert sum(seen["code"]) == len(codes(events)) and set(seen["code"]) == {1}


def test_the_caches_grow_once_for_a_whole_prompt_and_its_reply(tiny, in_pieces, monkeypatch):
    in_pieces(16)
    sizes: dict[KVCache, list[int]] = {}
    room = KVCache.room

    def noted(cache, length, like, shape):
        table = room(cache, length, like, shape)
        seen = sizes.setdefault(cache, [])
        if table.shape[3] not in seen:
            seen.append(table.shape[3])
        return table

    monkeypatch.setattr(KVCache, "room", noted)
    state = tiny.engine.new_state()
    run(tiny.engine, state, (TextPart("so many words " * 60),), SETTINGS)
    assert 256 < state.num_tokens
    assert [len(seen) for seen in sizes.values()] == [1, 1], sizes
    assert state.num_bytes <= 1.2 * state.num_tokens * tiny.engine.spec.bytes_per_token + state.positions.num_bytes


def test_bytes_are_counted_while_a_tensor_lives_and_views_are_not_counted_again():
    known = torch.empty(1000, device="meta")
    with LiveBytes([known]) as watch:
        first = known + 1  # 4,000 bytes
        view, other = first[10:], known[:10]
        second = first * 2
        assert (watch.now, watch.peak) == (8000, 8000)
        del first
        assert watch.now == 8000, "a view of it lives"
        del view, other
        assert watch.now == 4000
        second.add_(1)
        del second
        assert (watch.now, watch.peak) == (0, 8000)


@pytest.mark.parametrize("name", ["one segment", "a picture", "behind a conversation"])
def test_what_a_turn_is_said_to_take_is_what_it_takes_at_the_published_size(published, name):
    """The most at a time, by shapes: never more than was said before the turn began, nor less than two fifths of it."""
    parts, spec = published
    size = {"one segment": 2500, "a picture": 1200, "behind a conversation": 700}[name]
    num_cached = 2000 if name == "behind a conversation" else 0
    state = EngineState(has_talker=True)
    view = VisionBlock(torch.zeros(1).expand(4 * size, 1176), (1, 60, size // 15), False, size)
    features = (view,) if name == "a picture" else ()
    lengths = ((num_cached, ()), (size, features))
    segments = [segment_of_length(spec, length, shown) for length, shown in lengths if length]
    with torch.inference_mode(), AsOnGpu(), LiveBytes(parts.weights) as watch:
        for segment in segments:
            before = watch.peak = watch.now
            state.expect(segment.num_tokens)
            rows = list(parts.thinker.encode(segment))
            list(parts.thinker.prefill(state, segment, rows))
            del rows
            list(parts.talker.read(state, state.num_tokens))
    load = Load(num_cached, 0, (), (), lambda part: 0)
    fit = fit_turn(spec, load, Prompt((segments[-1],)), TurnSettings(), None)
    taken = watch.peak - before
    assert 0.4 * fit.num_bytes <= taken <= fit.num_bytes, (taken, fit.num_bytes)


def segment_of_length(spec, length: int, features: tuple) -> Segment:
    ids = torch.full((length,), spec.ids.image if features else 0)
    return Segment(ids, torch.arange(length).expand(3, -1), features)


@pytest.fixture(scope="module")
def published():
    model = build_7b("meta")
    return Parts(model), spec_7b(model, build_tokenizer())


def test_the_mask_that_a_gpu_is_told_is_the_table_that_a_cpu_gets():
    """CUDA's kernels are not here; torch's own table of it is."""
    generator = torch.Generator().manual_seed(0)
    query, keys, values = (torch.randn(2, 3, length, 16, generator=generator) for length in (5, 12, 12))
    table = torch.ones(5, 12, dtype=torch.bool).tril(7)
    expected = F.scaled_dot_product_attention(query, keys, values, attn_mask=table)
    found = F.scaled_dot_product_attention(query, keys, values, attn_mask=causal_lower_right(5, 12), is_causal=False)
    assert (found - expected).abs().max() < 1e-6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, this machine has none")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pieces_on_a_gpu_give_what_they_give_here(tiny, dtype):
    model = tiny.model.thinker.model
    generator = torch.Generator().manual_seed(0)
    embeds, positions = torch.randn(90, model.config.hidden_size, generator=generator), torch.arange(90).expand(3, -1)
    there = type(model)._from_config(model.config, dtype=dtype, attn_implementation="sdpa").eval()
    there.load_state_dict(model.state_dict())
    decoder = Decoder(there.cuda())
    with torch.inference_mode():
        exact = Decoder(model).forward(KVCache(), embeds, positions)
        whole = decoder.forward(KVCache(), embeds.to("cuda", dtype), positions)
        decoder.max_rows = 33
        pieces = decoder.forward(KVCache(), embeds.to("cuda", dtype), positions)
    error, of_whole = ((states.float().cpu() - exact).abs().mean() for states in (pieces, whole))
    assert error < 1.2 * of_whole + 1e-5, (error, of_whole)
