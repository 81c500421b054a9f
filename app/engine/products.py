"""Products of many rows with weights, by the fastest kernel that this processor has; knows no model.

For float32 torch takes MKL's, which on an AMD EPYC does 104 GFLOP/s a core where oneDNN's, with wider vectors, does
210: the same sums, in most shapes to the last bit. For a single row MKL's starts faster.
"""

import functools

import torch
import torch.nn.functional as F


class Product:
    """A linear layer. Shares its weight `[out, in]` and bias `[out]`."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.weight, self.bias = weight, bias
        self._is_onednn = weight.device.type == "cpu" and weight.dtype == torch.float32 and has_onednn()

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """`[..., in]` -> `[..., out]`"""
        if self._is_onednn:
            return torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "none", [], "")
        return F.linear(rows, self.weight, self.bias)

    def gelu(self, rows: torch.Tensor) -> torch.Tensor:
        """The same, then GELU as approximated by tanh."""
        if self._is_onednn:
            return torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "gelu", [], "tanh")
        return F.gelu(F.linear(rows, self.weight, self.bias), approximate="tanh")


@functools.cache
def has_onednn() -> bool:
    """Whether torch was built with it and gives the operation, which is not part of its public interface."""
    if not torch.backends.mkldnn.is_available():
        return False
    rows, weight = torch.linspace(-1, 1, 12).view(3, 4), torch.linspace(-1, 2, 20).view(5, 4)
    try:
        with torch.inference_mode():
            found = torch.ops.mkldnn._linear_pointwise(rows, weight, None, "gelu", [], "tanh")
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    return torch.allclose(found, F.gelu(rows @ weight.T, approximate="tanh"), atol=1e-5)
