"""`python -m training.start`: a shipped checkpoint becomes the beginning of a run, whose stages then go on from it.

Every stage that learns gets its weights back and is done; `--only STAGE` trains it further. What is heard and recorded
(`voices_in`, `voices_out`) is synthesized anew, and the codes of it with the same codebook.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from training.export import SHIPPED, TEACHERS, TEACHERS_FILE
from training.talker.quiet import loud
from training.tokenizer import NAME as TOKENIZER
from training.workspace import DEFAULT_FOLDER, START_FILE, Workspace

# Stage -> the keys of the checkpoint that are its weights, and the prefix that they lose.
PARTS = {
    "language": ("thinker.model.", "thinker."),
    "hearing": ("thinker.audio_tower.", "thinker."),
    "seeing": ("thinker.visual.", "thinker."),
    "joint": ("thinker.", "thinker."),
    "talker": ("talker.", "talker."),
    "flow": ("token2wav.code2wav_dit_model.", "token2wav.code2wav_dit_model."),
    "vocoder": ("token2wav.code2wav_bigvgan_model.", "token2wav.code2wav_bigvgan_model."),
    "vocoder_gan": ("token2wav.code2wav_bigvgan_model.", "token2wav.code2wav_bigvgan_model."),
}
# They have their data to make first, or a newer Thinker to follow.
NOT_DONE = ("joint", "talker")


def start(workspace: Workspace, checkpoint: Path) -> None:
    """Raises FileNotFoundError where `checkpoint` is not one of ours, FileExistsError where a run is there already."""
    if (workspace.folder / TOKENIZER).exists():
        raise FileExistsError(f"{workspace.folder} holds a run already: choose another --folder or remove it")
    if not (checkpoint / TEACHERS_FILE).exists():
        raise FileNotFoundError(f"{checkpoint / TEACHERS_FILE} is missing: only a checkpoint that was trained here")
    weights = {key: value.float() for key, value in load_file(checkpoint / "model.safetensors").items()}
    thinker = loud(_within(weights, "thinker.", "thinker."))
    weights = {key: value for key, value in weights.items() if not key.startswith("thinker.")}
    weights |= {f"thinker.{key}": value for key, value in thinker.items()}
    for stage, (prefix, dropped) in PARTS.items():
        for file in (START_FILE, "model.safetensors"):
            workspace.save_weights(stage, _within(weights, prefix, dropped), file)
    teachers = load_file(checkpoint / TEACHERS_FILE)
    for stage, file in TEACHERS:
        workspace.save_weights(stage, _within(teachers, f"{stage}/{file}/", f"{stage}/{file}/"), file)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(workspace.stage(TOKENIZER))
    for stage in (TOKENIZER, *PARTS):
        if stage not in NOT_DONE:
            done = {"seconds": 0.0, "quick": False, "from": checkpoint.name}
            (workspace.stage(stage) / "done.json").write_text(json.dumps(done) + "\n")


def _within(weights: dict[str, torch.Tensor], prefix: str, dropped: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(dropped): value for key, value in weights.items() if key.startswith(prefix)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.start", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED, help="a folder that training.export wrote")
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="the new run")
    args = parser.parse_args(arguments)
    try:
        start(Workspace(args.folder), args.checkpoint)
    except (FileNotFoundError, FileExistsError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
