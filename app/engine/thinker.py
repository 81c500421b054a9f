"""The Thinker: appends prompt segments to a session's cache and decodes text tokens; holds no conversation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import Qwen2_5OmniThinkerForConditionalGeneration as ThinkerModel

from app.engine.decoder import Decoder
from app.engine.decoding import DecodeRunner, DecodeStep
from app.engine.products import take_products
from app.engine.sampling import TokenSampler
from app.engine.state import EngineState
from app.types.prompt import MelBlock, Segment, VisionBlock

# What the towers take at once. Blocks of sound, 2 s each, and groups of frames do not look at each other; a picture is
# one group, however large.
MAX_SOUND_BLOCKS = 16
MAX_PATCHES = 2048


@dataclass(frozen=True, eq=False)
class Encoded:
    """Rows `[n, hidden]` of a tower for the next places that hold `token_id`."""

    token_id: int
    rows: torch.Tensor


class Thinker:
    """Runs the library's modules with explicit positions.

    Positions are never left to the model: it keeps `rope_deltas` on the module, which would mix sessions.
    """

    def __init__(self, model: ThinkerModel, make_runner: Callable[..., DecodeRunner] = DecodeRunner) -> None:
        self.model = model
        self._embed = model.get_input_embeddings()
        self.decoder = Decoder(model.model)
        self.runner = make_runner(self.decoder, model.lm_head)
        for tower in (model.audio_tower, model.visual):
            take_products(tower)
        config = model.config
        self._media_ids = (config.audio_token_id, config.image_token_id, config.video_token_id)

    @property
    def width(self) -> int:
        """Of a token's states."""
        return self._embed.embedding_dim

    @property
    def device(self) -> torch.device:
        return self._embed.weight.device

    def embed_token(self, token_id: int) -> torch.Tensor:
        """`[1, 1, hidden]`"""
        return self._embed(self._ids(token_id))[None]

    def _ids(self, token_id: int) -> torch.Tensor:
        return torch.tensor([token_id], device=self.device)

    def wait(self) -> None:
        """Until the device has done what it was given: else the time of one stage would count for the next."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def encode(self, segment: Segment) -> Iterator[Encoded]:
        """What a segment's features are to the model, kind by kind, in their order; each is a unit of work."""
        config = self.model.config
        sounds = [feature for feature in segment.features if isinstance(feature, MelBlock)]
        for mels in _sound_groups(sounds, 2 * self.model.audio_tower.n_window):
            yield Encoded(config.audio_token_id, self._heard(mels))
        for token_id, is_video in ((config.image_token_id, False), (config.video_token_id, True)):
            views = [
                feature
                for feature in segment.features
                if isinstance(feature, VisionBlock) and feature.is_video == is_video
            ]
            for group in _vision_groups(views):
                yield Encoded(token_id, self._seen(group))

    def _heard(self, mels: list[torch.Tensor]) -> torch.Tensor:
        tower = self.model.audio_tower
        lengths = torch.tensor([mel.shape[1] for mel in mels], device=self.device)
        return tower(torch.cat(mels, dim=1).to(self.device, tower.dtype), feature_lens=lengths).last_hidden_state

    def _seen(self, views: list[VisionBlock]) -> torch.Tensor:
        tower = self.model.visual
        patches = torch.cat([view.patches for view in views]).to(self.device, tower.dtype)
        grids = torch.tensor([view.grid_thw for view in views], device=self.device)
        rows = tower(patches, grid_thw=grids).pooler_output
        assert rows.shape[0] == sum(view.num_tokens for view in views), rows.shape
        return rows

    def prefill(self, state: EngineState, segment: Segment, encoded: Sequence[Encoded] = ()) -> Iterator[torch.Tensor]:
        """Append a segment to the cache, with what `encode` gave of it. Piece by piece: each is a unit of work, and
        `state` holds what was appended so far. Yields the last hidden state `[1, 1, hidden]` of each."""
        media = {token_id: [item.rows for item in encoded if item.token_id == token_id] for token_id in self._media_ids}
        rows = {token_id: torch.cat(found) for token_id, found in media.items() if found}
        for token_id, found in rows.items():
            num_places = int((segment.token_ids == token_id).sum())
            assert found.shape[0] == num_places, (token_id, found.shape, num_places)
        num_placed = dict.fromkeys(rows, 0)
        num_pieces = self.decoder.num_passes(segment.num_tokens)
        pieces = zip(segment.token_ids.tensor_split(num_pieces), segment.positions.tensor_split(num_pieces, dim=1))
        for ids, positions in pieces:
            embeds = self._embed(ids.to(self.device))
            spoken = embeds.clone() if rows else embeds
            for token_id, found in rows.items():
                places = (ids == token_id).nonzero()[:, 0].to(self.device)
                start = num_placed[token_id]
                num_placed[token_id] += len(places)
                embeds[places] = found[start : num_placed[token_id]].to(embeds.dtype)
                # The Talker hears no raw media: generate() zeroes their embeddings and keeps the hidden part.
                spoken[places] = 0
            yield self._forward(state, ids.tolist(), positions, embeds, spoken)

    def step(self, state: EngineState, token_id: int, sampler: TokenSampler) -> "ThinkerStep":
        """Append one generated token at the highest position and sample the next."""
        return ThinkerStep(self.runner, state, token_id, self._embed(self._ids(token_id)), sampler)

    def append_reply(self, state: EngineState, token_ids: tuple[int, ...]) -> None:
        """Append a given reply in one pass, as if it had been decoded step by step."""
        ids = torch.tensor(token_ids, device=self.device)
        positions = torch.arange(state.top_position, state.top_position + len(token_ids)).expand(3, -1)
        embeds = self._embed(ids)
        self._forward(state, token_ids, positions, embeds, embeds)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden state `[1, 1, hidden]` -> `[1, vocabulary]`."""
        return self.model.lm_head(hidden[:, -1])

    def _forward(
        self,
        state: EngineState,
        ids: Sequence[int],
        positions: torch.Tensor,
        embeds: torch.Tensor,
        spoken: torch.Tensor,
    ) -> torch.Tensor:
        hidden = self.decoder.forward(state.thinker_cache, embeds, positions)
        # What the Talker reads: the layer-0 input plus the last hidden state behind the final norm.
        state.append(ids, positions, spoken + hidden)
        return hidden[None, -1:]


class ThinkerStep(DecodeStep):
    """The token is the session's when it is run, and what is sampled is pending."""

    def __init__(
        self, runner: DecodeRunner, state: EngineState, token_id: int, embeds: torch.Tensor, sampler: TokenSampler
    ) -> None:
        super().__init__(runner, state.thinker_cache, embeds, torch.full((3, 1), state.top_position), sampler)
        self._state, self._token_id = state, token_id

    def found(self, hidden: torch.Tensor, next_id: int) -> None:
        super().found(hidden, next_id)
        self._state.append([self._token_id], self.positions, self.embeds + hidden)
        self._state.pending_ids = (next_id,)


def _sound_groups(sounds: Sequence[MelBlock], block_frames: int) -> Iterator[list[torch.Tensor]]:
    """Mel frames of at most `MAX_SOUND_BLOCKS` blocks. The end of a clip is left out where it is too short for a token,
    which are two frames."""
    blocks = [block for sound in sounds for block in sound.mel.split(block_frames, dim=1) if block.shape[1] > 2]
    for start in range(0, len(blocks), MAX_SOUND_BLOCKS):
        yield blocks[start : start + MAX_SOUND_BLOCKS]


def _vision_groups(views: Sequence[VisionBlock]) -> Iterator[list[VisionBlock]]:
    """Whole groups of frames, of at most `MAX_PATCHES` patches unless one alone has more."""
    group: list[VisionBlock] = []
    num_patches = 0
    for view in views:
        for part in _parts(view):
            if group and num_patches + len(part.patches) > MAX_PATCHES:
                yield group
                group, num_patches = [], 0
            group.append(part)
            num_patches += len(part.patches)
    if group:
        yield group


def _parts(view: VisionBlock) -> Iterator[VisionBlock]:
    grid_t, grid_h, grid_w = view.grid_thw
    per_part = max(1, MAX_PATCHES // (grid_h * grid_w))
    for start in range(0, grid_t, per_part):
        length = min(per_part, grid_t - start)
        patches = view.patches[start * grid_h * grid_w : (start + length) * grid_h * grid_w]
        yield VisionBlock(patches, (length, grid_h, grid_w), view.is_video, view.num_tokens // grid_t * length)
