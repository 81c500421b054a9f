"""Where the next token goes in multimodal rotary position space; knows no token and no model."""

import torch


class Cursor:
    """Hands out positions `[3, n]` (time, height, width) in the order of transformers' `get_rope_index`.

    `next`: the position that text goes on with, one after the last appended token. `top`: one after the highest so
    far. They differ only behind a video with sound whose picture is wider than its last run of one kind is long; the
    library then continues the prompt at `next` and the reply at `top` (get_rope_index and its delta), and so do we.
    """

    def __init__(self, next_position: int = 0, top: int = 0) -> None:
        self.next = next_position
        self.top = max(top, next_position)

    def line(self, length: int) -> torch.Tensor:
        """Positions for text or sound: all three axes count on together."""
        positions = torch.arange(self.next, self.next + length).expand(3, -1)
        self._moved_to(self.next + length)
        return positions

    def together(self, length: int) -> torch.Tensor:
        """`length` tokens that share one position: Qwen2.5's pairs before and behind a video with sound."""
        positions = torch.full((3, length), self.next)
        self._moved_to(self.next + 1)
        return positions

    def _moved_to(self, position: int) -> None:
        self.next = position
        self.top = max(self.top, position)

    def place(self, positions: torch.Tensor) -> None:
        """Count positions made by the caller as appended: text goes on after the highest of the *last* piece."""
        self._moved_to(int(positions.max()) + 1)

    def jump_to_top(self) -> None:
        """Where a reply starts."""
        self.next = self.top


def vision_positions(times: torch.Tensor, height: int, width: int, start: int) -> torch.Tensor:
    """Positions of whole pictures. `times` int64 `[num_groups]`, `height` and `width` in tokens, all after `start`.

    Returns int64 `[3, num_groups * height * width]`, row by row within each picture.
    """
    num_groups = times.shape[0]
    rows = torch.arange(height).view(1, -1, 1).expand(num_groups, -1, width).reshape(-1)
    columns = torch.arange(width).view(1, 1, -1).expand(num_groups, height, -1).reshape(-1)
    return torch.stack([times.repeat_interleave(height * width), rows, columns]) + start
