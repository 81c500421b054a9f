"""The Thinker: appends prompt segments to a session's cache and decodes text tokens; holds no conversation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import Qwen2_5OmniThinkerForConditionalGeneration as ThinkerModel

from app.engine.decoder import Decoder, KVCache
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
    """Rows `[n, hidden]` of a tower for the next places that hold `token_id`. `deep`: as many for each of the first
    layers, which are added behind it there."""

    token_id: int
    rows: torch.Tensor
    deep: tuple[torch.Tensor, ...] = ()


class Thinker:
    """Runs the library's modules with explicit positions.

    Positions are never left to the model: it keeps `rope_deltas` on the module, which would mix sessions.
    """

    def __init__(self, model: ThinkerModel, make_runner: Callable[..., DecodeRunner] = DecodeRunner) -> None:
        self.model = model
        self._embed = model.get_input_embeddings()
        self.input_width = self._embed.embedding_dim
        self.decoder = Decoder(model.model)
        self.runner = make_runner(self.decoder, model.lm_head)
        for tower in (model.audio_tower, model.visual):
            take_products(tower)
        config = model.config
        self._media_ids = (config.audio_token_id, config.image_token_id, config.video_token_id)

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
        for mels in self._sound_groups(sounds):
            yield Encoded(config.audio_token_id, self._heard(mels))
        for token_id, is_video in ((config.image_token_id, False), (config.video_token_id, True)):
            views = [
                feature
                for feature in segment.features
                if isinstance(feature, VisionBlock) and feature.is_video == is_video
            ]
            for group in _vision_groups(views):
                rows, deep = self._seen(group)
                assert rows.shape[0] == sum(view.num_tokens for view in group), rows.shape
                yield Encoded(token_id, rows, deep)

    def _sound_groups(self, sounds: Sequence[MelBlock]) -> Iterator[list[torch.Tensor]]:
        # The end of a clip is left out where it is too short for a token, which are two frames.
        return sound_groups(sounds, 2 * self.model.audio_tower.n_window, least_frames=3)

    def _heard(self, mels: list[torch.Tensor]) -> torch.Tensor:
        tower = self.model.audio_tower
        lengths = torch.tensor([mel.shape[1] for mel in mels], device=self.device)
        return tower(torch.cat(mels, dim=1).to(self.device, tower.dtype), feature_lens=lengths).last_hidden_state

    def _seen(self, views: list[VisionBlock]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Rows, and those for each of the first layers."""
        tower = self.model.visual
        patches = torch.cat([view.patches for view in views]).to(self.device, tower.dtype)
        grids = torch.tensor([view.grid_thw for view in views], device=self.device)
        seen = tower(patches, grid_thw=grids)
        return seen.pooler_output, tuple(getattr(seen, "deepstack_features", None) or ())

    def prefill(self, state: EngineState, segment: Segment, encoded: Sequence[Encoded] = ()) -> Iterator[torch.Tensor]:
        """Append a segment to the cache, with what `encode` gave of it. Piece by piece: each is a unit of work, and
        `state` holds what was appended so far. Yields the last hidden state `[1, 1, hidden]` of each."""
        rows = {token_id: _joined(encoded, token_id) for token_id in self._media_ids}
        for token_id, found in rows.items():
            num_places = int((segment.token_ids == token_id).sum())
            assert len(found) == num_places, (token_id, len(found), num_places)
        num_pieces = self.decoder.num_passes(segment.num_tokens)
        pieces = zip(segment.token_ids.tensor_split(num_pieces), segment.positions.tensor_split(num_pieces, dim=1))
        for ids, positions in pieces:
            embeds = self._embed(ids.to(self.device))
            media = []
            for token_id, found in rows.items():
                places = (ids == token_id).nonzero()[:, 0].to(self.device)
                if len(places):
                    media.append(found.taken(len(places), places))
                    embeds[places] = media[-1].rows.to(embeds.dtype)
            yield self._forward(state, ids.tolist(), positions, embeds, media)

    def step(self, state: EngineState, token_id: int, sampler: TokenSampler) -> "ThinkerStep":
        """Append one generated token at the highest position and sample the next."""
        return ThinkerStep(self, state, token_id, self._embed(self._ids(token_id)), sampler)

    def append_reply(self, state: EngineState, token_ids: tuple[int, ...]) -> None:
        """Append a given reply in one pass, as if it had been decoded step by step."""
        ids = torch.tensor(token_ids, device=self.device)
        positions = torch.arange(state.top_position, state.top_position + len(token_ids)).expand(3, -1)
        self._forward(state, token_ids, positions, self._embed(ids), ())

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden state `[1, 1, hidden]` -> `[1, vocabulary]`."""
        return self.model.lm_head(hidden[:, -1])

    def _forward(
        self,
        state: EngineState,
        ids: Sequence[int],
        positions: torch.Tensor,
        embeds: torch.Tensor,
        media: Sequence["Placed"],
    ) -> torch.Tensor:
        hidden, spoken = self._pass(state.thinker_cache, embeds, positions, media)
        state.append(ids, positions, spoken)
        return hidden[None, -1:]

    def _pass(
        self, cache: KVCache, embeds: torch.Tensor, positions: torch.Tensor, media: Sequence["Placed"]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Last hidden states, and what the Talker reads; each `[n, hidden]`."""
        hidden = self.decoder.forward(cache, embeds, positions)
        if media:
            # The Talker hears no raw media: generate() zeroes their embeddings and keeps the hidden part.
            embeds = embeds.clone()
            for placed in media:
                embeds[placed.places] = 0
        return hidden, self.spoken(embeds, hidden)

    def spoken(self, embeds: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """What the Talker reads of text: the layer-0 input plus the last hidden state behind the final norm."""
        return embeds + hidden


@dataclass(frozen=True, eq=False)
class Placed:
    """Rows of a tower with the places of a pass that they stand at, `[n]`."""

    places: torch.Tensor
    rows: torch.Tensor
    deep: tuple[torch.Tensor, ...]


class _Rows:
    """All that a tower gave for one kind of token, taken bit by bit."""

    def __init__(self, rows: torch.Tensor | None, deep: tuple[torch.Tensor, ...]) -> None:
        self._rows, self._deep, self._start = rows, deep, 0

    def __len__(self) -> int:
        return 0 if self._rows is None else self._rows.shape[0]

    def taken(self, num_rows: int, places: torch.Tensor) -> Placed:
        now = slice(self._start, self._start + num_rows)
        self._start = now.stop
        return Placed(places, self._rows[now], tuple(rows[now] for rows in self._deep))


def _joined(encoded: Sequence[Encoded], token_id: int) -> _Rows:
    items = [item for item in encoded if item.token_id == token_id]
    if not items:
        return _Rows(None, ())
    deep = zip(*(item.deep for item in items))
    return _Rows(torch.cat([item.rows for item in items]), tuple(torch.cat(rows) for rows in deep))


class ThinkerStep(DecodeStep):
    """The token is the session's when it is run, and what is sampled is pending."""

    def __init__(
        self, thinker: Thinker, state: EngineState, token_id: int, embeds: torch.Tensor, sampler: TokenSampler
    ) -> None:
        place = torch.full((3, 1), state.top_position)
        super().__init__(thinker.runner, state.thinker_cache, embeds, place, sampler)
        self._thinker, self._state, self._token_id = thinker, state, token_id

    def found(self, hidden: torch.Tensor, next_id: int) -> None:
        super().found(hidden, next_id)
        self._state.append([self._token_id], self.positions, self._thinker.spoken(self.embeds, hidden))
        self._state.pending_ids = (next_id,)


def sound_groups(sounds: Sequence[MelBlock], block_frames: int, least_frames: int) -> Iterator[list[torch.Tensor]]:
    """Mel frames of at most `MAX_SOUND_BLOCKS` blocks, each of `least_frames` at the least."""
    blocks = [block for sound in sounds for block in sound.mel.split(block_frames, dim=1)]
    blocks = [block for block in blocks if block.shape[1] >= least_frames]
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
