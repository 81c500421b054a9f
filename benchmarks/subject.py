"""What a benchmark measures: one model in memory that both our engine and the library's `generate()` run."""

import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2_5OmniForConditionalGeneration

from app.engine.describe import read_spec
from app.engine.engine import Engine
from app.engine.loader import build_engine
from app.engine.tiny import write_tiny_checkpoint
from app.engine.tokenizer_parts import build_tokenizer
from benchmarks.geometry import build_7b, build_200m, spec_7b

BUILDERS = {"7b": build_7b, "200m": build_200m}


@dataclass(frozen=True)
class Subject:
    """`engine` and `model` share their weights."""

    name: str
    engine: Engine
    model: Qwen2_5OmniForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    device: torch.device


def load_subject(
    checkpoint: str | None, geometry: str, device: torch.device, dtype: torch.dtype | None = None
) -> Subject:
    """A checkpoint's folder or hub id, else random weights of a geometry: "tiny", or "200m" and "7b", made on the
    device."""
    dtype = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    if checkpoint is None and geometry in BUILDERS:
        model, tokenizer = BUILDERS[geometry](device, dtype), build_tokenizer()
        return _subject(model, tokenizer, spec_7b(model, tokenizer, name=f"random-{geometry}"), device)
    if checkpoint is None:
        with tempfile.TemporaryDirectory() as folder:
            write_tiny_checkpoint(Path(folder) / "tiny")
            return _load(str(Path(folder) / "tiny"), dtype, device)
    return _load(checkpoint, dtype, device)


def _load(checkpoint: str, dtype: torch.dtype, device: torch.device) -> Subject:
    model = Qwen2_5OmniForConditionalGeneration.from_pretrained(
        checkpoint, dtype=dtype, device_map={"": device}, use_safetensors=True
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    return _subject(model, tokenizer, read_spec(checkpoint, model, tokenizer, "sdpa"), device)


def _subject(model, tokenizer, spec, device: torch.device) -> Subject:
    engine = build_engine(model, tokenizer, spec, max_turns=4, records=device.type == "cuda")
    return Subject(spec.name, engine, model, tokenizer, device)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} thread(s)"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")
