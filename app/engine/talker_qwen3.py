"""The Talker of Qwen3-Omni: reads what users said, and speaks a frame of several codes for each token of the reply."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PretrainedConfig
from transformers import Qwen3OmniMoeTalkerForConditionalGeneration as TalkerModel

from app.engine.decoder import Decoder
from app.engine.decoding import DecodeRunner, DecodeStep
from app.engine.frames import CodePredictor, FrameState, predictor_sampling
from app.engine.sampling import TokenSampler
from app.engine.state import EngineState, Mark
from app.engine.talker import Talker, line
from app.engine.thinker import Thinker
from app.types.turn import Sampling

# As `generate()` has it: so many ids at the end of the first codebook are no sound, and of these only the end is said.
NUM_CONTROL_CODES = 1024
# `<|im_start|>`, the role, a line break: how the reply is opened in the prompt.
NUM_OPENING = 3


@dataclass(frozen=True)
class Speaker:
    """A voice, which is one of the Talker's own codes."""

    name: str
    code: int


class Qwen3Talker(Talker):
    """Its cache holds the user's messages only: what the system prompt says and what was replied before is not read
    (`Qwen3OmniMoeForConditionalGeneration.generate`)."""

    def __init__(
        self,
        model: TalkerModel,
        thinker: Thinker,
        config: PretrainedConfig,
        make_runner: Callable[..., DecodeRunner] = DecodeRunner,
    ) -> None:
        """`config`: of the whole checkpoint, for the ids that frame speech."""
        self.model = model
        self.thinker = thinker
        self.decoder = Decoder(model.model)
        self.embed_code = model.get_input_embeddings()
        self.predictor = CodePredictor(model.code_predictor)
        self.runner = make_runner(self.decoder, model.codec_head, behind=self._complete)
        self.input_width = self.decoder.width
        ids = model.config
        self.end_ids = frozenset({ids.codec_eos_token_id})
        size = ids.text_config.vocab_size
        controls = range(size - NUM_CONTROL_CODES, size)
        self.suppressed = [code for code in controls if code not in self.end_ids]
        # The Talker thinks nothing: so its codes say before the voice.
        self._unthinking = [ids.codec_nothink_id, ids.codec_think_bos_id, ids.codec_think_eos_id]
        self._opening = [ids.codec_pad_id, ids.codec_bos_id]
        self._im_start, self._user = config.im_start_token_id, config.user_token_id
        self._media_ids = np.array([ids.audio_token_id, ids.image_token_id, ids.video_token_id])
        self.text_pad, self.text_bos, self.text_end = (
            self.project(thinker.embed_token(token_id)[0])
            for token_id in (config.tts_pad_token_id, config.tts_bos_token_id, config.tts_eos_token_id)
        )

    def project(self, embeds: torch.Tensor) -> torch.Tensor:
        """What text is to the Talker: layer-0 inputs of the Thinker `[n, thinker_hidden]` -> `[n, hidden]`."""
        return self.model.text_projection(embeds)

    def num_read(self, ids: Sequence[int], length: int) -> int:
        return int(self._read(np.asarray(ids, dtype=np.int64))[:length].sum())

    def _read(self, ids: np.ndarray) -> np.ndarray:
        """Which tokens are read: all from the opening of a user's message to the next message's. bool `[n]`"""
        starts = np.flatnonzero(ids == self._im_start)
        is_user = np.append(False, ids[np.minimum(starts + 1, len(ids) - 1)] == self._user)
        return is_user[np.cumsum(ids == self._im_start)]

    def placed(self, state: EngineState, end: int) -> tuple[np.ndarray, torch.Tensor, int, int]:
        """Of the conversation's first `end` tokens those that are read, bool `[end]`, their positions `[num_read, 3]`,
        and where text and the next frame go on behind them: messages stand one behind the other here."""
        ids = np.asarray(state.ids, dtype=np.int64)
        is_read = self._read(ids)[:end]
        positions = state.positions.since(0)[:end].clone()
        next_position = top = 0
        edges = np.flatnonzero(np.diff(is_read, prepend=False) | ((ids[:end] == self._im_start) & is_read))
        for start, stop in zip(edges, [*edges[1:], end]):
            if not is_read[start:stop].any():
                continue
            rows = positions[start:stop]
            rows += next_position - int(rows[0].max())
            next_position, top = int(rows[-1].max()) + 1, max(top, int(rows.max()) + 1)
        return is_read, positions[torch.from_numpy(is_read)], next_position, top

    def unread(self, state: EngineState, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        start = state.talker_length
        is_read, positions, _, _ = self.placed(state, end)
        new = torch.from_numpy(is_read[start:])
        ids = np.asarray(state.ids[start:end], dtype=np.int64)[is_read[start:]]
        rows = state.states.since(start)[: end - start][new.to(self.thinker.device)]
        is_media = torch.from_numpy(np.isin(ids, self._media_ids)).to(rows.device)
        embeds = self.project(rows)
        if is_media.any():
            embeds[is_media] = self.model.hidden_projection(rows[is_media])
        return embeds, positions[len(positions) - len(ids) :].T

    def speak(self, state: EngineState, voice: Speaker, sampling: Sampling, seed: int) -> "FrameUtterance":
        return FrameUtterance(self, state, voice, sampling, seed)

    def opening(self, state: EngineState, end: int, voice: Speaker, first_state: torch.Tensor) -> torch.Tensor:
        """What stands behind the user's messages: the reply's opening, and the frame's first code is behind its last
        row. `first_state` `[1, thinker_hidden]` of the reply's first token -> `[num_rows, hidden]`"""
        codes = torch.tensor([*self._unthinking, voice.code, *self._opening], device=self.thinker.device)
        opened = state.states.since(end - NUM_OPENING)[:NUM_OPENING]
        pads = self.text_pad.expand(len(self._unthinking) + 1, -1)
        spoken = torch.cat([pads, self.text_bos, self.project(first_state)])
        return torch.cat([self.project(opened), spoken + self.embed_code(codes)])

    def _complete(self, steps: Sequence["FrameStep"], hidden: torch.Tensor, next_ids: Sequence[int]) -> None:
        """The further codes of all frames that are sound."""
        for step in steps:
            step.utterance.further = ()
        sounding = [row for row, code in enumerate(next_ids) if code not in self.end_ids]
        if sounding:
            self.complete(
                [steps[row].utterance for row in sounding], hidden[sounding], [next_ids[row] for row in sounding]
            )

    def complete(self, utterances: Sequence["FrameUtterance"], hidden: torch.Tensor, codes: Sequence[int]) -> None:
        first = self.embed_code(torch.tensor(list(codes), device=hidden.device))
        further, embeds = self.predictor.complete([utterance.frames for utterance in utterances], hidden, first)
        for row, utterance in enumerate(utterances):
            utterance.further, utterance.embeds = tuple(further[row]), embeds[row : row + 1]


class FrameUtterance:
    """One reply being spoken, as `app.engine.talker.Utterance`. Frame i needs reply token i only."""

    def __init__(self, talker: Qwen3Talker, state: EngineState, voice: Speaker, sampling: Sampling, seed: int) -> None:
        self._talker, self._state, self._voice = talker, state, voice
        self._sampler = TokenSampler(sampling, seed, talker.thinker.device, (), talker.suppressed)
        beside = TokenSampler(predictor_sampling(sampling), seed, talker.thinker.device, (), beside=self._sampler)
        self.frames = FrameState(beside)
        # Of the newest frame: its codes behind the first, and the sum of the embeddings of all, `[1, hidden]`.
        self.further: tuple[int, ...] = ()
        self.embeds: torch.Tensor | None = None
        self._next_position = 0

    def read(self, prompt_end: Mark) -> Iterator[int]:
        num_opening = NUM_OPENING + len(self._talker._unthinking) + 3
        return self._talker.read(self._state, prompt_end.num_tokens, num_behind=num_opening)

    def start(self, prompt_end: Mark, first_state: torch.Tensor) -> tuple[int, ...]:
        """Read the messages that the cache lacks and give frame 0; see `Utterance.start`."""
        talker, state, end = self._talker, self._state, prompt_end.num_tokens
        unread, placed = talker.unread(state, end)
        opening = talker.opening(state, end, self._voice, first_state[0])
        _, _, next_position, top = talker.placed(state, end)
        embeds = torch.cat([unread, opening])
        positions = torch.cat([placed, line(next_position, len(opening)).T], dim=1)
        hidden = talker.decoder.forward(state.talker_cache, embeds, positions)[-1:]
        state.talker_length = end
        self._next_position = max(top, next_position + len(opening))
        code = self._sampler.pick(talker.model.codec_head(hidden))
        if code not in talker.end_ids:
            talker.complete([self], hidden, [code])
        return (code, *self.further)

    def step(self, reply_state: torch.Tensor) -> "FrameStep":
        """`reply_state` `[1, 1, thinker_hidden]` of the next reply token."""
        return self._step(self._talker.project(reply_state[0]))

    def step_after_text(self, is_first: bool) -> "FrameStep":
        return self._step(self._talker.text_end if is_first else self._talker.text_pad)

    def _step(self, text: torch.Tensor) -> "FrameStep":
        positions = line(self._next_position, 1).T
        embeds = self.embeds + text
        return FrameStep(self, self._talker.runner, self._state.talker_cache, embeds, positions, self._sampler)

    def found(self) -> None:
        self._next_position += 1


class FrameStep(DecodeStep):
    """Appends the frame before and samples the next."""

    def __init__(self, utterance: FrameUtterance, *args) -> None:
        super().__init__(*args)
        self.utterance = utterance
        self.frame: tuple[int, ...] = ()

    def found(self, hidden: torch.Tensor, next_id: int) -> None:
        super().found(hidden, next_id)
        self.frame = (next_id, *self.utterance.further)
        self.utterance.found()
