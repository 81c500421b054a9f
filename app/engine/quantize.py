"""A decoder's weights in 8 or 4 bits: made once, while a model is loaded, and widened where they are multiplied.

int8: each row by its own largest number; PyTorch multiplies. int4: NF4, sixteen levels as a normal distribution has
them, 64 weights by their largest; bitsandbytes makes and multiplies them. Both leave the other operand as it is.
"""

import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Qwen2_5OmniForConditionalGeneration

from app.errors import BadConfig

QUANTIZATIONS = ("none", "int8", "int4")
STAGE = "quantization"

INT4_BLOCK = 64
# Up to so many rows PyTorch's int8 product reads the weight as it is; for more it is widened first, which a long
# product repays. Tokens of conversations that are stepped together are no more than that.
FEW_ROWS = 4
# The float32 copies of so many rows are alive at a time while a weight is made narrow.
_ROWS_AT_ONCE = 8192


class Int8Weight(nn.Module):
    """`[out, in]` as int8 with a factor per row. Called with `[n, in]`, as a linear layer is."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        scales, rows = zip(*map(_in_int8, weight.split(_ROWS_AT_ONCE)))
        # A parameter, since a head is asked for the type and device of its parameters.
        self.scale = nn.Parameter(torch.cat(scales), requires_grad=False)
        self.register_buffer("data", torch.cat(rows))
        # In float32 PyTorch's product on a CPU is the slower way, from 1,024 columns on seven times.
        self.takes_few = weight.device.type == "cuda" or (weight.device.type, weight.dtype) == ("cpu", torch.bfloat16)

    @property
    def wide_bytes(self) -> int:
        """Of the weight once it is widened."""
        return self.data.numel() * self.scale.element_size()

    @property
    def num_bytes(self) -> int:
        return self.data.nbytes + self.scale.nbytes

    def forward(self, rows: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if self.takes_few and rows.shape[0] <= FEW_ROWS:
            found = torch.ops.aten._weight_int8pack_mm(rows.contiguous(), self.data, self.scale)
            return found if bias is None else found + bias
        return F.linear(rows, self.data * self.scale[:, None], bias)


class Int4Weight(nn.Module):
    """`[out, in]` as NF4. Called as the other."""

    takes_few = True

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self._library = bitsandbytes()
        data, self._state = self._library.functional.quantize_4bit(
            weight.contiguous(), blocksize=INT4_BLOCK, quant_type="nf4"
        )
        self.register_buffer("data", data)
        self.wide_bytes = weight.nbytes

    @property
    def num_bytes(self) -> int:
        return self.data.nbytes + self._state.absmax.nbytes

    def forward(self, rows: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return self._library.matmul_4bit(rows.contiguous(), self.data, self._state, bias=bias)


def _in_int8(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A factor for each row, and the rows without it."""
    exact = rows.float()
    # Rounded before it divides: what it rounds away is then no error of the whole row.
    scale = (exact.abs().amax(1) / 127).to(rows.dtype)
    return scale, (exact / scale.float()[:, None]).nan_to_num(0.0).round().clamp(-127, 127).to(torch.int8)


Weight = Int8Weight | Int4Weight
KINDS: dict[str, type[Int8Weight] | type[Int4Weight]] = {"int8": Int8Weight, "int4": Int4Weight}


def predicted_bytes(quantize: str, num_out: int, num_in: int, itemsize: int) -> int:
    """What a weight of that shape takes, `itemsize` being that of the model's own type."""
    num = num_out * num_in
    if quantize == "int8":
        return num + num_out * itemsize
    if quantize == "int4":
        return -(-num // 2) + 4 * -(-num // INT4_BLOCK)
    return num * itemsize


def joined_shapes(layer: nn.Module) -> list[list[nn.Linear]]:
    """The linear layers of a decoder layer, those together that have one input: query, key, value; out; gate, up; down.
    So `app.engine.decoder` multiplies them."""
    attention, mlp = layer.self_attn, layer.mlp
    return [
        [attention.q_proj, attention.k_proj, attention.v_proj],
        [attention.o_proj],
        [mlp.gate_proj, mlp.up_proj],
        [mlp.down_proj],
    ]


def plan(model: Qwen2_5OmniForConditionalGeneration, quantize: str) -> list[tuple[Sequence[nn.Module], str]]:
    """Which decoders become what.

    The Talker's is left as it is, but with int4, which is there for small cards: of the published 7B it takes 2.6 GB
    in 16 bits, and with those it does not fit 12 GB.
    """
    found: list[tuple[Sequence[nn.Module], str]] = [(model.thinker.model.layers, quantize)]
    if quantize == "int4" and model.has_talker:
        found.append((model.talker.model.layers, "int8"))
    return found


def packs_head(thinker: nn.Module) -> bool:
    """The head becomes int8, unless it is the table of embeddings itself."""
    return thinker.lm_head.weight is not thinker.get_input_embeddings().weight


@torch.no_grad()
def pack(
    model: Qwen2_5OmniForConditionalGeneration,
    quantize: str,
    device: torch.device,
    progress: Callable[[float], None],
) -> None:
    """Makes the Thinker's decoder narrow, layer by layer, and then moves the model to `device`: there is never more
    than one layer of it in its full width. The library's own text modules are of no use after that."""
    layers = [(layer, kind) for stack, kind in plan(model, quantize) for layer in stack]
    for number, (layer, kind) in enumerate(layers):
        progress(number / len(layers))
        layer.packed = nn.ModuleList(_packed(linears, KINDS[kind], device) for linears in joined_shapes(layer))
    thinker = model.thinker
    if packs_head(thinker):
        thinker.lm_head = Int8Weight(thinker.lm_head.weight.to(device))
    if device.type == "cuda":
        torch.cuda.empty_cache()
    model.to(device)
    progress(1.0)


def _packed(linears: list[nn.Linear], kind: type[Int8Weight] | type[Int4Weight], device: torch.device) -> Weight:
    weight = torch.cat([linear.weight.to(device) for linear in linears])
    for linear in linears:
        linear.weight = nn.Parameter(weight.new_empty(0), requires_grad=False)
    return kind(weight)


def packed_weights(model: nn.Module) -> Iterator[Weight]:
    return (module for module in model.modules() if isinstance(module, Weight))


def wide_bytes(model: Qwen2_5OmniForConditionalGeneration) -> int:
    """What a pass takes for the widest of the weights that it widens, whatever its length."""
    head = model.thinker.lm_head
    # Only a token's logits are asked for, of few conversations at a time.
    widened = (weight for weight in packed_weights(model) if weight is not head or not weight.takes_few)
    return max((weight.wide_bytes for weight in widened), default=0)


def check(quantize: str, device: torch.device) -> None:
    """Raises BadConfig where it cannot work here."""
    if quantize not in QUANTIZATIONS:
        raise BadConfig(f"--quantize is {quantize!r}; choose one of {', '.join(QUANTIZATIONS)}.")
    if quantize != "int4":
        return
    if device.type not in ("cuda", "cpu"):
        raise BadConfig(f"--quantize int4 does not run on {device.type}; choose --quantize int8.")
    try:
        # Its native part may lack what this machine needs, and says so only when it is called.
        Int4Weight(torch.zeros(INT4_BLOCK, INT4_BLOCK, device=device))
    except (RuntimeError, OSError, AttributeError) as error:
        raise BadConfig(
            f"--quantize int4 needs a bitsandbytes that works on this machine's {device.type} "
            f"({type(error).__name__}); choose --quantize int8."
        ) from error


def bitsandbytes() -> ModuleType:
    # It tells of kernels that one might download.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        return importlib.import_module("bitsandbytes")
    except (ImportError, OSError) as error:
        raise BadConfig(
            "--quantize int4 needs bitsandbytes: pip install -r requirements-quantize.txt, or choose --quantize int8."
        ) from error
