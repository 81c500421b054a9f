"""What `app.chatml` hands to `app.engine`: token ids with explicit positions and the media features they stand for."""

from dataclasses import dataclass

import torch

# A longer segment is appended in pieces of so many tokens, between which others have their turn. It is well above the
# few hundred from which a GPU is busy multiplying rather than reading weights; docs/performance.md has measurements.
CHUNK_TOKENS = 1024


@dataclass(frozen=True, eq=False)
class MelBlock:
    """Log-mel frames for the sound tower. `mel`: float32 `[num_mel_bins, num_frames]`, a whole number of tower blocks
    unless it ends its clip."""

    mel: torch.Tensor
    num_tokens: int


@dataclass(frozen=True, eq=False)
class VisionBlock:
    """Patches for the vision tower. `patches`: float32 `[grid_t * grid_h * grid_w, patch_values]`; `grid_thw` in
    patches; `is_video` tells which placeholder it fills."""

    patches: torch.Tensor
    grid_thw: tuple[int, int, int]
    is_video: bool
    num_tokens: int


Feature = MelBlock | VisionBlock


@dataclass(frozen=True, eq=False)
class Segment:
    """A run of tokens that is appended to the caches, of which `CHUNK_TOKENS` at most in one go.

    `token_ids`: int64 `[num_tokens]`; `positions`: int64 `[3, num_tokens]` (time, height, width), absolute in the
    session; `features` fill the placeholder tokens in order.
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    features: tuple[Feature, ...] = ()

    @property
    def num_tokens(self) -> int:
        return int(self.token_ids.shape[0])


@dataclass(frozen=True)
class Boundary:
    """Where the reply of a turn that was written afresh ends: tokens of the conversation by then, and positions."""

    num_tokens: int
    next_position: int
    top_position: int


@dataclass(frozen=True, eq=False)
class Prompt:
    """Everything that the newest turn adds, and the older ones that the cache lacks. `reply_ids`: a given reply that is
    spoken as it is, else None; `boundaries`: of the older turns, in order."""

    segments: tuple[Segment, ...]
    reply_ids: tuple[int, ...] | None = None
    boundaries: tuple[Boundary, ...] = ()

    @property
    def num_tokens(self) -> int:
        return sum(segment.num_tokens for segment in self.segments)


@dataclass(frozen=True, eq=False)
class Append:
    """What a message that is still being spoken adds: `segments` to append, and before that the last `num_taken_back`
    of those appended earlier to take back. `boundaries`: as in `Prompt`."""

    segments: tuple[Segment, ...]
    num_taken_back: int = 0
    boundaries: tuple[Boundary, ...] = ()
