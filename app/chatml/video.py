"""The order and positions of a video's tokens: pictures and, chunk by chunk, the sound of the same seconds."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import torch

from app.chatml.cursor import chunk_ends, vision_positions
from app.chatml.features import patchify, vision_block
from app.engine.spec import ModelSpec
from app.types.media import Video
from app.types.prompt import Feature, MelBlock


@dataclass(frozen=True, eq=False)
class VideoPiece:
    """Tokens of one kind within one chunk. `features` belong to this and the pieces since the last that had some;
    `is_whole`: pictures and tower blocks are complete here, so a segment may end."""

    token_id: int
    positions: torch.Tensor
    features: tuple[Feature, ...]
    is_whole: bool


def video_pieces(video: Video, sounds: list[MelBlock], spec: ModelSpec, start: int) -> Iterator[VideoPiece]:
    """Pieces in the order of `Qwen2_5OmniProcessor` with positions of `get_rope_index`, after position `start`.

    `sounds`: the sound track's tower blocks, empty when it is not heard.
    """
    vision = spec.media.vision
    patches, (grid_t, grid_h, grid_w) = patchify(video.frames, vision, spec.pixels)
    groups = patches.view(grid_t, -1, patches.shape[1])
    height, width = grid_h // vision.merge_size, grid_w // vision.merge_size
    # float32 as in the library: a product of .999... must fall to the same position.
    seconds_per_group = torch.tensor(vision.temporal_patch_size / video.fps, dtype=torch.float32)
    times = (torch.arange(grid_t) * seconds_per_group * spec.position_ids_per_s).long()
    picture = vision_positions(times, height, width, start)
    num_sounds = sum(block.num_tokens for block in sounds)
    sound = (torch.arange(num_sounds) + start).expand(3, -1)

    per_chunk = int(spec.position_ids_per_s * spec.s_per_chunk)
    picture_ends = chunk_ends((picture[0] - start).tolist(), per_chunk)
    sound_ends = chunk_ends(list(range(num_sounds)), per_chunk)
    blocks_at = dict(zip(accumulate((block.num_tokens for block in sounds), initial=0), range(len(sounds) + 1)))

    picture_at = sound_at = group_at = block_at = 0
    for chunk in range(max(len(picture_ends), len(sound_ends))):
        picture_from, sound_from = picture_at, sound_at
        picture_at = picture_ends[min(chunk, len(picture_ends) - 1)]
        sound_at = sound_ends[min(chunk, len(sound_ends) - 1)]
        features: list[Feature] = []
        is_whole = picture_at % (height * width) == 0 and sound_at in blocks_at
        if is_whole:
            groups_done, blocks_done = picture_at // (height * width), blocks_at[sound_at]
            if groups_done > group_at:
                run = groups[group_at:groups_done].reshape(-1, patches.shape[1])
                features.append(vision_block(run, (groups_done - group_at, grid_h, grid_w), vision.merge_size, True))
            features += sounds[block_at:blocks_done]
            group_at, block_at = groups_done, blocks_done
        pieces = [
            (spec.ids.video, picture[:, picture_from:picture_at]),
            (spec.ids.audio, sound[:, sound_from:sound_at]),
        ]
        pieces = [(token_id, positions) for token_id, positions in pieces if positions.shape[1]]
        for index, (token_id, positions) in enumerate(pieces):
            is_last = index == len(pieces) - 1
            yield VideoPiece(token_id, positions, tuple(features) if is_last else (), is_last and is_whole)
