"""Checks what a page or a script asks of one turn; knows no widget and no conversation."""

import math
from dataclasses import replace
from typing import Any

from app.errors import BadInput
from app.media.limits import MediaLimits
from app.media.text import check_length, clean_text
from app.types.turn import Sampling, TurnSettings

MIN_ODE_POINTS, MAX_ODE_POINTS = 2, 100
MAX_GUIDANCE = 10.0
MAX_SEED = 2**31


def checked_settings(settings: TurnSettings, spec: Any, limits: MediaLimits) -> TurnSettings:
    """The same settings with a given reply made safe to tokenise; raises `BadInput` for values that cannot work."""
    if settings.speak and spec.has_talker and settings.voice and settings.voice not in spec.voices:
        raise BadInput(f"This checkpoint has no such voice: choose one of {', '.join(spec.voices)}.")
    check_ranges(settings)
    if settings.say is None:
        return settings
    check_length((settings.say,), limits)
    return replace(settings, say=clean_text(settings.say))


def check_ranges(settings: TurnSettings) -> None:
    """Raises `BadInput` for a figure that no checkpoint can work with."""
    _check_sampling(settings.thinker, "text")
    _check_sampling(settings.talker, "speech")
    if not MIN_ODE_POINTS <= settings.ode_points <= MAX_ODE_POINTS:
        raise BadInput(
            f"The vocoder's steps must be from {MIN_ODE_POINTS} to {MAX_ODE_POINTS}: change them in the settings."
        )
    if not 0 <= settings.guidance <= MAX_GUIDANCE:
        raise BadInput(f"The vocoder's guidance must be from 0 to {MAX_GUIDANCE:g}: change it in the settings.")
    if settings.seed is not None and not 0 <= settings.seed < MAX_SEED:
        raise BadInput(f"The seed must be a whole number from 0 to {MAX_SEED - 1}: change it in the settings.")


def checked_system_prompt(system_prompt: str, limits: MediaLimits) -> str:
    check_length((system_prompt,), limits)
    return clean_text(system_prompt)


def _check_sampling(sampling: Sampling, stage: str) -> None:
    checks = {
        "temperature": 0 < sampling.temperature < math.inf,
        "top p": 0 < sampling.top_p <= 1,
        "top k": sampling.top_k >= 0,
        "repetition penalty": 0 < sampling.repetition_penalty < math.inf,
        "maximum of new tokens": sampling.max_new_tokens >= 1,
    }
    for name, holds in checks.items():
        if not holds:
            raise BadInput(f"The {name} of the {stage} is out of its range: change it in the settings.")
