"""Stage: the trained parts become one folder that plain transformers loads; `python -m training.export` ships it."""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast, Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration
from transformers.utils import logging as transformers_logging

from app.engine.tiny import build_processor, media_token_ids, talker_token_ids
from training import model_card
from training.scenes.grids import CLIP_TOKENS, PICTURE_TOKENS, TOKEN_SIDE
from training.speech import flow, vocoder
from training.speech.reply_voices import SAMPLE_RATE, VOICES
from training.talker.layout import SPEAKER_TOKENS
from training.talker.model import NUM_CODEC_IDS, SIZES
from training.talker.quiet import quiet
from training.talker.sound import GUIDANCE, ODE_POINTS
from training.thinker.config import library_config as thinker_config
from training.tokenizer import load as load_tokenizer
from training.workspace import DEFAULT_FOLDER, Workspace

NAME = "export"
SHIPPED = Path("assets/micro")
MAX_SIZE_MB = 30
# What only training needs to go on from a checkpoint: file of a stage, kept as STAGE/FILE/KEY.
TEACHERS_FILE = "training.safetensors"
TEACHERS = (
    ("codec", "codebook.safetensors"),
    ("hearing", "speller.safetensors"),
    ("seeing", "namer.safetensors"),
    ("flow", "speakers.safetensors"),
)
# The first of these that was trained is shipped.
TALKER_STAGES = ("talker_speakers", "talker_dpo", "talker")

IMAGE_PIXELS, VIDEO_PIXELS = (
    {"shortest_edge": least * TOKEN_SIDE**2, "longest_edge": most * TOKEN_SIDE**2}
    for least, most in (PICTURE_TOKENS, CLIP_TOKENS)
)
MAX_FRAMES = 32

# Settings of a turn, named as `generate()` names them. Chosen with `python -m training.evaluate.settings`.
GENERATION = {
    "thinker_max_new_tokens": 128,
    "thinker_do_sample": False,
    "talker_max_new_tokens": 1500,
    "talker_do_sample": False,
    "talker_temperature": 0.9,
    "talker_top_k": 40,
    "talker_top_p": 0.8,
    "talker_repetition_penalty": 1.0,
    "token2wav_num_steps": ODE_POINTS,
    "token2wav_guidance_scale": GUIDANCE,
}


def run(workspace: Workspace) -> None:
    folder = workspace.stage(NAME)
    write_checkpoint(workspace, folder)
    workspace.save_report(NAME, {"size_mb": round(size_mb(folder), 2)})


def write_checkpoint(workspace: Workspace, folder: Path) -> None:
    """The whole checkpoint in place of what `folder` holds. Raises ValueError when it is too large to be shipped."""
    # It warns of the default ids of an empty configuration, on the way to the right ones.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    tokenizer = load_tokenizer(workspace)
    model = assemble(workspace, tokenizer).to(torch.bfloat16)
    for name, value in GENERATION.items():
        setattr(model.generation_config, name, value)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_pretrained(partial)
    build_processor(tokenizer, IMAGE_PIXELS, VIDEO_PIXELS, MAX_FRAMES).save_pretrained(partial)
    torch.save(speaker_map(workspace, tokenizer), partial / "spk_dict.pt")
    save_file(teachers(workspace), partial / TEACHERS_FILE)
    model_card.write(partial, tuple(name for name, _ in VOICES), evaluation(workspace))
    if size_mb(partial) > MAX_SIZE_MB:
        raise ValueError(f"{folder} would have {size_mb(partial):.1f} MB; no more than {MAX_SIZE_MB} may be shipped")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def teachers(workspace: Workspace) -> dict[str, torch.Tensor]:
    return {
        f"{stage}/{file}/{key}": value.cpu()
        for stage, file in TEACHERS
        for key, value in workspace.load_weights(stage, file).items()
    }


def evaluation(workspace: Workspace) -> dict | None:
    """The newest figures of `python -m training.evaluate`, None before the first."""
    path = workspace.folder / "evaluation.json"
    return json.loads(path.read_text()) if path.exists() else None


def assemble(workspace: Workspace, tokenizer: PreTrainedTokenizerFast) -> Qwen2_5OmniForConditionalGeneration:
    """The model on the CPU, float32, with the weights of every stage."""
    parts = {name: workspace.load_weights(name) for name in ("joint", "flow")}
    num_codes = len(parts["flow"]["text_embed.codec_embed.weight"]) - 1
    thinker = quiet(parts["joint"])
    num_rows = len(thinker["model.embed_tokens.weight"])
    model = Qwen2_5OmniForConditionalGeneration(build_config(tokenizer, num_codes, num_rows)).eval()
    # Never read: the library places the sound's end marks by token, yet every checkpoint has it.
    unused = "audio_tower.audio_bos_eos_token.weight"
    thinker.setdefault(unused, torch.zeros_like(model.thinker.audio_tower.audio_bos_eos_token.weight))
    model.thinker.load_state_dict(thinker)
    model.talker.load_state_dict(workspace.load_newest(*TALKER_STAGES))
    model.token2wav.code2wav_dit_model.load_state_dict(parts["flow"])
    model.token2wav.code2wav_bigvgan_model.load_state_dict(workspace.load_newest(*vocoder.STAGES))
    return model


def build_config(tokenizer: PreTrainedTokenizerFast, num_codes: int, num_rows: int | None = None) -> Qwen2_5OmniConfig:
    """The sizes of the micro model; the ids are the tokenizer's, the codec's as published.

    `num_codes`: of the DiT. `num_rows`: of the Thinker's embedding table, where it is not the tokenizer's size.
    """
    media_ids = media_token_ids(tokenizer)
    thinker = thinker_config(tokenizer, num_rows=num_rows).to_dict()
    # Trained tied, stored twice for 1 MB: the head is louder than the table, see `training.talker.quiet`.
    thinker["tie_word_embeddings"] = thinker["text_config"]["tie_word_embeddings"] = False
    talker = {
        "vocab_size": NUM_CODEC_IDS,
        "embedding_size": thinker["text_config"]["hidden_size"],
        "hidden_size": SIZES.hidden,
        "intermediate_size": SIZES.ffn,
        "num_hidden_layers": SIZES.num_layers,
        "num_attention_heads": SIZES.num_heads,
        "num_key_value_heads": SIZES.num_kv_heads,
        "head_dim": SIZES.head_width,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": SIZES.rope_theta,
            "mrope_section": list(SIZES.mrope_section),
        },
        **media_ids,
        **talker_token_ids(tokenizer),
    }
    bigvgan = vocoder.config().to_dict() | {"sample_rate": SAMPLE_RATE}
    return Qwen2_5OmniConfig(
        thinker_config=thinker,
        talker_config=talker,
        token2wav_config={"dit_config": flow.config(num_codes).to_dict(), "bigvgan_config": bigvgan},
        # The page says what this means.
        is_micro=True,
    )


def speaker_map(workspace: Workspace, tokenizer: PreTrainedTokenizerFast) -> dict[str, dict]:
    """Name on the page -> the DiT's speaker vector `[1, 16]`, reference mel `[1, frame, 80]`, and the token that opens
    the Talker's reply."""
    speakers = flow.load_speakers(workspace)
    return {
        name: {
            # Clones, since a view would be stored with all that stands behind it.
            "cond": cond.cpu().float().clone(),
            "ref_mel": ref_mel.cpu().float().clone(),
            "bos_token": tokenizer.convert_tokens_to_ids(token),
        }
        for (name, _), token, (cond, ref_mel) in zip(VOICES, SPEAKER_TOKENS, speakers)
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="the training run")
    parser.add_argument("--to", type=Path, default=SHIPPED, help="where the checkpoint goes, replacing what is there")
    args = parser.parse_args(arguments)
    try:
        write_checkpoint(Workspace(args.folder), args.to)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    print(f"{args.to}: {size_mb(args.to):.1f} MB")


if __name__ == "__main__":
    main()
