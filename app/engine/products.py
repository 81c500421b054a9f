"""Products of rows with weights, by the fastest kernel that this processor has; knows no model.

For float32 torch takes MKL's, which on an AMD EPYC does 104 GFLOP/s a core where oneDNN's, with wider vectors, does
210: the same sums, in most shapes to the last bit. For few rows MKL's starts faster.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import nn

# Up to so many rows torch's own product is taken. A whole pass of 20 is 1 to 3 % slower by oneDNN's at a width of 192,
# where starting it (15 instead of 5 us) tells, and 42 % faster at 1,024; from 24 on it is ahead at every width.
FEW_ROWS = 16


class Product:
    """A linear layer. Shares its weight `[out, in]` and bias `[out]`."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.weight, self.bias = weight, bias
        is_onednn = weight.device.type == "cpu" and weight.dtype == torch.float32 and has_onednn()
        # Numbers that a few rows have at the most.
        self._most_of_few = FEW_ROWS * weight.shape[1] if is_onednn else math.inf

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """`[..., in]` -> `[..., out]`"""
        if rows.numel() > self._most_of_few:
            return torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "none", [], "")
        return F.linear(rows, self.weight, self.bias)

    def gelu(self, rows: torch.Tensor) -> torch.Tensor:
        """The same, then GELU as approximated by tanh."""
        if rows.numel() > self._most_of_few:
            return torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "gelu", [], "tanh")
        return F.gelu(F.linear(rows, self.weight, self.bias), approximate="tanh")

    def added(self, hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """`hidden` `[n, out]` and the product of `rows` `[n, in]`, where there is no bias."""
        if rows.numel() > self._most_of_few:
            return torch.ops.mkldnn._linear_pointwise(rows, hidden, self.weight, self.bias, "add")
        return torch.addmm(hidden, rows, self.weight.T)


def take_products(module: nn.Module) -> None:
    """Its linear layers are products from now on; their weights stay where they are."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.forward = Product(layer.weight, layer.bias)


@functools.cache
def has_onednn() -> bool:
    """Whether torch was built with it and gives the operation, which is not part of its public interface."""
    if not torch.backends.mkldnn.is_available():
        return False
    rows, weight = torch.linspace(-1, 1, 12).view(3, 4), torch.linspace(-1, 2, 20).view(5, 4)
    plain = rows @ weight.T
    try:
        with torch.inference_mode():
            active = torch.ops.mkldnn._linear_pointwise(rows, weight, None, "gelu", [], "tanh")
            added = torch.ops.mkldnn._linear_pointwise(rows, plain, weight, None, "add")
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    expected = F.gelu(plain, approximate="tanh")
    return torch.allclose(active, expected, atol=1e-5) and torch.allclose(added, 2 * plain, atol=1e-5)
