"""Pixels and samples into what the towers take: normalised patches and log-mel blocks; knows no file and no model."""

import numpy as np
import torch

from app.engine.spec import MelRules, PixelRules
from app.types.media import VisionRules
from app.types.prompt import MelBlock, VisionBlock


def patchify(frames: np.ndarray, vision: VisionRules, pixels: PixelRules) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """Frames uint8 `[num_frames, height, width, 3]` into patches, as transformers' Qwen2-VL processors lay them out.

    Returns float32 `[grid_t * grid_h * grid_w, 3 * temporal * patch * patch]` and (grid_t, grid_h, grid_w). The last
    frame is repeated when the frames do not fill the temporal patch; a still is thus seen twice.
    """
    temporal, patch, merge = vision.temporal_patch_size, vision.patch_size, vision.merge_size
    missing = -len(frames) % temporal
    if missing:
        frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    mean = torch.tensor(pixels.mean).view(1, 3, 1, 1) * 255
    std = torch.tensor(pixels.std).view(1, 3, 1, 1) * 255
    values = (torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() - mean) / std
    grid = (values.shape[0] // temporal, values.shape[2] // patch, values.shape[3] // patch)
    grid_t, grid_h, grid_w = grid
    values = values.reshape(grid_t, temporal, 3, grid_h // merge, merge, patch, grid_w // merge, merge, patch)
    patches = values.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(grid_t * grid_h * grid_w, -1)
    return patches, grid


def vision_block(patches: torch.Tensor, grid: tuple[int, int, int], merge_size: int, is_video: bool) -> VisionBlock:
    return VisionBlock(patches, grid, is_video, grid[0] * grid[1] * grid[2] // merge_size**2)


def num_audio_tokens(num_frames: int, rules: MelRules) -> int:
    """Tokens that the sound tower makes of mel frames (`_get_feat_extract_output_lengths`): two halvings of the whole,
    or three, rounded up, of each run that its convolutions see as one."""
    if not rules.conv_frames:
        return max(0, ((num_frames - 1) // 2 + 1 - 2) // 2 + 1)
    num_runs, rest = divmod(num_frames, rules.conv_frames)
    return num_runs * -(-rules.conv_frames // 8) - (-rest // 8)


def mel_blocks(mel: torch.Tensor, rules: MelRules) -> list[MelBlock]:
    """Log-mel `[num_mel_bins, num_frames]` in tower blocks; a last block too short for a token is left out."""
    blocks = [mel_block(block, rules) for block in mel.split(rules.block_frames, dim=1)]
    return [block for block in blocks if block.num_tokens]


def mel_block(mel: torch.Tensor, rules: MelRules) -> MelBlock:
    """`mel` `[num_mel_bins, num_frames]`, at most one tower block."""
    return MelBlock(mel, num_audio_tokens(mel.shape[1], rules))
