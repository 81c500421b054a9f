"""Our decoder against the library with the same weights: the same states, whatever came before in the cache."""

import pytest
import torch
from transformers import DynamicCache

from app.engine.decoder import Decoder, KVCache


def models(tiny):
    return {"thinker": tiny.model.thinker.model, "talker": tiny.model.talker.model}


def some_input(model, length, seed=0):
    """Embeddings and places as of text, then of a picture, then of text again."""
    generator = torch.Generator().manual_seed(seed)
    width = model.layers[0].hidden_size
    line = torch.arange(length).expand(3, -1).clone()
    middle = slice(length // 3, 2 * length // 3)
    line[1, middle] = torch.randint(0, length, (middle.stop - middle.start,), generator=generator)
    line[0, middle] = length // 3
    return torch.randn(length, width, generator=generator) * 0.1, line


@pytest.fixture(params=["thinker", "talker"])
def pair(tiny, request):
    """Ours and the library's, which share their weights from here on."""
    model = models(tiny)[request.param]
    return Decoder(model), model


def theirs(model, cache, embeds, positions):
    output = model(inputs_embeds=embeds[None], position_ids=positions[:, None], past_key_values=cache, use_cache=True)
    return output.last_hidden_state[0]


@torch.inference_mode()
def test_states_equal_the_librarys_in_one_pass_in_pieces_and_behind_a_crop(pair):
    decoder, model = pair
    embeds, positions = some_input(model, 40)
    expected = theirs(model, DynamicCache(config=model.config), embeds, positions)
    whole, pieces = KVCache(), KVCache()
    assert (decoder.forward(whole, embeds, positions) - expected).abs().max() < 2e-5
    cuts = [0, 17, 18, 19, 31, 40]
    found = [decoder.forward(pieces, embeds[a:b], positions[:, a:b]) for a, b in zip(cuts, cuts[1:])]
    assert (torch.cat(found) - expected).abs().max() < 2e-5
    pieces.crop(18)
    other, places = some_input(model, 12, seed=1)
    assert pieces.length == 18
    decoder.forward(pieces, other, places + 40)
    pieces.crop(18)
    again = decoder.forward(pieces, embeds[18:], positions[:, 18:])
    assert (again - expected[18:]).abs().max() < 2e-5


@torch.inference_mode()
def test_a_cache_grows_without_losing_anything_and_two_do_not_mix(pair):
    decoder, model = pair
    one, two = KVCache(), KVCache()
    embeds, positions = some_input(model, 700)
    expected = decoder.forward(KVCache(), embeds, positions)
    before = 0
    for start in range(0, 700, 100):
        piece = slice(start, start + 100)
        found = decoder.forward(one, embeds[piece], positions[:, piece])
        decoder.forward(two, -embeds[piece], positions[:, piece])
        assert (found - expected[piece]).abs().max() < 2e-5
        assert one.num_bytes >= before
        before = one.num_bytes
    assert one.length == two.length == 700
    assert KVCache().num_bytes == 0


@torch.inference_mode()
def test_positions_far_out_turn_as_the_librarys_do(pair):
    decoder, model = pair
    embeds, positions = some_input(model, 6)
    positions = positions + 20_000
    expected = theirs(model, DynamicCache(config=model.config), embeds, positions)
    assert (decoder.forward(KVCache(), embeds, positions) - expected).abs().max() < 2e-5


@torch.inference_mode()
def test_in_16_bits_the_states_are_as_near_to_exact_ones_as_the_librarys(tiny):
    model = models(tiny)["thinker"]
    embeds, positions = some_input(model, 30)
    exact = theirs(model, DynamicCache(config=model.config), embeds, positions)
    short = type(model)._from_config(model.config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    short.load_state_dict(model.state_dict())
    expected = theirs(short, DynamicCache(config=model.config), embeds.bfloat16(), positions)
    found = Decoder(short).forward(KVCache(), embeds.bfloat16(), positions)
    error, of_library = ((states.float() - exact).abs().mean() for states in (found, expected))
    assert found.dtype == torch.bfloat16 and error < 1.2 * of_library, (error, of_library)
