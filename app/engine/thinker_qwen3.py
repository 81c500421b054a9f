"""The Thinker of Qwen3-Omni: what differs from Qwen2.5's is its towers, and what the Talker reads."""

from collections.abc import Iterator, Sequence

import torch

from app.engine.decoder import KVCache
from app.engine.thinker import Placed, Thinker, sound_groups
from app.types.prompt import MelBlock


class Qwen3Thinker(Thinker):
    """Of a placeholder the Talker reads what a layer in the middle made of it, of text the layer-0 input alone
    (`Qwen3OmniMoeForConditionalGeneration.generate`)."""

    def __init__(self, model, *args, accept_hidden_layer: int = 0) -> None:
        """`accept_hidden_layer`: that layer's number, counted from 1; 0 where nothing speaks."""
        super().__init__(model, *args)
        num_layers = len(self.decoder.layers)
        assert accept_hidden_layer < num_layers, (accept_hidden_layer, num_layers)
        self._accepted = accept_hidden_layer

    def _sound_groups(self, sounds: Sequence[MelBlock]) -> Iterator[list[torch.Tensor]]:
        return sound_groups(sounds, self.model.audio_tower.n_window_infer, least_frames=1)

    def _heard(self, mels: list[torch.Tensor]) -> torch.Tensor:
        # The tower's convolutions see the end of a clip beside zeros up to a whole window if there is a longer piece in
        # the same pass, else alone. Here it is always the former, so that it does not hang on what else is heard.
        tower = self.model.audio_tower
        window = 2 * tower.n_window
        pieces = [piece for mel in mels for piece in mel.split(window, dim=1)]
        padded = torch.stack([torch.nn.functional.pad(piece, (0, window - piece.shape[1])) for piece in pieces])
        lengths = torch.tensor([piece.shape[1] for piece in pieces])
        num_tokens = _num_tokens(lengths)
        most = int(_num_tokens(torch.tensor(window)))
        valid = (torch.arange(most) < num_tokens[:, None]).flatten().nonzero()[:, 0]
        per_mel = [int(num_tokens[start : start + count].sum()) for start, count in _runs(mels, window)]
        ends = torch.tensor([0, *per_mel]).cumsum(0, dtype=torch.int32)
        return tower(
            padded_feature=padded.to(self.device, tower.dtype),
            chunk_lengths=lengths.to(self.device),
            feature_lens=torch.tensor([mel.shape[1] for mel in mels], device=self.device),
            valid_indices=valid.to(self.device),
            cu_seqlens=ends.to(self.device),
        ).last_hidden_state

    def _pass(
        self, cache: KVCache, embeds: torch.Tensor, positions: torch.Tensor, media: Sequence[Placed]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not media:
            return self.decoder.forward(cache, embeds, positions), embeds
        spoken = embeds.clone()

        def between(index: int, hidden: torch.Tensor) -> torch.Tensor:
            if index + 1 == self._accepted:
                for placed in media:
                    spoken[placed.places] = hidden[placed.places]
            for placed in media:
                if index < len(placed.deep):
                    hidden = hidden.index_add(0, placed.places, placed.deep[index].to(hidden.dtype))
            return hidden

        return self.decoder.forward(cache, embeds, positions, between), spoken

    def spoken(self, embeds: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        return embeds


def _num_tokens(num_frames: torch.Tensor) -> torch.Tensor:
    """Of pieces of a window at the most: three convolutions of stride 2 (`_get_feat_extract_output_lengths`)."""
    for _ in range(3):
        num_frames = (num_frames - 1) // 2 + 1
    return num_frames


def _runs(mels: Sequence[torch.Tensor], window: int) -> Iterator[tuple[int, int]]:
    """Of each mel the first of its pieces and their number."""
    start = 0
    for mel in mels:
        count = -(-mel.shape[1] // window)
        yield start, count
        start += count
