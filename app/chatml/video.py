"""The order and positions of a video's tokens: its pictures, and among them the sound of the same seconds."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch

from app.chatml.cursor import vision_positions
from app.chatml.family import family_of
from app.chatml.features import patchify, vision_block
from app.engine.spec import ModelSpec
from app.types.media import Video
from app.types.prompt import Feature, MelBlock


@dataclass(frozen=True, eq=False)
class VideoPiece:
    """Tokens of one kind that follow one another. `features` belong to this and the pieces since the last that had
    some; `is_whole`: pictures and tower blocks are complete here, so a segment may end."""

    token_id: int
    positions: torch.Tensor
    features: tuple[Feature, ...]
    is_whole: bool


def video_pieces(video: Video, sounds: list[MelBlock], spec: ModelSpec, start: int) -> Iterator[VideoPiece]:
    """Pieces in the order of the family's processor with positions of its `get_rope_index`, after position `start`.

    `sounds`: the sound track's tower blocks, empty when it is not heard.
    """
    size = spec.media.vision.temporal_patch_size
    times = family_of(spec).times(0, -(-len(video.frames) // size), size / video.fps)
    return pieces_between(video.frames, times, sounds, 0, spec, start)


def pieces_between(
    frames: np.ndarray, times: torch.Tensor, sounds: list[MelBlock], sound_from: int, spec: ModelSpec, start: int
) -> Iterator[VideoPiece]:
    """Those of some of a video's seconds: `frames` at `times`, as its family has them, and `sounds`, whose first token
    is `sound_from` tokens after the sound's beginning."""
    vision = spec.media.vision
    patches, (grid_t, grid_h, grid_w) = patchify(frames, vision, spec.pixels)
    groups = patches.view(grid_t, -1, patches.shape[1])
    height, width = grid_h // vision.merge_size, grid_w // vision.merge_size
    picture = vision_positions(times.round().long(), height, width, start)
    sound_ends = list(accumulate(block.num_tokens for block in sounds))
    num_sounds = sound_ends[-1] if sounds else 0
    sound = (torch.arange(num_sounds) + sound_from + start).expand(3, -1)
    blocks_at = {end: index for index, end in enumerate([0, *sound_ends])}

    picture_at = sound_at = group_at = block_at = 0
    for picture_to, sound_to in family_of(spec).steps((times - sound_from).tolist(), height * width, sound_ends):
        pieces = [
            (spec.ids.video, picture[:, picture_at:picture_to]),
            (spec.ids.audio, sound[:, sound_at:sound_to]),
        ]
        picture_at, sound_at = picture_to, sound_to
        features: list[Feature] = []
        is_whole = picture_at % (height * width) == 0 and sound_at in blocks_at
        if is_whole:
            groups_done, blocks_done = picture_at // (height * width), blocks_at[sound_at]
            if groups_done > group_at:
                run = groups[group_at:groups_done].reshape(-1, patches.shape[1])
                features.append(vision_block(run, (groups_done - group_at, grid_h, grid_w), vision.merge_size, True))
            features += sounds[block_at:blocks_done]
            group_at, block_at = groups_done, blocks_done
        pieces = [(token_id, positions) for token_id, positions in pieces if positions.shape[1]]
        for index, (token_id, positions) in enumerate(pieces):
            is_last = index == len(pieces) - 1
            yield VideoPiece(token_id, positions, tuple(features) if is_last else (), is_last and is_whole)
