"""The Thinker: appends prompt segments to a session's cache and decodes text tokens; holds no conversation."""

from collections.abc import Sequence

import torch
from transformers import Qwen2_5OmniThinkerForConditionalGeneration as ThinkerModel

from app.engine.decoder import Decoder
from app.engine.decoding import DecodeRunner, DecodeStep
from app.engine.sampling import TokenSampler
from app.engine.state import EngineState
from app.types.prompt import Feature, MelBlock, Segment, VisionBlock


class Thinker:
    """Runs the library's modules with explicit positions.

    Positions are never left to the model: it keeps `rope_deltas` on the module, which would mix sessions.
    """

    def __init__(self, model: ThinkerModel) -> None:
        self.model = model
        self._embed = model.get_input_embeddings()
        self.decoder = Decoder(model.model)
        self._runner = DecodeRunner(self.decoder, model.lm_head)
        config = model.config
        self._media_ids = torch.tensor(
            [config.audio_token_id, config.image_token_id, config.video_token_id], device=model.device
        )

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

    def encode(self, segment: Segment) -> list[torch.Tensor]:
        """Tower outputs `[num_tokens, hidden]` of a segment's features, in their order."""
        return [self._encode(feature) for feature in segment.features]

    def _encode(self, feature: Feature) -> torch.Tensor:
        match feature:
            case MelBlock(mel, _):
                mel = mel.to(self.device, self.model.audio_tower.dtype)
                lengths = torch.tensor([mel.shape[1]], device=self.device)
                rows = self.model.audio_tower(mel, feature_lens=lengths).last_hidden_state
            case VisionBlock(patches, grid_thw, _, _):
                patches = patches.to(self.device, self.model.visual.dtype)
                rows = self.model.visual(patches, grid_thw=torch.tensor([grid_thw], device=self.device)).pooler_output
        assert rows.shape[0] == feature.num_tokens, (rows.shape, feature.num_tokens)
        return rows

    def prefill(self, state: EngineState, segment: Segment, encoded: list[torch.Tensor]) -> torch.Tensor:
        """Append a segment to the cache; `encoded` is from `encode`. Returns the last hidden state `[1, 1, hidden]`."""
        ids = segment.token_ids.to(self.device)
        embeds = self._embed(ids)
        spoken = embeds
        if encoded:
            embeds, spoken = embeds.clone(), embeds.clone()
            for name, is_kind in _KINDS:
                rows = [row for row, feature in zip(encoded, segment.features) if is_kind(feature)]
                if rows:
                    embeds[ids == getattr(self.model.config, name)] = torch.cat(rows).to(embeds.dtype)
            # The Talker hears no raw media: generate() zeroes their embeddings and keeps the hidden part.
            spoken[torch.isin(ids, self._media_ids)] = 0
        return self._forward(state, segment.token_ids.tolist(), segment.positions, embeds, spoken)

    def step(self, state: EngineState, token_id: int, sampler: TokenSampler) -> "ThinkerStep":
        """Append one generated token at the highest position and sample the next."""
        return ThinkerStep(self._runner, state, token_id, self._embed(self._ids(token_id)), sampler)

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


_KINDS = (
    ("audio_token_id", lambda feature: isinstance(feature, MelBlock)),
    ("image_token_id", lambda feature: isinstance(feature, VisionBlock) and not feature.is_video),
    ("video_token_id", lambda feature: isinstance(feature, VisionBlock) and feature.is_video),
)
