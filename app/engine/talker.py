"""The Talker: turns what the Thinker leaves in a session into codec tokens; holds no conversation."""

from collections.abc import Callable, Iterator, Sequence

import torch
from transformers import Qwen2_5OmniTalkerForConditionalGeneration as TalkerModel

from app.engine.decoder import Decoder
from app.engine.decoding import DecodeRunner, DecodeStep
from app.engine.flow import Voice
from app.engine.sampling import TokenSampler
from app.engine.state import EngineState, Mark
from app.engine.thinker import Thinker
from app.types.turn import Sampling


class Talker:
    """The weights and the ids that frame speech; `speak` opens one utterance."""

    def __init__(
        self, model: TalkerModel, thinker: Thinker, make_runner: Callable[..., DecodeRunner] = DecodeRunner
    ) -> None:
        self.model = model
        self._thinker = thinker
        self.decoder = Decoder(model.model)
        self.runner = make_runner(self.decoder, model.codec_head, model.thinker_to_talker_proj)
        self.input_width = thinker.input_width
        self.end_ids = frozenset({model.codec_pad_token, model.codec_eos_token})

    def num_read(self, ids: Sequence[int], length: int) -> int:
        """Of the first `length` of a conversation's ids, those that the cache holds once they are read: all."""
        return length

    def read(self, state: EngineState, end: int, num_behind: int = 0) -> Iterator[int]:
        """Append what the cache lacks of the conversation's first `end` tokens; each pass is a unit of work and gives
        the length by then.

        `num_behind`: so many rows follow at once, and the pass that takes them takes the last of these too.
        """
        num_passes = self.decoder.num_passes(end - state.talker_length + num_behind)
        for num_left in range(num_passes, 1 if num_behind else 0, -1):
            length = state.talker_length - (state.talker_length - end) // num_left
            if length == state.talker_length:
                return
            embeds, positions = self.unread(state, length)
            if len(embeds):
                self.decoder.forward(state.talker_cache, embeds, positions)
            state.talker_length = length
            yield length

    def unread(self, state: EngineState, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What the cache lacks of the first `end` tokens: embeddings `[n, hidden]` and positions `[3, n]`."""
        start = state.talker_length
        states, positions = state.states.since(start)[: end - start], state.positions.since(start)[: end - start]
        return self.model.thinker_to_talker_proj(states), positions.T

    def speak(self, state: EngineState, voice: Voice, sampling: Sampling, seed: int) -> "Utterance":
        return Utterance(self, self._thinker, state, voice.bos_token_id, sampling, seed)


class Utterance:
    """One reply being spoken: `read`, `start` once with the reply's first state, then `step` per codec frame.

    Code i needs the state of reply token i, which the same forward makes that samples token i + 1: speech follows
    the text at one token's distance (Qwen2_5OmniForConditionalGeneration.generate, unrolled).
    """

    def __init__(
        self,
        talker: Talker,
        thinker: Thinker,
        state: EngineState,
        bos_token_id: int,
        sampling: Sampling,
        seed: int,
    ) -> None:
        model = talker.model
        self._talker = talker
        self._model = model
        self._thinker = thinker
        self._state = state
        self._bos_token_id = bos_token_id
        # generate() counts the prompt as codec_mask, codec_pad and codec_bos for the repetition penalty.
        seen = (model.codec_mask_token, model.codec_pad_token, model.codec_bos_token)
        self._sampler = TokenSampler(sampling, seed, thinker.device, seen, suppressed=(model.codec_bos_token,))
        self._code: int | None = None
        self._next_position = 0
        self._text_end = thinker.embed_token(model.text_eos_token)
        self._text_pad = thinker.embed_token(model.text_pad_token)

    def read(self, prompt_end: Mark) -> Iterator[int]:
        """Of a prompt that needs several passes all but the last, which `start` takes; each is a unit of work."""
        return self._talker.read(self._state, prompt_end.num_tokens, num_behind=2)

    def start(self, prompt_end: Mark, first_state: torch.Tensor) -> tuple[int, ...]:
        """Read the prompt's states that the cache lacks and give frame 0, which is one code.

        `prompt_end`: the session's mark between prompt and reply; `first_state` `[1, 1, thinker_hidden]` is that of
        reply token 0. The speaker's token and reply token 0 stand behind the prompt in order, later codes at the top
        (see `Cursor`).
        """
        state, embed_code = self._state, self._model.get_input_embeddings()
        frame = torch.tensor([[self._model.codec_pad_token, self._model.codec_bos_token]], device=self._thinker.device)
        tail = torch.cat([self._thinker.embed_token(self._bos_token_id), first_state], dim=1) + embed_code(frame)
        unread, placed = self._talker.unread(state, prompt_end.num_tokens)
        embeds = torch.cat([unread, self._model.thinker_to_talker_proj(tail[0])])
        positions = torch.cat([placed, line(prompt_end.next_position, 2).T], dim=1)
        self._next_position = max(prompt_end.top_position, prompt_end.next_position + 2)
        hidden = self._talker.decoder.forward(state.talker_cache, embeds, positions)
        self._code = self._sampler.pick(self._model.codec_head(hidden[-1:]))
        state.talker_length = prompt_end.num_tokens
        return (self._code,)

    def step(self, reply_state: torch.Tensor) -> "TalkerStep":
        """`reply_state` `[1, 1, thinker_hidden]` of the next reply token."""
        code = torch.tensor([self._code], device=self._thinker.device)
        embeds = self._model.get_input_embeddings()(code) + reply_state[0]
        positions = line(self._next_position, 1).T
        return TalkerStep(self._talker.runner, self, self._state.talker_cache, embeds, positions, self._sampler)

    def step_after_text(self, is_first: bool) -> "TalkerStep":
        """A code for which no reply token is left: the end of text is told once, then padding."""
        return self.step(self._text_end if is_first else self._text_pad)

    def found(self, code: int) -> None:
        self._code = code
        self._next_position += 1


class TalkerStep(DecodeStep):
    """Appends the code before and samples the next. Found: `frame`, which is one code."""

    def __init__(self, runner: DecodeRunner, utterance: Utterance, *args) -> None:
        super().__init__(runner, *args)
        self._utterance = utterance
        self.frame: tuple[int, ...] = ()

    def found(self, hidden: torch.Tensor, next_id: int) -> None:
        super().found(hidden, next_id)
        self.frame = (next_id,)
        self._utterance.found(next_id)


def line(start: int, length: int) -> torch.Tensor:
    """Positions `[length, 3]` that count on from `start` on all axes."""
    return torch.arange(start, start + length)[:, None].expand(-1, 3)
