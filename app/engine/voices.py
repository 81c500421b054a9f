"""Voices from files of their own, in the layout of a checkpoint's `spk_dict.pt`; runs no pickled code."""

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from app.errors import BadConfig

SpeakerMap = dict[str, dict[str, Any]]

_KEYS = {"cond", "ref_mel", "bos_token"}
_MAX_BYTES = 256 << 20
_MAX_NAME = 60


def read_voices(paths: Iterable[Path], known: Mapping[str, Mapping[str, Any]], num_tokens: int) -> SpeakerMap:
    """The speakers of these files. Each is a name with `cond` `[1, width]`, `ref_mel` `[1, frames, mel]` and
    `bos_token`, the id with which that voice begins to speak; shapes are those of the speakers `known` of the
    checkpoint, ids below `num_tokens`. Raises `BadConfig` with one sentence for the first thing that is wrong."""
    found: SpeakerMap = {}
    for path in paths:
        for name, entry in _read(Path(path)).items():
            where = f"--voices {Path(path).name}"
            if not isinstance(name, str) or not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
                raise BadConfig(
                    f"{where} has a speaker without a proper name: name each with 1 to {_MAX_NAME} letters."
                )
            if name in known or name in found:
                raise BadConfig(f"{where} has a speaker {name!r}, which is there already: give it another name.")
            found[name] = _checked(f"{where}, speaker {name!r}", entry, next(iter(known.values())), num_tokens)
    return found


def _read(path: Path) -> dict:
    name = f"--voices {path.name}"
    if not path.is_file():
        raise BadConfig(f"{name} is no file: give the path of one in the layout of spk_dict.pt.")
    if path.stat().st_size > _MAX_BYTES:
        raise BadConfig(f"{name} has more than {_MAX_BYTES >> 20} MB, which no speaker takes: give another file.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, EOFError, OSError, IndexError) as error:
        raise BadConfig(f"{name} holds more than plain tensors, or none: save the speakers with torch.save.") from error
    if not isinstance(content, dict) or not content:
        raise BadConfig(f"{name} holds no speakers: it must be a dictionary of names, as spk_dict.pt is.")
    return content


def _checked(where: str, entry: Any, like: Mapping[str, Any], num_tokens: int) -> dict[str, Any]:
    if not isinstance(entry, dict) or set(entry) != _KEYS:
        raise BadConfig(f"{where} must have exactly {', '.join(sorted(_KEYS))}.")
    for key in ("cond", "ref_mel"):
        tensor, wanted = entry[key], list(like[key].shape)
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            raise BadConfig(f"{where}: {key} must be a tensor of floating point numbers.")
        shape = list(tensor.shape)
        if key == "ref_mel":
            # How long somebody spoke is free.
            wanted[1] = shape[1] if len(shape) == 3 and shape[1] > 0 else wanted[1]
        if shape != wanted:
            raise BadConfig(f"{where}: {key} has the shape {shape} and this checkpoint needs {wanted}.")
        if not bool(torch.isfinite(tensor).all()):
            raise BadConfig(f"{where}: {key} has values that are no numbers; make it again.")
    bos_token = entry["bos_token"]
    if isinstance(bos_token, torch.Tensor) and bos_token.numel() == 1 and not bos_token.is_floating_point():
        bos_token = bos_token.item()
    if not isinstance(bos_token, int) or isinstance(bos_token, bool) or not 0 <= bos_token < num_tokens:
        raise BadConfig(f"{where}: bos_token must be a token of this checkpoint, from 0 to {num_tokens - 1}.")
    return {"cond": entry["cond"], "ref_mel": entry["ref_mel"], "bos_token": bos_token}
