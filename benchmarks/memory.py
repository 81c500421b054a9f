"""The most memory that a video of a minute takes, with its sound, at two pictures a second, in bf16 at the published 7B
size with random weights.

    python -m benchmarks.memory                  on a GPU measured, else computed
    python -m benchmarks.memory --device meta    computed

Computed: the same modules run on tensors that have shapes and no memory, and what is alive after every operation is
added up. Attention counts as a fused kernel does: its result and a number per row. Left out: what kernels take for
themselves while they run, the rounding of the allocator, CUDA's own context.

Rows: ours as it is, with tables for CUDA graphs and without ("eager"); ours when each segment of 2 s, and the Talker's
whole prompt, went through at once; `generate()`, up to its first token. The last line is JSON.
"""

import argparse
import json
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache
from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni as library
from transformers.vision_utils import get_vision_cu_seqlens, get_vision_position_ids, get_vision_window_index

from app.chatml.render import DEFAULT_SYSTEM_PROMPT, render_turn
from app.engine import thinker as thinker_module
from app.engine.decoding import DecodeRunner, DecodeStep
from app.engine.spec import ModelSpec
from app.engine.state import EngineState
from app.engine.static import StaticRunner
from app.engine.talker import Talker
from app.engine.thinker import Thinker
from app.engine.token2wav import DEFAULT_WINDOWS, Token2Wav
from app.engine.tokenizer_parts import build_tokenizer
from app.session.fit import Load, fit_turn
from app.types.media import Audio, Video
from app.types.prompt import CHUNK_TOKENS, Prompt, VisionBlock
from app.types.turn import TextPart, TurnSettings, VideoPart
from benchmarks.geometry import build_7b, spec_7b
from benchmarks.subject import Subject, hardware, load_subject

SECONDS, FPS = 60, 2.0
# Frames as they are fitted to the tower's squares. Of 60 s the context of 32,768 tokens holds no larger ones than 480p.
SIZES = {"640 x 360": (364, 644), "854 x 480": (476, 840)}
HEADLINE = "854 x 480"
# The table of the model card, for a video of 60 s: bf16, flash_attention_2, size of its frames not told.
OFFICIAL_GB = 60.2
NO_LIMIT = 10**9


@dataclass(frozen=True)
class Way:
    """How a prompt goes through: at most `num_rows` tokens at once; `num_patches`, `num_blocks`: at once in the towers;
    `runner`: how tokens are decoded."""

    num_rows: int
    num_patches: int
    num_blocks: int
    runner: type[DecodeRunner] = DecodeRunner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "meta", choices=("cuda", "meta"))
    parser.add_argument("--num-layers", type=int, help="at most so many in each stack: to try the script out")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    figures = measured() if options.device == "cuda" else computed(options.num_layers)
    print(json.dumps(figures | {"torch": torch.__version__, "transformers": transformers.__version__}))


# -- computed ----------------------------------------------------------------------------------------------------------


def computed(num_layers: int | None = None, sizes: dict[str, tuple[int, int]] = SIZES) -> dict:
    tokenizer = build_tokenizer()
    model = build_7b("meta", num_layers=num_layers)
    spec = spec_7b(model, tokenizer)
    parts = Parts(model)
    weights = sum(tensor.nbytes for tensor in parts.weights)
    limits = CHUNK_TOKENS, thinker_module.MAX_PATCHES, thinker_module.MAX_SOUND_BLOCKS
    ways = {
        "graphs": Way(*limits, StaticRunner),
        "eager": Way(*limits),
        "unlimited": Way(NO_LIMIT, NO_LIMIT, 1),
    }
    figures: dict[str, Any] = {"device": "meta", "weights_gb": _gb(weights), "official_gb_60s_video": OFFICIAL_GB}
    print(f"Computed, not measured: {SECONDS} s of video with sound, {FPS:g} pictures a second, bf16")
    print(f"weights {weights / 1e9:.1f} GB; the model card says {OFFICIAL_GB} GB for all\n")
    print(f"{'':26}{'tokens':>8}{'kept':>10}{'passing':>10}{'peak':>10} GB")
    for name, (height, width) in sizes.items():
        cut, whole = (video_prompt(spec, tokenizer, height, width, is_cut) for is_cut in (True, False))
        found: dict[str, Any] = {"tokens": cut.num_tokens}
        runs = {key: partial(parts.answered, cut, way) for key, way in ways.items()}
        runs["generate()"] = partial(parts.generated, whole)
        for way_name, run in runs.items():
            with torch.inference_mode(), AsOnGpu(), LiveBytes(parts.weights) as watch:
                kept = run(watch)
            bytes_ = (kept, watch.peak - kept, weights + watch.peak)
            row = "".join(f"{some / 1e9:10.2f}" for some in bytes_)
            print(f"{name:14}{way_name:12}{cut.num_tokens:>8,}{row}  {watch.peak_at}", flush=True)
            kinds = dict(zip(("kept_gb", "transient_gb", "peak_gb"), map(_gb, bytes_)))
            found[way_name.replace(" ", "_").removesuffix("()")] = kinds | {"at": watch.peak_at}
        load = Load(0, 0, (), (), lambda part: 0)
        estimate = fit_turn(replace(spec, context_length=1 << 20), load, cut, TurnSettings(), None).num_bytes
        found["estimated_turn_gb"] = _gb(estimate)
        figures[name] = found
    if HEADLINE in sizes:
        figures["peak_gb_60s_video"] = figures[HEADLINE]["graphs"]["peak_gb"]
    return figures


class Parts:
    """The stages over one model without memory."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.thinker = MetaThinker(model.thinker)
        self.talker = Talker(model.talker, self.thinker)
        self.token2wav = Token2Wav(model.token2wav)
        self.weights = [*model.parameters(), *model.buffers()]

    def answered(self, prompt: Prompt, way: Way, watch: "LiveBytes") -> int:
        """Bytes that are kept when the prompt, a first word and the first window of speech are through."""
        thinker, talker = self.thinker, self.talker
        thinker.decoder.max_rows = talker.decoder.max_rows = way.num_rows
        words = way.runner(thinker.decoder, thinker.model.lm_head)
        codes = way.runner(talker.decoder, talker.model.codec_head, talker.model.thinker_to_talker_proj)
        for runner in (words, codes):
            if isinstance(runner, StaticRunner):
                runner.prepare(self.model.config.thinker_config.text_config.hidden_size)
        state = EngineState(has_talker=True)
        state.expect(prompt.num_tokens)
        with _limits(way.num_patches, way.num_blocks):
            for segment in prompt.segments:
                watch.stage = "towers"
                encoded = list(thinker.encode(segment))
                watch.stage = "thinker"
                hidden = list(thinker.prefill(state, segment, encoded))[-1]
                del encoded
        thinker.logits(hidden)
        place = torch.full((3, 1), state.top_position)
        words.forward([DecodeStep(words, state.thinker_cache, hidden[0], place, None)])
        watch.stage = "talker"
        list(talker.read(state, state.num_tokens))
        codes.forward([DecodeStep(codes, state.talker_cache, hidden[0], place, None)])
        watch.stage = "token2wav"
        dit, windows = self.token2wav.dit, DEFAULT_WINDOWS
        num_frames = dit.block_size + 2 * windows.vocoder_context
        self.token2wav.bigvgan.forward(torch.empty(1, num_frames, dit.mel_dim, device="meta"))
        del hidden
        return watch.now

    def generated(self, prompt: Prompt, watch: "LiveBytes") -> int:
        """The library's prefill: both towers on whole clips, the states of all layers, logits of all tokens."""
        segment = prompt.segments[0]
        thinker, cache = self.model.thinker, DynamicCache(config=self.model.config.thinker_config.text_config)
        watch.stage = "towers"
        with _limits(NO_LIMIT, NO_LIMIT):
            rows = list(self.thinker.encode(replace(segment, features=one_clip(segment.features))))
        watch.stage = "thinker"
        embeds = thinker.get_input_embeddings()(segment.token_ids.to("meta"))
        for item in rows:
            # `masked_scatter` into a copy, by a mask as wide as the embeddings.
            mask = torch.empty(embeds.shape, dtype=torch.bool, device="meta")
            embeds = embeds.masked_scatter(mask, item.rows)
        output = thinker(
            inputs_embeds=embeds[None],
            position_ids=segment.positions[:, None].to("meta"),
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=True,
        )
        kept = [*output.hidden_states, *(part for layer in cache.layers for part in (layer.keys, layer.values))]
        return sum(tensor.nbytes for tensor in kept)


class MetaThinker(Thinker):
    """The towers with what they compute of lengths, which shapes alone do not tell, made beforehand."""

    def _heard(self, mels: list[torch.Tensor]) -> torch.Tensor:
        tower, lengths = self.model.audio_tower, torch.tensor([mel.shape[1] for mel in mels])
        mel = torch.empty(mels[0].shape[0], int(lengths.sum()))
        padded, chunks = library.chunk_and_pad_features(mel, lengths, tower.n_window)
        return tower(
            torch.empty(mel.shape, dtype=tower.dtype, device="meta"),
            feature_lens=lengths,
            padded_feature=torch.empty(padded.shape, dtype=tower.dtype, device="meta"),
            chunk_lengths=chunks.to("meta"),
            valid_indices=library.get_valid_indices(chunks).to("meta"),
            pool_indices=library.get_pool_indices(lengths).to("meta"),
            cu_seqlens=library.get_audio_cu_seqlens(chunks),
        ).last_hidden_state

    def _seen(self, views: list[VisionBlock]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        tower, grids = self.model.visual, torch.tensor([view.grid_thw for view in views])
        merge = tower.spatial_merge_size
        window_index, window_lengths = get_vision_window_index(grids, merge, tower.window_size, tower.patch_size)
        num_patches = sum(len(view.patches) for view in views)
        seen = tower(
            torch.empty(num_patches, views[0].patches.shape[1], dtype=tower.dtype, device="meta"),
            grid_thw=grids,
            position_ids=get_vision_position_ids(grids, merge).to("meta"),
            cu_seqlens=get_vision_cu_seqlens(grids),
            window_index=window_index.to("meta"),
            cu_window_seqlens=window_lengths,
        )
        return seen.pooler_output, ()


class LiveBytes(TorchDispatchMode):
    """Adds up the memory that tensors on the meta device would take, but `known` ones. `peak`: the most at a time."""

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.peak_at = self.stage = ""
        self._known = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        for item in output if isinstance(output, (tuple, list)) else (output,):
            if isinstance(item, torch.Tensor) and item.device.type == "meta":
                self._add(item.untyped_storage())
        if self.now > self.peak:
            self.peak, self.peak_at = self.now, self.stage
        return output

    def _add(self, storage: torch.UntypedStorage) -> None:
        place, num_bytes = storage._cdata, storage.nbytes()
        if place not in self._known:
            self._known.add(place)
            self.now += num_bytes
            weakref.finalize(storage, self._free, place, num_bytes)

    def _free(self, place: int, num_bytes: int) -> None:
        self._known.discard(place)
        self.now -= num_bytes


class AsOnGpu(TorchFunctionMode):
    """Of attention what a fused kernel leaves: the result, and the logarithm of a sum for every row. What is taken off
    the device stays there."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.cpu:
            return args[0]
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, _, values = args[:3]
        rest = query.new_empty(query.shape[:-1], dtype=torch.float32)
        heard = query.new_empty(*query.shape[:-1], values.shape[-1])
        del rest
        return heard


@contextmanager
def _limits(num_patches: int, num_blocks: int) -> Iterator[None]:
    kept = thinker_module.MAX_PATCHES, thinker_module.MAX_SOUND_BLOCKS
    thinker_module.MAX_PATCHES, thinker_module.MAX_SOUND_BLOCKS = num_patches, num_blocks
    try:
        yield
    finally:
        thinker_module.MAX_PATCHES, thinker_module.MAX_SOUND_BLOCKS = kept


def one_clip(features: tuple) -> tuple:
    """The pieces of a video's pictures as one view, before its sounds."""
    views = [feature for feature in features if isinstance(feature, VisionBlock)]
    grid = (sum(view.grid_thw[0] for view in views), *views[0].grid_thw[1:])
    patches = torch.cat([view.patches for view in views])
    whole = VisionBlock(patches, grid, True, sum(view.num_tokens for view in views))
    return whole, *(feature for feature in features if not isinstance(feature, VisionBlock))


def video_prompt(spec: ModelSpec, tokenizer: Any, height: int, width: int, is_cut: bool) -> Prompt:
    """A grey video with a still sound track, and a question. `is_cut`: in segments, else in one."""
    frames = np.broadcast_to(np.uint8(128), (int(SECONDS * FPS), height, width, 3))
    video = Video(frames, FPS, Audio(np.zeros(SECONDS * 16_000, np.float32), 16_000))
    state = EngineState(has_talker=False)
    size = {} if is_cut else {"min_segment_tokens": NO_LIMIT}
    parts = (VideoPart(video), TextPart("What happens here?"))
    unlimited = replace(spec, context_length=1 << 20)
    return render_turn(unlimited, tokenizer, state, parts, DEFAULT_SYSTEM_PROMPT, **size)


# -- measured ----------------------------------------------------------------------------------------------------------


def measured(subject: Subject | None = None, sizes: dict[str, tuple[int, int]] = SIZES) -> dict:
    """A whole turn with some words and speech, on a GPU."""
    from benchmarks.latency import answer

    subject = subject or load_subject(None, "7b", torch.device("cuda"), torch.bfloat16)
    engine, device = subject.engine, subject.device
    settings = engine.spec.defaults
    settings = replace(
        settings,
        seed=0,
        thinker=replace(settings.thinker.greedy(), max_new_tokens=16),
        talker=replace(settings.talker, max_new_tokens=100),
    )
    weights = torch.cuda.memory_allocated(device)
    figures = {
        "device": "cuda",
        "hardware": hardware(device),
        "checkpoint": subject.name,
        "weights_gb": _gb(weights),
        "official_gb_60s_video": OFFICIAL_GB,
    }
    print(f"{subject.name} on {hardware(device)}: {SECONDS} s of video with sound, {FPS:g} pictures a second")
    print(f"weights {weights / 1e9:.1f} GB; the model card says {OFFICIAL_GB} GB for all\n")
    print(f"{'':14}{'tokens':>8}{'peak':>8}{'reserved':>10} GB")
    for name, (height, width) in sizes.items():
        prompt = video_prompt(engine.spec, subject.tokenizer, height, width, is_cut=True)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        state = engine.new_state()
        answer(subject, state, prompt, settings)
        state.close()
        peak, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
        print(f"{name:14}{prompt.num_tokens:>8,}{peak / 1e9:8.1f}{reserved / 1e9:10.1f}")
        figures[name] = {"tokens": prompt.num_tokens, "peak_gb": _gb(peak), "reserved_gb": _gb(reserved)}
    engine.close()
    if HEADLINE in sizes:
        figures["peak_gb_60s_video"] = figures[HEADLINE]["peak_gb"]
    return figures


def _gb(num_bytes: int) -> float:
    return round(num_bytes / 1e9, 3)


if __name__ == "__main__":
    main()
