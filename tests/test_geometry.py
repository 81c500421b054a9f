"""The published geometry of the benchmarks, checked by shape alone: nothing here holds memory for weights."""

import pytest
import torch

from app.engine.tokenizer_parts import build_tokenizer
from benchmarks.geometry import build_7b, num_parameters, spec_7b


@pytest.fixture(scope="module")
def model():
    return build_7b("meta")


def test_every_part_has_the_published_number_of_parameters(model) -> None:
    """Counted on the published checkpoint's configuration, in millions."""
    thinker, token2wav = model.thinker, model.token2wav
    parts = {
        "thinker language model": (thinker.model, 7070.6),
        "thinker head": (thinker.lm_head, 545.0),
        "audio tower": (thinker.audio_tower, 639.6),
        "vision tower": (thinker.visual, 676.6),
        "talker": (model.talker, 1351.4),
        "DiT": (token2wav.code2wav_dit_model, 333.6),
        "BigVGAN": (token2wav.code2wav_bigvgan_model, 115.4),
    }
    counted = {name: round(num_parameters(part) / 1e6, 1) for name, (part, _) in parts.items()}
    assert counted == {name: millions for name, (_, millions) in parts.items()}


def test_only_token2wav_is_in_float32(model) -> None:
    def dtypes(part: torch.nn.Module) -> set[torch.dtype]:
        return {parameter.dtype for parameter in part.parameters()}

    assert dtypes(model.thinker) == dtypes(model.talker) == {torch.bfloat16}
    assert dtypes(model.token2wav) == {torch.float32}


def test_nothing_is_made_off_the_device(model) -> None:
    tensors = [*model.parameters(), *model.buffers(), *(voice["cond"] for voice in model.speaker_map.values())]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_fewer_layers_change_the_depth_alone(model) -> None:
    shallow = build_7b("meta", num_layers=2)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for name, parameter in shallow.named_parameters():
        assert shapes[name] == parameter.shape, name
    stacks = (
        shallow.thinker.model.layers,
        shallow.thinker.audio_tower.layers,
        shallow.thinker.visual.blocks,
        shallow.talker.model.layers,
        shallow.token2wav.code2wav_dit_model.transformer_blocks,
    )
    assert [len(stack) for stack in stacks] == [2] * 5


def test_its_spec_speaks_the_tokenizers_ids_and_the_published_rates(model) -> None:
    tokenizer = build_tokenizer()
    spec = spec_7b(model, tokenizer)
    assert tokenizer.convert_ids_to_tokens([spec.ids.im_start, spec.ids.audio, spec.ids.image, spec.ids.video]) == [
        "<|im_start|>",
        "<|AUDIO|>",
        "<|IMAGE|>",
        "<|VIDEO|>",
    ]
    assert (spec.output_sample_rate, spec.codec_frame_s, spec.voices) == (24_000, 0.02, ("Chelsie", "Ethan"))
    # 56 KiB and 48 KiB of keys and values, and one Thinker state of 3584 halves.
    assert spec.bytes_per_token == (56 + 48) * 1024 + 2 * 3584
