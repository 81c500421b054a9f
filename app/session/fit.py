"""Whether a turn fits the context and the memory, and which cuts would make it fit; knows no session."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from app.errors import ContextFull, DemoError, OutOfMemory
from app.types.prompt import CHUNK_TOKENS, Prompt, VisionBlock
from app.types.turn import AudioPart, Part, TextPart, TurnSettings, VideoPart

# What a token needs while it goes through, against what it leaves in the caches: at the published 7B 190 to 220 kB in
# the Thinker and 190 kB in the vision tower, against 64 kB and with a Talker 114 kB (`python -m benchmarks.memory`).
_ACTIVATION_FACTOR = 3
# Caches that grow for a prompt take an eighth more than they need for it, and are there twice while they are copied.
_AHEAD_SHARE = 8
# Left free for the allocator's rounding and the vocoder.
_SPARE_SHARE = 0.05
# Kept free for the reply: so many tokens or an eighth of the context, unless the reply may not grow that long anyway.
MAX_RESERVED_TOKENS = 256
_REPLY_SHARE = 8


@dataclass(frozen=True)
class Load:
    """What a turn brings and finds. `num_cached`: tokens in the cache; `num_opening`: what every conversation begins
    with; `past`: tokens of each older turn, oldest first; `tokens_of` measures one part, asked only when something
    must be cut."""

    num_cached: int
    num_opening: int
    past: tuple[int, ...]
    parts: tuple[Part, ...]
    tokens_of: Callable[[Part], int]


@dataclass(frozen=True)
class Fit:
    """What a turn takes. `advice`: one sentence with the cuts that would make it fit, "" when it does."""

    num_new_tokens: int
    num_context_tokens: int
    context_length: int
    num_opening: int
    num_bytes: int
    fits: bool
    lacks_memory: bool
    advice: str

    def error(self) -> DemoError:
        return OutOfMemory(self.advice) if self.lacks_memory else ContextFull(self.advice)

    def limited(self, settings: TurnSettings) -> TurnSettings:
        """The settings with a reply that ends where the context does."""
        num_room = self.context_length - self.num_context_tokens - self.num_new_tokens
        thinker = settings.thinker
        return replace(settings, thinker=replace(thinker, max_new_tokens=max(1, min(thinker.max_new_tokens, num_room))))


def fit_turn(spec: Any, load: Load, prompt: Prompt, settings: TurnSettings, free_bytes: int | None) -> Fit:
    """`free_bytes` None: memory is not looked at."""
    num_new = prompt.num_tokens
    num_reply = min(settings.thinker.max_new_tokens, MAX_RESERVED_TOKENS, spec.context_length // _REPLY_SHARE)
    if prompt.reply_ids is not None:
        num_reply = len(prompt.reply_ids)
    num_ahead = max(num_reply, (load.num_cached + num_new) // _AHEAD_SHARE)
    # The caches are copied one after the other, each about half of what a token leaves.
    num_copied = load.num_cached // 2 if num_new > load.num_cached // _AHEAD_SHARE else 0
    num_passing = max(num_copied, _ACTIVATION_FACTOR * _num_at_once(prompt))
    num_bytes = (num_new + num_ahead + num_passing) * spec.bytes_per_token + spec.wide_bytes
    num_excess = load.num_cached + num_new + num_reply - spec.context_length
    usable = num_bytes if free_bytes is None else int(free_bytes * (1 - _SPARE_SHARE))
    advice = ""
    if num_excess > 0:
        advice = (
            f"The turn needs {num_new:,} tokens behind {load.num_cached:,} in the conversation and the model holds"
            f" {spec.context_length:,}: {_cuts(num_excess, load)}."
        )
    elif num_bytes > usable:
        num_excess = math.ceil((num_bytes - usable) / spec.bytes_per_token)
        advice = f"The turn needs {_size(num_bytes)} of memory and {_size(usable)} are free: {_cuts(num_excess, load)}."
    return Fit(
        num_new_tokens=num_new,
        num_context_tokens=load.num_cached,
        context_length=spec.context_length,
        num_opening=load.num_opening,
        num_bytes=num_bytes,
        fits=not advice,
        lacks_memory=num_bytes > usable and load.num_cached + num_new + num_reply <= spec.context_length,
        advice=advice,
    )


def _num_at_once(prompt: Prompt) -> int:
    """Tokens that go through together: a piece of a segment, or a picture, which the tower takes whole."""
    pieces = [min(segment.num_tokens, CHUNK_TOKENS) for segment in prompt.segments]
    features = [feature for segment in prompt.segments for feature in segment.features]
    views = [feature for feature in features if isinstance(feature, VisionBlock)]
    return max([*pieces, *(view.num_tokens // view.grid_thw[0] for view in views)], default=0)


def _cuts(num_excess: int, load: Load) -> str:
    """Ways to save `num_excess` tokens, as a choice."""
    choices = []
    freed = list(accumulate(load.past))
    num_turns = next((count for count, num_tokens in enumerate(freed, 1) if num_tokens >= num_excess), None)
    if num_turns is not None:
        choices.append("drop the oldest turn" if num_turns == 1 else f"drop the {num_turns} oldest turns")
    num_tokens, largest = max(((load.tokens_of(part), part) for part in load.parts), key=lambda pair: pair[0])
    shorter = _shorter(largest, 1 - num_excess / num_tokens) if num_tokens > 0 else ""
    if shorter:
        choices.append(shorter)
    elif len(load.parts) > 1 and num_tokens >= num_excess:
        choices.append("leave out the largest file")
    if not choices and freed:
        choices.append("clear the conversation and send less at once")
    return " or ".join(choices) or "send less at once"


def _shorter(part: Part, share: float) -> str:
    """What to make of the largest part so that only `share` of it is left; "" when that leaves nothing of use."""
    if share <= 0:
        return ""
    if isinstance(part, VideoPart):
        seconds = math.floor(len(part.video.frames) / part.video.fps * share)
        return f"shorten the video to {seconds} s" if seconds >= 1 else ""
    if isinstance(part, AudioPart):
        seconds = math.floor(part.audio.duration_s * share)
        return f"shorten the sound to {seconds} s" if seconds >= 1 else ""
    if isinstance(part, TextPart):
        num_chars = math.floor(len(part.text) * share)
        return f"shorten the text to {num_chars} characters" if num_chars >= 1 else ""
    return ""


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"
