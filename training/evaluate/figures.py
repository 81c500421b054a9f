"""What was measured, as a table for people and one JSON line for scripts; knows no model and no judge."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Key of the JSON line -> what must be reached; the real-time factor and the size must stay below.
TARGETS = {
    "typed": 0.97,
    "spoken": 0.92,
    "spoken_other_synth": 0.80,
    "spoken_ked": None,
    "spoken_rooms": None,
    "image": 0.93,
    "image_camera": 0.85,
    "image_spoken": None,
    "image_two": None,
    "video": 0.93,
    "av_order": 0.85,
    "memory": 0.95,
    "speech_vs_ceiling": 0.93,
    "open_text_vs_ceiling": 0.75,
    "speech_to_speech": 0.85,
    "voice_identity": 0.99,
    "size_mb": 30.0,
    "rtf": 0.7,
}
BELOW = ("size_mb", "rtf")


@dataclass(frozen=True)
class Figure:
    """`value` of `num` samples and its standard error, None where it has none; `parts`: the same by skill or voice."""

    value: float
    num: int
    error: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)


def share(verdicts: Sequence[bool], parts: Mapping[str, float] | None = None) -> Figure:
    value = sum(verdicts) / max(1, len(verdicts))
    # Laplace's estimate, because none wrong of twenty is no proof of perfection.
    smooth = (sum(verdicts) + 1) / (len(verdicts) + 2)
    return Figure(value, len(verdicts), math.sqrt(smooth * (1 - smooth) / max(1, len(verdicts))), parts or {})


def shares_by(keys: Iterable[str], verdicts: Iterable[bool]) -> dict[str, float]:
    found: dict[str, list[bool]] = {}
    for key, verdict in zip(keys, verdicts):
        found.setdefault(key, []).append(verdict)
    return {key: round(sum(own) / len(own), 3) for key, own in sorted(found.items())}


def to_json(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """The values by key in the order of the targets; sizes, errors and parts behind them, under keys of their own."""
    ordered = {key: figures[key] for key in TARGETS if key in figures}
    ordered |= {key: figure for key, figure in figures.items() if key not in ordered}
    return {
        **{key: round(figure.value, 4) for key, figure in ordered.items()},
        "num": {key: figure.num for key, figure in ordered.items()},
        "error": {key: round(figure.error, 4) for key, figure in ordered.items() if figure.error is not None},
        "parts": {key: dict(figure.parts) for key, figure in ordered.items() if figure.parts},
    }


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Groups that were measured before stay; what was measured again is replaced."""
    together = {**old, **new}
    for key in ("num", "error", "parts"):
        together[key] = {**old.get(key, {}), **new.get(key, {})}
    return together


def table(result: Mapping[str, Any]) -> str:
    lines = [f"{'figure':22s} {'value':>7s} {'+-':>6s} {'n':>5s} {'wanted':>7s}"]
    for key in result["num"]:
        target, error = TARGETS.get(key), result["error"].get(key)
        is_met = target is None or (result[key] <= target if key in BELOW else result[key] >= target)
        lines.append(
            f"{key:22s} {result[key]:7.3f} {f'{error:.3f}' if error is not None else '':>6s} {result['num'][key]:5d} "
            f"{target if target is not None else '':>7}{'' if is_met else '  *'}"
        )
        parts = result["parts"].get(key, {})
        row = ""
        for name, value in parts.items():
            if len(row) > 80:
                lines.append("    " + row)
                row = ""
            row += f"{name} {value:g}  "
        if row:
            lines.append("    " + row)
    return "\n".join(lines)


def weights_digest(checkpoint: Path) -> str:
    """Tells whether earlier figures are of these weights and settings."""
    digest = hashlib.md5()
    for name in ("model.safetensors", "generation_config.json", "spk_dict.pt"):
        digest.update((checkpoint / name).read_bytes())
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}
