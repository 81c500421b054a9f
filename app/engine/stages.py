"""Puts the engine's stages over a model that is in memory, by its family; reads no file."""

import torch
from transformers import PreTrainedModel

from app.engine.code2wav import Code2Wav
from app.engine.decoding import DecodeRunner
from app.engine.describe import speaker_codes
from app.engine.flow import Voice
from app.engine.spec import QWEN3, ModelSpec
from app.engine.static import StaticRunner
from app.engine.talker import Talker
from app.engine.talker_qwen3 import Qwen3Talker, Speaker
from app.engine.thinker import Thinker
from app.engine.thinker_qwen3 import Qwen3Thinker
from app.engine.token2wav import Token2Wav
from app.engine.turn import Stages


def build_stages(model: PreTrainedModel, spec: ModelSpec, records: bool = False) -> Stages:
    """`records`: tokens are decoded on tables that stay where they are, by CUDA graphs where there is a GPU."""
    build = _qwen3 if spec.family == QWEN3 else _qwen2_5
    thinker, talker, token2wav, voices = build(model, spec, records, StaticRunner if records else DecodeRunner)
    return Stages(
        thinker=thinker,
        talker=talker,
        token2wav=token2wav,
        voices=voices,
        ends_of_text=frozenset(spec.ids.ends_of_text),
        output_sample_rate=spec.output_sample_rate,
        codec_frame_s=spec.codec_frame_s,
    )


def _qwen2_5(model: PreTrainedModel, spec: ModelSpec, records: bool, make_runner: type[DecodeRunner]) -> tuple:
    thinker = Thinker(model.thinker, make_runner)
    if not spec.has_talker:
        return thinker, None, None, {}
    token2wav = Token2Wav(model.token2wav.float(), records)
    voices = {name: _voice(name, entry, token2wav.device) for name, entry in model.speaker_map.items()}
    return thinker, Talker(model.talker, thinker, make_runner), token2wav, voices


def _qwen3(model: PreTrainedModel, spec: ModelSpec, records: bool, make_runner: type[DecodeRunner]) -> tuple:
    if not spec.has_talker:
        return Qwen3Thinker(model.thinker, make_runner), None, None, {}
    config = model.config.talker_config
    thinker = Qwen3Thinker(model.thinker, make_runner, accept_hidden_layer=config.accept_hidden_layer)
    with torch.inference_mode():
        talker = Qwen3Talker(model.talker, thinker, model.config, make_runner)
    voices = {name: Speaker(name, code) for name, code in speaker_codes(model).items()}
    return thinker, talker, Code2Wav(model.code2wav.float(), records), voices


def _voice(name: str, entry: dict, device: torch.device) -> Voice:
    cond, ref_mel = (entry[key].to(device, torch.float32) for key in ("cond", "ref_mel"))
    return Voice(name, cond, ref_mel, int(entry["bos_token"]))
