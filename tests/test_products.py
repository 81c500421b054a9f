"""A product is the same product whichever kernel makes it."""

from collections import Counter
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from app.engine.decoder import KVCache
from app.engine.products import FEW_ROWS, Product, has_onednn
from tests.engine_kit import afresh, noise_image, sound

needs_onednn = pytest.mark.skipif(not has_onednn(), reason="torch was built without oneDNN")
ONEDNN = torch.ops.mkldnn._linear_pointwise
KERNELS = (ONEDNN, torch.ops.aten.linear, torch.ops.aten.addmm, torch.ops.aten.mm)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize(
    "shape",
    [(1, 160, 480), (FEW_ROWS, 160, 480), (FEW_ROWS + 1, 160, 480), (2, 96, 160, 320), (41, 320, 160), (0, 8, 8)],
    ids=str,
)
def test_a_product_is_what_torch_makes_of_it(shape, has_bias, dtype):
    *rows, width, out = shape
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(*rows, width, generator=generator).to(dtype)
    weight = (torch.randn(out, width, generator=generator) / width**0.5).to(dtype)
    bias = torch.randn(out, generator=generator).to(dtype) if has_bias else None
    product, expected = Product(weight, bias), F.linear(rows, weight, bias)
    with torch.inference_mode():
        found, active = product(rows), product.gelu(rows)
    bound = 1e-5 if dtype == torch.float32 else 5e-2
    assert found.shape == expected.shape and torch.allclose(found, expected, atol=bound)
    assert torch.allclose(active, F.gelu(expected, approximate="tanh"), atol=bound)
    if bias is None and len(shape) == 3:
        hidden = torch.randn(expected.shape, generator=generator).to(dtype)
        with torch.inference_mode():
            assert torch.allclose(product.added(hidden, rows), hidden + expected, atol=bound)


@contextmanager
def noted_kernels():
    """How often each kernel that makes a product is called."""
    counts = Counter()

    class Noted(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.overloadpacket in KERNELS:
                counts[func.overloadpacket] += 1
            return func(*args, **(kwargs or {}))

    with torch.inference_mode(), Noted():
        yield counts


@needs_onednn
@pytest.mark.parametrize("stage", ["thinker", "talker"])
def test_a_decoder_takes_onednns_products_for_many_rows_and_torchs_for_few(tiny, stage):
    decoder = getattr(tiny.engine.stages, stage).decoder
    for num_rows, is_many in ((1, False), (FEW_ROWS, False), (FEW_ROWS + 1, True), (80, True)):
        embeds, places = torch.zeros(num_rows, decoder.width), torch.arange(num_rows).expand(3, -1)
        with noted_kernels() as counts:
            decoder.forward(KVCache(), embeds, places)
        assert counts and (set(counts) == {ONEDNN} if is_many else ONEDNN not in counts), (num_rows, counts)


@needs_onednn
def test_towers_take_onednns_products(tiny):
    parts = (noise_image(1, 112, 140), sound(2, 4.0))
    segments = afresh(tiny.engine, [], parts).segments
    for segment in (segment for segment in segments if segment.features):
        with noted_kernels() as counts:
            list(tiny.engine.stages.thinker.encode(segment))
        assert set(counts) == {ONEDNN}, counts


def test_a_processor_without_it_takes_torchs(monkeypatch):
    monkeypatch.setattr("app.engine.products.has_onednn", lambda: False)
    weight = torch.eye(3)
    assert torch.equal(Product(weight)(torch.ones(2, 3)), torch.ones(2, 3))


def test_this_build_of_torch_has_it_where_its_interface_is_there():
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch was built without oneDNN")
    assert has_onednn()
