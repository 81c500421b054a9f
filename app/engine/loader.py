"""Loads a Qwen2.5-Omni or Qwen3-Omni checkpoint, a local folder or a hub id, into an engine; knows no session."""

import importlib
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2_5OmniForConditionalGeneration,
    Qwen3OmniMoeForConditionalGeneration,
)

from app.engine.describe import read_spec, short_name
from app.engine.engine import Engine
from app.engine.progress import counted_bars
from app.engine.quantize import STAGE, check, pack
from app.engine.spec import QWEN2_5, QWEN3, ModelSpec
from app.engine.stages import build_stages
from app.engine.voices import read_voices
from app.errors import BadCheckpoint, BadConfig

T = TypeVar("T")

# What the library and its file formats throw where a checkpoint is none, or lacks what it should have.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    SafetensorError,
    pickle.UnpicklingError,
)
# As the hub has them: a user or organisation, and a name.
_HUB_ID = re.compile(r"[\w-]+(\.[\w-]+)*/[\w-]+(\.[\w-]+)*")
MODELS = {QWEN2_5: Qwen2_5OmniForConditionalGeneration, QWEN3: Qwen3OmniMoeForConditionalGeneration}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
ATTENTIONS = ("auto", "flash_attention_2", "sdpa", "eager")
DEVICES = ("auto", "cuda", "mps", "cpu")
ENGINES = ("auto", "eager", "graphs")

# Below this size a layer's work is shorter than the meeting of two threads: on two cores a tiny model runs as fast on
# one thread (real-time factor 0.29 on one, 0.29 on two at twice the CPU time) and far slower on two when others run.
SINGLE_THREAD_PARAMETERS = 200_000_000


@dataclass(frozen=True)
class EngineOptions:
    """`checkpoint`: folder or hub id. "auto" finds the best that this machine has. `max_turns` run at the same time.
    `voices`: files of more speakers, see `app.engine.voices`."""

    checkpoint: str
    device: str = "auto"
    dtype: str = "auto"
    attention: str = "auto"
    engine: str = "auto"
    text_only: bool = False
    max_turns: int = 4
    voices: tuple[Path, ...] = ()
    quantize: str = "none"


def load_engine(options: EngineOptions, progress: Callable[[str, float], None]) -> Engine:
    """Read configuration, weights and voices. `progress(stage, share)` with share in [0, 1].

    Weights come from safetensors and voices with `weights_only`: no pickled code is run.
    Raises BadCheckpoint and BadConfig with one sentence.
    """
    device = _device(options.device)
    dtype = _dtype(options.dtype, device)
    attention = _attention(options.attention, device, dtype)
    records = _records(options.engine, device)
    check(options.quantize, device)
    progress("configuration", 0.0)
    if not options.checkpoint:
        raise BadCheckpoint("No checkpoint is named; give a local folder or a hub id such as Qwen/Qwen2.5-Omni-3B.")
    config = _read(options.checkpoint, lambda: AutoConfig.from_pretrained(options.checkpoint))
    if config.model_type not in MODELS:
        raise BadCheckpoint(
            f"{short_name(options.checkpoint)} is a {config.model_type!r} model; choose a Qwen2.5-Omni or Qwen3-Omni "
            "checkpoint such as Qwen/Qwen2.5-Omni-3B."
        )
    if config.model_type == QWEN3:
        _check_qwen3(options)
    if options.text_only:
        config.enable_audio_output = False
    progress("weights", 0.0)
    # What is to become narrow waits in the machine's own memory until it is.
    first_device = device if options.quantize == "none" else torch.device("cpu")
    model = _read(
        options.checkpoint, lambda: _load_weights(options.checkpoint, config, first_device, dtype, attention, progress)
    )
    if device.type == "cpu" and model.num_parameters() < SINGLE_THREAD_PARAMETERS:
        torch.set_num_threads(1)
    if options.quantize != "none":
        _read(options.checkpoint, lambda: pack(model, options.quantize, device, lambda share: progress(STAGE, share)))
    progress("tokenizer", 1.0)
    tokenizer = _read(options.checkpoint, lambda: AutoTokenizer.from_pretrained(options.checkpoint))
    if options.voices:
        if options.text_only:
            raise BadConfig("--voices is of no use with --text-only: leave one of them out.")
        num_tokens = model.thinker.get_input_embeddings().num_embeddings
        model.speaker_map |= read_voices(options.voices, model.speaker_map, num_tokens)
    spec = _read(options.checkpoint, lambda: read_spec(options.checkpoint, model, tokenizer, attention))
    spec = replace(spec, quantize=options.quantize)
    engine = build_engine(model, tokenizer, spec, options.max_turns, records=records)
    if records:
        _record(engine, progress)
    progress("ready", 1.0)
    return engine


@torch.inference_mode()
def _record(engine: Engine, progress: Callable[[str, float], None]) -> None:
    """All that first turns would else record while others wait."""
    stages, defaults = engine.stages, engine.spec.defaults
    works = [
        partial(stage.runner.prepare, stage.input_width)
        for stage in (stages.thinker, stages.talker)
        if stage is not None
    ]
    if stages.token2wav is not None:
        voice = next(iter(stages.voices.values()))
        works += stages.token2wav.recordings(voice, defaults.guidance)
    for number, work in enumerate(works):
        progress("graphs", number / len(works))
        work()


def build_engine(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    spec: ModelSpec,
    max_turns: int,
    records: bool = False,
) -> Engine:
    """An engine over a model that is already in memory. `records`: see `build_stages`."""
    stages = build_stages(model, spec, records)
    if stages.thinker.device.type == "cuda":
        # torch prefers cuDNN's attention on some GPUs. It plans for tens of milliseconds at every new pair of lengths,
        # and a conversation has a new one at each step (`check_prefer_cudnn_attention`, cudnn/MHA.cpp).
        torch.backends.cuda.enable_cudnn_sdp(False)
    return Engine(spec, tokenizer, stages, max_turns)


def _check_qwen3(options: EngineOptions) -> None:
    if options.voices:
        raise BadConfig(
            "--voices is of no use with Qwen3-Omni, whose voices are part of its weights: leave it out, or choose a "
            "Qwen2.5-Omni checkpoint."
        )
    if options.quantize != "none":
        raise BadConfig(
            f"--quantize {options.quantize} is not there for Qwen3-Omni, whose experts it does not know: leave it out, "
            "or choose a Qwen2.5-Omni checkpoint."
        )


def _read(checkpoint: str, reading: Callable[[], T]) -> T:
    try:
        return reading()
    except _UNREADABLE as error:
        name = short_name(checkpoint)
        if isinstance(error, torch.OutOfMemoryError):
            raise BadCheckpoint(
                f"{name} does not fit this device's memory; choose a smaller checkpoint, --quantize int4 or "
                "--text-only."
            ) from error
        if _HUB_ID.fullmatch(checkpoint) and not Path(checkpoint).exists():
            raise BadCheckpoint(
                f"{name} could not be fetched from the hub; check its name and the network, log in with `hf auth "
                "login` where it asks for that, or give a complete local folder."
            ) from error
        raise BadCheckpoint(
            f"{name} cannot be loaded as a Qwen-Omni checkpoint ({type(error).__name__}); give a complete local folder "
            "with safetensors weights (of Qwen2.5-Omni with spk_dict.pt, too), or a hub id such as "
            "Qwen/Qwen2.5-Omni-3B."
        ) from error


def _load_weights(
    checkpoint: str,
    config: PretrainedConfig,
    device: torch.device,
    dtype: torch.dtype,
    attention: str,
    progress: Callable[[str, float], None],
) -> PreTrainedModel:
    with counted_bars(lambda share: progress("weights", share)):
        model = MODELS[config.model_type].from_pretrained(
            checkpoint,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            device_map={"": device},
            use_safetensors=True,
        )
    return model.eval()


def _device(name: str) -> torch.device:
    if name not in DEVICES:
        raise BadConfig(f"--device is {name!r}; choose one of {', '.join(DEVICES)}.")
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if has[device])
    if not has[name]:
        raise BadConfig(f"--device is {name} but this machine has none that PyTorch can use; choose --device cpu.")
    return torch.device(name)


def _records(name: str, device: torch.device) -> bool:
    if name not in ENGINES:
        raise BadConfig(f"--engine is {name!r}; choose one of {', '.join(ENGINES)}.")
    if name == "graphs" and device.type != "cuda":
        raise BadConfig("--engine graphs needs an NVIDIA GPU; choose --engine auto.")
    return device.type == "cuda" and name != "eager"


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return {"cuda": torch.bfloat16, "mps": torch.float16, "cpu": torch.float32}[device.type]
    if name not in DTYPES:
        raise BadConfig(f"--dtype is {name!r}; choose one of auto, {', '.join(DTYPES)}.")
    return DTYPES[name]


def _attention(name: str, device: torch.device, dtype: torch.dtype) -> str:
    if name not in ATTENTIONS:
        raise BadConfig(f"--attention is {name!r}; choose one of {', '.join(ATTENTIONS)}.")
    is_usable = device.type == "cuda" and dtype != torch.float32 and _is_ampere(device) and can_import("flash_attn")
    if name == "auto":
        return "flash_attention_2" if is_usable else "sdpa"
    if name == "flash_attention_2" and not is_usable:
        raise BadConfig(
            "--attention flash_attention_2 needs a working flash-attn package, an Ampere or newer GPU and a 16-bit "
            "--dtype; choose --attention auto."
        )
    return name


def _is_ampere(device: torch.device) -> bool:
    """Or newer: on older GPUs flash-attn 2 fails in the middle of a turn."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def can_import(name: str) -> bool:
    """A compiled package that was built for another PyTorch is there and cannot be imported."""
    try:
        importlib.import_module(name)
    except (ImportError, OSError):
        return False
    return True
