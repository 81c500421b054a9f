"""A stack of Qwen2 or Qwen3 decoder layers over a cache of ours, for Thinker and Talker alike; knows neither.

The arithmetic of the library's `Qwen2_5OmniThinkerTextModel`, `Qwen2_5OmniTalkerModel` and their likes in Qwen3-Omni in
half of the operations: query, key and value are one product, gate and up another, a new token is written into its place
instead of copying the cache, and query heads meet the key heads that they share without repeating these.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention.bias import causal_lower_right

from app.engine.experts import Experts
from app.engine.products import Product
from app.engine.spec import QWEN3
from app.types.prompt import CHUNK_TOKENS

# Is given each layer's number and what it made, `[n, hidden]`, and gives what the next one takes.
Between = Callable[[int, torch.Tensor], torch.Tensor]

# Rows of a cache that is begun; later it grows by a quarter, at most by so many.
_FIRST_CAPACITY = 256
_MAX_GROWTH = 2048
_FIRST_POSITIONS = 4096


class KVCache:
    """Keys and values of a conversation's first `length` tokens. Takes no memory before the first `append`.

    A token is there once all layers have it: a pass that fails half way leaves the cache as it was.
    """

    def __init__(self) -> None:
        self._table: torch.Tensor | None = None
        self._expected = 0
        self.length = 0

    def expect(self, length: int) -> None:
        """There will be so many tokens soon: where the cache must grow, it grows for all of them at once."""
        self._expected = length

    def room(self, length: int, like: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
        """The table `[layer, 2, head, capacity, head_dim]` with room for `length` tokens; `shape`: layers, heads and
        the width of a head."""
        capacity = 0 if self._table is None else self._table.shape[3]
        if length > capacity:
            num_layers, num_heads, head_dim = shape
            growth = min(capacity // 4, _MAX_GROWTH)
            capacity = max(length, self._expected, capacity + growth, _FIRST_CAPACITY)
            grown = like.new_empty(num_layers, 2, num_heads, capacity, head_dim)
            if self._table is not None:
                grown[:, :, :, : self.length] = self._table[:, :, :, : self.length]
            self._table = grown
        return self._table

    def move(self, table: torch.Tensor) -> None:
        """Stand in `table` `[layer, 2, head, capacity, head_dim]`, which has room for what there is."""
        if self._table is not None:
            table[:, :, :, : self.length] = self._table[:, :, :, : self.length]
        self._table = table

    def leave(self) -> None:
        """Stand in memory of one's own again."""
        self._table = self._table[:, :, :, : self.length].clone()

    def stands_at(self, table: torch.Tensor) -> bool:
        return self._table is table

    def crop(self, length: int) -> None:
        assert length <= self.length, (length, self.length)
        self.length = length

    @property
    def num_bytes(self) -> int:
        return 0 if self._table is None else self._table.nbytes


class Decoder:
    """The weights. `forward` appends tokens to a cache, in passes of at most `max_rows`: what a pass makes for itself
    grows with its rows."""

    def __init__(self, model: nn.Module) -> None:
        """`model`: the library's, whose weights are shared and stay usable."""
        config = model.config
        kinds = getattr(config, "layer_types", None) or ["full_attention"]
        assert set(kinds) == {"full_attention"}, kinds
        head_dim = model.layers[0].self_attn.head_dim
        self.shape = (len(model.layers), config.num_key_value_heads, head_dim)
        self.layers = [_Layer(layer, config.num_attention_heads, config.num_key_value_heads) for layer in model.layers]
        self.width = model.norm.weight.shape[0]
        self._norm = model.norm
        self.rotary = _Rotary(model.rotary_emb, config.model_type)
        self.max_rows = CHUNK_TOKENS

    def forward(
        self, cache: KVCache, embeds: torch.Tensor, positions: torch.Tensor, between: Between | None = None
    ) -> torch.Tensor:
        """`embeds` `[n, hidden]`, `positions` int64 `[3, n]`, on any device -> the last hidden states `[n, hidden]`,
        normed. `between`: what else is done behind each layer of the one pass that this then must be."""
        if embeds.shape[0] <= self.max_rows:
            return self._pass(cache, embeds, positions, between)
        assert between is None, embeds.shape
        # A pass that fails leaves those before it behind, which nobody knows of.
        start = cache.length
        cache.room(start + embeds.shape[0], embeds, self.shape)
        num_passes = self.num_passes(embeds.shape[0])
        pieces = zip(embeds.tensor_split(num_passes), positions.tensor_split(num_passes, dim=1))
        try:
            return torch.cat([self._pass(cache, *piece) for piece in pieces])
        except BaseException:
            cache.crop(start)
            raise

    def num_passes(self, num_rows: int) -> int:
        """So many, of about the same length: a short one at the end would read all weights for a few rows."""
        return -(-num_rows // self.max_rows)

    def _pass(
        self, cache: KVCache, embeds: torch.Tensor, positions: torch.Tensor, between: Between | None = None
    ) -> torch.Tensor:
        start, end = cache.length, cache.length + embeds.shape[0]
        table = cache.room(end, embeds, self.shape)
        cos, sin = self.rotary(positions, embeds)
        # From an empty cache on, every kernel knows by itself who may see whom.
        mask = _mask(end - start, end, embeds.device) if end - start > 1 and start else None
        hidden = embeds
        for index, (layer, (keys, values)) in enumerate(zip(self.layers, table)):
            query, key, value = layer.heads(hidden, cos, sin)
            keys[:, start:end] = key.transpose(0, 1)
            values[:, start:end] = value.transpose(0, 1)
            heard = self._attended(query, keys[:, :end], values[:, :end], mask)
            hidden = layer.after(hidden, heard)
            if between is not None:
                hidden = between(index, hidden)
        cache.length = end
        return _normed(hidden, self._norm)

    def step(self, caches: Sequence[KVCache], embeds: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """One token for each of several caches: `embeds` `[n, hidden]`, `positions` `[3, n]` -> `[n, hidden]`, normed.
        All products are taken together; each token looks into its own cache."""
        if len(caches) == 1:
            return self.forward(caches[0], embeds, positions)
        ends = [cache.length + 1 for cache in caches]
        tables = [cache.room(end, embeds, self.shape) for cache, end in zip(caches, ends)]
        cos, sin = self.rotary(positions, embeds)
        hidden = embeds
        for index, layer in enumerate(self.layers):
            query, key, value = layer.heads(hidden, cos, sin)
            heard = []
            for row, (table, end) in enumerate(zip(tables, ends)):
                keys, values = table[index]
                keys[:, end - 1] = key[row]
                values[:, end - 1] = value[row]
                heard.append(self._attended(query[row : row + 1], keys[:, :end], values[:, :end], None))
            hidden = layer.after(hidden, torch.cat(heard))
        for cache, end in zip(caches, ends):
            cache.length = end
        return _normed(hidden, self._norm)

    def static_step(
        self, table: torch.Tensor, embeds: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """One token at each of a table's first seats, without asking how long anything is: `table`
        `[layer, 2, seat, head, capacity, head_dim]`, `embeds` `[n, hidden]`, `lengths` int64 `[n]` of what stands at
        the seats before it -> `[n, hidden]`, normed."""
        num_rows = len(embeds)
        places, seats = torch.arange(table.shape[4], device=table.device), torch.arange(num_rows, device=table.device)
        mask = (places <= lengths[:, None])[:, None, None]
        hidden = embeds
        for layer, (keys, values) in zip(self.layers, table):
            query, key, value = layer.heads(hidden, cos, sin)
            keys[seats, :, lengths] = key
            values[seats, :, lengths] = value
            # All query heads that share a key head are as many rows of one query.
            query = query.reshape(num_rows, self.shape[1], -1, self.shape[2])
            heard = F.scaled_dot_product_attention(query, keys[:num_rows], values[:num_rows], attn_mask=mask)
            hidden = layer.after(hidden, heard.reshape(num_rows, -1))
        return _normed(hidden, self._norm)

    def _attended(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """`query` `[n, head, head_dim]`, `keys`, `values` `[key_head, length, head_dim]` -> `[n, head * head_dim]`"""
        num_rows, num_heads, head_dim = query.shape
        if num_rows == 1:
            # One token: all query heads that share a key head are as many rows of one query.
            grouped = query.view(1, keys.shape[0], -1, head_dim)
            return F.scaled_dot_product_attention(grouped, keys[None], values[None]).reshape(1, -1)
        # Key heads as a batch, each seen by its query heads in place: with a mask not every kernel knows grouped heads.
        groups = num_heads // keys.shape[0]
        query = query.view(num_rows, -1, groups, head_dim).permute(1, 2, 0, 3)
        keys, values = (part[:, None].expand(-1, groups, -1, -1) for part in (keys, values))
        heard = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, is_causal=mask is None)
        return heard.permute(2, 0, 1, 3).reshape(num_rows, -1)


def _mask(num_rows: int, length: int, device: torch.device) -> torch.Tensor:
    """Of the last rows of so many, each sees all up to itself. CUDA's kernels need no table for that."""
    if device.type == "cuda":
        return causal_lower_right(num_rows, length)
    return torch.ones(num_rows, length, dtype=torch.bool, device=device).tril(length - num_rows)


class _Layer:
    """One layer with its products joined. The library's modules keep using parts of the same memory."""

    def __init__(self, layer: nn.Module, num_heads: int, num_key_heads: int) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._first_norm, self._second_norm = layer.input_layernorm, layer.post_attention_layernorm
        self._num_heads, self._num_key_heads = num_heads, num_key_heads
        self._experts = Experts(mlp) if hasattr(mlp, "experts") else None
        # Of Qwen3's heads each is normed before it turns.
        self._head_norm = _joined_norm(attention, num_heads, num_key_heads) if hasattr(attention, "q_norm") else None
        if hasattr(layer, "packed"):  # see `app.engine.quantize`
            qkv, self._out, self._gate_up, self._down = layer.packed
            self._qkv = partial(qkv, bias=_joined_bias(attention.q_proj, attention.k_proj, attention.v_proj))
        else:
            self._qkv = Product(*joined(attention.q_proj, attention.k_proj, attention.v_proj))
            self._out = Product(attention.o_proj.weight)
            if self._experts is None:
                self._gate_up, self._down = Product(*joined(mlp.gate_proj, mlp.up_proj)), Product(mlp.down_proj.weight)
        self._act = None if self._experts is not None else mlp.act_fn

    def heads(
        self, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`hidden` `[n, hidden]` -> query, keys and values, each `[n, head, head_dim]`, turned to their places."""
        qkv = self._qkv(_normed(hidden, self._first_norm))
        qkv = qkv.view(len(hidden), self._num_heads + 2 * self._num_key_heads, -1)
        turned = qkv[:, : -self._num_key_heads]
        if self._head_norm is not None:
            weight, epsilon = self._head_norm
            turned = F.rms_norm(turned, weight.shape[-1:], None, epsilon) * weight
        turned = _turned(turned, cos, sin)
        return turned[:, : self._num_heads], turned[:, self._num_heads :], qkv[:, -self._num_key_heads :]

    def after(self, hidden: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
        hidden = _added(hidden, heard, self._out)
        rows = _normed(hidden, self._second_norm)
        if self._experts is not None:
            return hidden + self._experts(rows)
        gate, up = self._gate_up(rows).chunk(2, dim=-1)
        return _added(hidden, self._act(gate) * up, self._down)


class _Rotary:
    """Cosines and sines by position, computed once. Each pair of a head's numbers turns by one of the three axes."""

    def __init__(self, rotary: nn.Module, model_type: str) -> None:
        self._inverse, self._scaling = rotary.inv_freq.float(), rotary.attention_scaling
        axes = _axes(getattr(rotary, "mrope_section", None), len(self._inverse), model_type.startswith(QWEN3))
        self._axes = torch.tensor(axes, device=self._inverse.device)
        self._pairs = torch.arange(len(axes), device=self._inverse.device)
        self._cos = self._sin = self._inverse.new_empty(0, len(axes))

    def __call__(self, positions: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Each `[n, 1, head_dim / 2]`, in the type of `like`."""
        self._reach(int(positions.max()) + 1, like)
        rows = positions.to(like.device).T[:, self._axes]
        return self._cos[rows, self._pairs][:, None], self._sin[rows, self._pairs][:, None]

    def _reach(self, length: int, like: torch.Tensor) -> None:
        if length <= self._cos.shape[0] and self._cos.dtype == like.dtype:
            return
        length = max(length, 2 * self._cos.shape[0], _FIRST_POSITIONS)
        angles = torch.arange(length, device=self._inverse.device).float()[:, None] * self._inverse
        self._cos, self._sin = ((part * self._scaling).to(like.dtype) for part in (angles.cos(), angles.sin()))


def _axes(sections: Sequence[int] | None, num_pairs: int, are_interleaved: bool) -> list[int]:
    """Which axis each pair turns by (`recomposition_frequencies` of both families). Without sections there is one."""
    axes = [0] * num_pairs
    if sections is None:
        return axes
    if not are_interleaved:
        return [index % 3 for index, size in enumerate(sections) for _ in range(size)]
    for axis in (1, 2):
        for pair in range(axis, min(3 * sections[axis], num_pairs), 3):
            axes[pair] = axis
    return axes


def _joined_norm(attention: nn.Module, num_heads: int, num_key_heads: int) -> tuple[torch.Tensor, float]:
    """Weights `[head, head_dim]` of the norms of all queries and keys."""
    query, key = attention.q_norm, attention.k_norm
    weight = torch.cat([query.weight.expand(num_heads, -1), key.weight.expand(num_key_heads, -1)])
    return weight.detach(), query.variance_epsilon


def joined(*linears: nn.Linear) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weight and bias of several layers over the same input as one; each keeps its part, so nothing is held twice."""
    weight = torch.cat([linear.weight.data for linear in linears])
    start = 0
    for linear in linears:
        linear.weight.data = weight[start : start + linear.out_features]
        start += linear.out_features
    return weight, _joined_bias(*linears)


def _joined_bias(*linears: nn.Linear) -> torch.Tensor | None:
    if linears[0].bias is None:
        return None
    bias = torch.cat([linear.bias.data for linear in linears])
    for linear, part in zip(linears, bias.split([linear.out_features for linear in linears])):
        linear.bias.data = part
    return bias


def _added(hidden: torch.Tensor, rows: torch.Tensor, weight: Product | nn.Module) -> torch.Tensor:
    return weight.added(hidden, rows) if isinstance(weight, Product) else hidden + weight(rows)


def _turned(rows: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = rows.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def _normed(hidden: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    return F.rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)
