"""The Thinker as it is trained: batched, with the library's key names and the same numbers; knows no data.

`Qwen2_5OmniThinkerForConditionalGeneration` takes these weights as they are (`lm_head` is the embedding table). Its own
forward pass is written for one long row of packed blocks; this one takes batches, and its plain attention is about
twice as fast to train on a CPU as the fused one.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from training.thinker.config import MERGE_SIZE, NUM_MEL_BINS, PATCH_SIZE, TEMPORAL_PATCH_SIZE, ThinkerSizes

# Per RGB channel, of values in 0..1: those of the published image processor.
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
MASKED = -1e4

Cache = list[tuple[torch.Tensor, torch.Tensor] | None]


class RmsNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self._eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self._eps)


class GatedMlp(nn.Module):
    def __init__(self, width: int, ffn: int, bias: bool) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, ffn, bias=bias)
        self.up_proj = nn.Linear(width, ffn, bias=bias)
        self.down_proj = nn.Linear(ffn, width, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Attention over `[batch, head, token, width]`; `mask` is added to the scores."""
    if not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask.to(q.dtype))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask.to(scores.dtype)
    return torch.softmax(scores, -1, dtype=scores.dtype).to(v.dtype) @ v


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], -1) * sin


def causal_mask(length: int, device: torch.device) -> torch.Tensor:
    return torch.full((length, length), MASKED, device=device).triu(1)


class LanguageAttention(nn.Module):
    def __init__(self, sizes: ThinkerSizes) -> None:
        super().__init__()
        kv_width = sizes.num_kv_heads * sizes.head_width
        self._head_width = sizes.head_width
        self._num_shared = sizes.num_heads // sizes.num_kv_heads
        self.q_proj = nn.Linear(sizes.hidden, sizes.hidden)
        self.k_proj = nn.Linear(sizes.hidden, kv_width)
        self.v_proj = nn.Linear(sizes.hidden, kv_width)
        self.o_proj = nn.Linear(sizes.hidden, sizes.hidden, bias=False)

    def forward(
        self,
        x: torch.Tensor,
        rotation: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor | None,
        past: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        q, k, v = (
            projection(x).unflatten(-1, (-1, self._head_width)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, *rotation), rotate(k, *rotation)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        out = attend(q, k.repeat_interleave(self._num_shared, 1), v.repeat_interleave(self._num_shared, 1), mask)
        return self.o_proj(out.transpose(1, 2).flatten(2)), (k, v)


class LanguageLayer(nn.Module):
    def __init__(self, sizes: ThinkerSizes) -> None:
        super().__init__()
        self.self_attn = LanguageAttention(sizes)
        self.mlp = GatedMlp(sizes.hidden, sizes.ffn, bias=False)
        self.input_layernorm = RmsNorm(sizes.hidden, sizes.norm_eps)
        self.post_attention_layernorm = RmsNorm(sizes.hidden, sizes.norm_eps)


class LanguageModel(nn.Module):
    """Embedded tokens to states. The table that embeds also reads the states out."""

    def __init__(self, sizes: ThinkerSizes, num_rows: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.embed_tokens = nn.Embedding(num_rows, sizes.hidden)
        self.layers = nn.ModuleList([LanguageLayer(sizes) for _ in range(sizes.num_layers)])
        self.norm = RmsNorm(sizes.hidden, sizes.norm_eps)
        exponents = torch.arange(0, sizes.head_width, 2).float() / sizes.head_width
        self.register_buffer("inv_freq", 1.0 / sizes.rope_theta**exponents, persistent=False)

    def forward(
        self,
        embedded: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor | None = None,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """`embedded` `[batch, token, hidden]`, `positions` `[3, batch, token]` to normed states, as the library's last.

        Without a `mask` every token sees those before it. `cache` has an entry per layer and is extended in place.
        """
        x = embedded
        rotation = self._rotation(positions, embedded)
        if mask is None:
            mask = causal_mask(x.shape[1], x.device)
            mask = mask.bfloat16() if torch.is_autocast_enabled(x.device.type) else mask
        for index, layer in enumerate(self.layers):
            past = None if cache is None else cache[index]
            out, present = layer.self_attn(layer.input_layernorm(x), rotation, mask, past)
            if cache is not None:
                cache[index] = present
            x = x + out
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self.norm(x)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return F.linear(states, self.embed_tokens.weight)

    def _rotation(self, positions: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = positions[..., None].float() * self.inv_freq
        parts = [part[axis] for axis, part in enumerate(angles.split(self.sizes.mrope_section, -1))]
        angles = torch.cat(parts * 2, -1)[:, None]
        dtype = torch.bfloat16 if torch.is_autocast_enabled(like.device.type) else like.dtype
        return angles.cos().to(dtype), angles.sin().to(dtype)


class AudioAttention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self._num_heads = num_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        q, k, v = (
            projection(x).unflatten(-1, (self._num_heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(attend(q, k, v, mask).transpose(1, 2).flatten(2))


class AudioLayer(nn.Module):
    def __init__(self, width: int, num_heads: int, ffn: int) -> None:
        super().__init__()
        self.self_attn = AudioAttention(width, num_heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, ffn)
        self.fc2 = nn.Linear(ffn, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x), mask)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class AudioTower(nn.Module):
    """Log-mel in blocks of 2 s, each seen by itself, to 25 vectors a second."""

    def __init__(self, sizes: ThinkerSizes) -> None:
        super().__init__()
        width = sizes.audio.hidden
        self._block = 2 * sizes.num_window_frames
        self.conv1 = nn.Conv1d(NUM_MEL_BINS, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        # Of the library's class, which never reads it.
        self.audio_bos_eos_token = nn.Embedding(2, sizes.hidden)
        self.layers = nn.ModuleList(
            [AudioLayer(width, sizes.audio.num_heads, sizes.audio.ffn) for _ in range(sizes.audio.num_layers)]
        )
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Linear(width, sizes.hidden)
        step = math.log(10_000) / (width // 2 - 1)
        angles = torch.arange(self._block)[:, None] * torch.exp(-step * torch.arange(width // 2).float())
        self.register_buffer("sinusoids", torch.cat([angles.sin(), angles.cos()], 1), persistent=False)

    def forward(self, mels: list[torch.Tensor]) -> list[torch.Tensor]:
        """Clips `[frame, mel]` to their vectors `[token, hidden]`."""
        return self.both(mels)[0]

    def both(self, mels: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """And what the first half of the layers makes of them, 50 vectors `[half, width]` a second, which are only
        asked for phones while the tower learns."""
        blocks = [block for mel in mels for block in mel.split(self._block)]
        found = [self.proj.weight.new_zeros(0, self.proj.out_features)] * len(blocks)
        middles = [self.proj.weight.new_zeros(0, self.proj.in_features)] * len(blocks)
        # The end of a clip may be too short for a token.
        heard = [index for index, block in enumerate(blocks) if _block_tokens(len(block))]
        for group in groups_by_length([len(blocks[index]) for index in heard]):
            indices = [heard[place] for place in group]
            for index, vectors, middle in zip(indices, *self._blocks([blocks[index] for index in indices])):
                found[index], middles[index] = vectors, middle
        first, clips, middles_of_clips = 0, [], []
        for mel in mels:
            last = first + -(-len(mel) // self._block)
            clips.append(torch.cat(found[first:last]))
            middles_of_clips.append(torch.cat(middles[first:last]))
            first = last
        return clips, middles_of_clips

    def _blocks(self, blocks: list[torch.Tensor]) -> tuple[tuple[torch.Tensor, ...], list[torch.Tensor]]:
        device = self.proj.weight.device
        lengths = torch.tensor([len(block) for block in blocks], device=device)
        x = nn.utils.rnn.pad_sequence(blocks, batch_first=True).to(device)
        num_frames = x.shape[1]
        is_frame = torch.arange(num_frames, device=device) < lengths[:, None]
        x = F.gelu(self.conv1(x.transpose(1, 2)))
        x = F.gelu(self.conv2(x * is_frame[:, None].to(x.dtype))).transpose(1, 2)
        x = x + self.sinusoids[: x.shape[1]].to(x.dtype)
        halves = (lengths - 1) // 2 + 1
        mask = None
        if int(halves.min()) < x.shape[1]:
            is_hidden = torch.arange(x.shape[1], device=device) >= halves[:, None]
            mask = torch.zeros(is_hidden.shape, device=device, dtype=x.dtype).masked_fill(is_hidden, MASKED)
            mask = mask[:, None, None]
        for index, layer in enumerate(self.layers):
            x = layer(x, mask)
            if index + 1 == len(self.layers) // 2:
                middle = [row[:half] for row, half in zip(x, halves.tolist())]
        num_pairs = x.shape[1] // 2
        x = x[:, : 2 * num_pairs].unflatten(1, (num_pairs, 2)).mean(2)
        x = self.proj(self.ln_post(x))
        vectors = x[torch.arange(num_pairs, device=device) < ((halves - 2) // 2 + 1).clamp(min=0)[:, None]]
        return vectors.split([_block_tokens(len(block)) for block in blocks]), middle


def groups_by_length(lengths: list[int]) -> list[list[int]]:
    """Indices in up to three groups, so that padding costs little: the longest blocks, most of them whole ones, apart
    from the ends of clips."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    groups: list[list[int]] = []
    for index in reversed(order):
        is_near = groups and lengths[index] >= 0.75 * lengths[groups[-1][0]]
        if groups and (is_near or len(groups) == 3):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def num_sound_tokens(num_frames: int, block: int = 200) -> int:
    """Tokens of a clip of so many log-mel frames: the sum over its blocks."""
    whole, rest = divmod(num_frames, block)
    return whole * _block_tokens(block) + _block_tokens(rest)


def _block_tokens(num_frames: int) -> int:
    return max(0, ((num_frames - 1) // 2 + 1 - 2) // 2 + 1)


class VisionAttention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self._num_heads = num_heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        q, k, v = (
            projection(x).unflatten(-1, (self._num_heads, -1)).transpose(1, 2)
            for projection in (self.q, self.k, self.v)
        )
        out = attend(rotate(q, *rotation), rotate(k, *rotation), v, None)
        return self.proj(out.transpose(1, 2).flatten(2))


class VisionBlock(nn.Module):
    def __init__(self, width: int, num_heads: int, ffn: int) -> None:
        super().__init__()
        self.norm1 = RmsNorm(width)
        self.norm2 = RmsNorm(width)
        self.attn = VisionAttention(width, num_heads)
        self.mlp = GatedMlp(width, ffn, bias=True)

    def forward(self, x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        x = x + self.attn(self.norm1(x), rotation)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """A convolution whose windows do not overlap, applied to patches that are cut already."""

    def __init__(self, width: int) -> None:
        super().__init__()
        kernel = (TEMPORAL_PATCH_SIZE, PATCH_SIZE, PATCH_SIZE)
        self.proj = nn.Conv3d(3, width, kernel, kernel, bias=False)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return F.linear(patches, self.proj.weight.flatten(1))


class PatchMerger(nn.Module):
    """Four neighbouring patches to one vector of the language model."""

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self._merged = MERGE_SIZE**2 * width
        self.ln_q = RmsNorm(width)
        self.mlp = nn.Sequential(nn.Linear(self._merged, self._merged), nn.GELU(), nn.Linear(self._merged, out_width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mlp(self.ln_q(x).reshape(x.shape[0], -1, self._merged))


class VisionTower(nn.Module):
    """Pictures of one grid at a time to a vector per 28 x 28 pixels."""

    def __init__(self, sizes: ThinkerSizes) -> None:
        super().__init__()
        vision = sizes.vision
        self.patch_embed = PatchEmbed(vision.hidden)
        self.blocks = nn.ModuleList(
            [VisionBlock(vision.hidden, vision.num_heads, vision.ffn) for _ in range(vision.num_layers)]
        )
        self.merger = PatchMerger(vision.hidden, sizes.hidden)
        half = vision.hidden // vision.num_heads // 2
        inv_freq = 1.0 / 10_000 ** (torch.arange(0, half, 2).float() / half)
        self.register_buffer("inv_freq", inv_freq, persistent=False)
        per_channel = TEMPORAL_PATCH_SIZE * PATCH_SIZE**2
        for name, values in (("pixel_mean", PIXEL_MEAN), ("pixel_deviation", PIXEL_DEVIATION)):
            row = (torch.tensor(values) * 255).repeat_interleave(per_channel)
            self.register_buffer(name, row, persistent=False)

    def forward(self, patches: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """Patches uint8 `[picture, patch, value]` of `grid` (rows, columns in tokens) to `[picture, token, hidden]`."""
        x = self.patch_embed((patches.to(self.pixel_mean.device).float() - self.pixel_mean) / self.pixel_deviation)
        rotation = self._rotation(grid, x)
        for block in self.blocks:
            x = block(x, rotation)
        return self.merger(x)

    def _rotation(self, grid: tuple[int, int], like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows, columns = grid
        places = torch.cartesian_prod(torch.arange(MERGE_SIZE * rows), torch.arange(MERGE_SIZE * columns))
        places = places.view(rows, MERGE_SIZE, columns, MERGE_SIZE, 2).permute(0, 2, 1, 3, 4).reshape(-1, 2)
        angles = (places.to(like.device)[..., None].float() * self.inv_freq).flatten(1)
        angles = torch.cat([angles, angles], -1)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


class Thinker(nn.Module):
    """All three parts under the library's key names."""

    def __init__(self, sizes: ThinkerSizes, num_rows: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.model = LanguageModel(sizes, num_rows)
        self.audio_tower = AudioTower(sizes)
        self.visual = VisionTower(sizes)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if "embed" in name and parameter.ndim == 2:
                nn.init.normal_(parameter, 0, self.sizes.hidden**-0.5)
            elif parameter.ndim >= 2:
                nn.init.normal_(parameter, 0, parameter[0].numel() ** -0.5)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            if name.endswith(("o_proj.weight", "mlp.down_proj.weight")) and name.startswith("model."):
                parameter /= math.sqrt(2 * self.sizes.num_layers)
        # A tower's vectors start as long as those of words.
        self.audio_tower.proj.weight /= self.sizes.hidden**0.5
        self.visual.merger.mlp[2].weight /= self.sizes.hidden**0.5


def weights_of(thinker: Thinker, *prefixes: str) -> dict[str, torch.Tensor]:
    """The weights whose names begin with one of `prefixes`; all without any."""
    return {key: value for key, value in thinker.state_dict().items() if not prefixes or key.startswith(prefixes)}
