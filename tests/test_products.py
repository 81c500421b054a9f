"""A product is the same product whichever kernel makes it."""

import pytest
import torch
import torch.nn.functional as F

from app.engine.products import Product, has_onednn


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 160, 480), (2, 96, 160, 320), (41, 320, 160), (0, 8, 8)], ids=str)
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


def test_a_processor_without_it_takes_torchs(monkeypatch):
    monkeypatch.setattr("app.engine.products.has_onednn", lambda: False)
    weight = torch.eye(3)
    assert torch.equal(Product(weight)(torch.ones(2, 3)), torch.ones(2, 3))


def test_this_build_of_torch_has_it_where_its_interface_is_there():
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch was built without oneDNN")
    assert has_onednn()
