"""One turn as a sequence of small steps over a session's state; knows no thread and no other session."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from transformers import PreTrainedTokenizerBase

from app.engine.code2wav import Code2Wav, WaveStream
from app.engine.detokenizer import Detokenizer
from app.engine.feed import Feed
from app.engine.flow import Voice
from app.engine.metrics import TurnClock, TurnTally
from app.engine.sampling import TokenSampler
from app.engine.state import EngineState, Mark
from app.engine.stepping import Step, alone
from app.engine.talker import Talker
from app.engine.talker_qwen3 import Speaker
from app.engine.thinker import Thinker
from app.engine.token2wav import SpeechStream, Token2Wav
from app.types.events import (
    AudioChunk,
    CodecDelta,
    Event,
    Prefilled,
    StageTimed,
    TextDelta,
    TurnFinished,
    TurnInterrupted,
    TurnStarted,
)
from app.types.prompt import Prompt
from app.types.turn import TurnSettings

# An English text token takes 0.24 to 0.34 s of speech, digits and Chinese up to 0.5 s; a Talker that is still going
# after so long has lost its end token.
S_PER_TEXT_TOKEN = 0.8
SPARE_S = 2.0

T = TypeVar("T")


@dataclass(frozen=True)
class Stages:
    """The loaded parts of one checkpoint. `talker` and `token2wav` are None when it runs text only. `codec_frame_s`:
    speech of a codec frame."""

    thinker: Thinker
    talker: Talker | None
    token2wav: Token2Wav | Code2Wav | None
    voices: dict[str, Voice] | dict[str, Speaker]
    ends_of_text: frozenset[int]
    output_sample_rate: int
    codec_frame_s: float


class Turn:
    """Answers one prompt. `steps` yields events, None between units of work where a turn may be stopped, and such units
    as may be done together with those of other turns: it goes on when they are done, and before it may be stopped.

    At every yield the session's state is consistent: after `steps` was closed, `interrupted` or `abandon` settles it.
    """

    def __init__(
        self,
        stages: Stages,
        tokenizer: PreTrainedTokenizerBase,
        state: EngineState,
        prompt: Prompt,
        settings: TurnSettings,
        seed: int,
        number: int,
        clock: TurnClock,
        feed: Feed | None = None,
    ) -> None:
        """`feed`: the first part of the message, which is appended already or about to be."""
        self._stages = stages
        self._state = state
        self._prompt = prompt
        self._settings = settings
        self._seed = seed
        self._number = number
        self._clock = clock
        self._feed = feed
        self._mark = state.mark() if feed is None else feed.opening
        self._fed: Mark | None = None
        self._tally = TurnTally()
        self._text = Detokenizer(tokenizer)
        self._num_samples = 0
        self._voice = None
        if settings.speak and stages.talker is not None:
            self._voice = stages.voices[settings.voice or next(iter(stages.voices))]

    def alone(self) -> Iterator[Event]:
        """The whole turn, here and now."""
        return (event for event in alone(self.steps()) if event is not None)

    def steps(self) -> Iterator[Event | Step | None]:
        yield TurnStarted(*self._stamp(), voice=self._voice.name if self._voice else "", seed=self._seed)
        hidden = yield from self._prefill()
        prompt_end = self._state.mark()
        given = self._prompt.reply_ids
        reply = self._sampled_reply(hidden) if given is None else self._given_reply(given)
        if self._voice is None:
            yield from (item for item in reply if not isinstance(item, torch.Tensor))
        else:
            yield from self._spoken(reply, self._voice, prompt_end)
        rest = self._text.finish()
        if rest:
            yield TextDelta(*self._stamp(), text=rest, text_ids=())
        self._settle()
        yield from self._stage_times()
        yield TurnFinished(*self._stamp(), metrics=self._tally.metrics(self._clock.now()))

    def interrupted(self) -> Iterator[Event]:
        """Settle a stopped turn. Before its first reply token it leaves no trace; else what was said stays."""
        if self._tally.num_text_tokens:
            self._settle()
        else:
            self.abandon()
        yield from self._stage_times()
        metrics = self._tally.metrics(self._clock.now())
        yield TurnInterrupted(*self._stamp(), heard_text=self._text.text, metrics=metrics)

    def abandon(self) -> None:
        """Take the state back to before the turn."""
        self._state.trim(self._mark)

    def taken_back(self) -> Iterator[Event]:
        """Settle a turn that was begun too early: as if there had only been its feed, which goes on."""
        if self._fed is not None:
            self._state.trim(self._fed)
        yield TurnInterrupted(*self._stamp(), heard_text="", metrics=self._tally.metrics(self._clock.now()))

    def _settle(self) -> None:
        # The codes of this reply are of no use to the next; its prompt in the Talker's cache is.
        self._state.crop_talker(self._state.talker_length)

    def _stamp(self) -> tuple[int, float]:
        return self._number, self._clock.now()

    def _stage_times(self) -> Iterator[Event]:
        for stage, start_s, busy_s in self._clock.spans():
            yield StageTimed(*self._stamp(), stage=stage, start_s=start_s, duration_s=busy_s)

    def _prefill(self) -> Iterator[Event | None]:
        state, thinker = self._state, self._stages.thinker
        num_reused = state.num_tokens
        if self._feed is not None:
            with self._clock.stage("feed"):
                yield from self._feed.drain()
            self._mark = self._feed.opening
            self._fed = state.mark()
        num_fed = state.num_tokens - num_reused
        state.pending_ids = ()  # the prompt closes the last reply
        state.expect(self._prompt.num_tokens)
        hidden = None
        for segment in self._prompt.segments:
            encoded = []
            if segment.features:
                encoded = yield from self._in_units("encode", thinker.encode(segment))
            hidden = (yield from self._in_units("prefill", thinker.prefill(state, segment, encoded)))[-1]
        self._tally.num_prompt_tokens = num_fed + self._prompt.num_tokens
        self._tally.num_reused_tokens = num_reused
        yield Prefilled(*self._stamp(), num_new=self._tally.num_prompt_tokens, num_reused=num_reused)
        return hidden

    def _in_units(self, stage: str, units: Iterator[T]) -> Generator[None, None, list[T]]:
        """All that `units` gives; a turn may be stopped behind each."""
        found: list[T] = []
        while True:
            with self._clock.stage(stage):
                unit = next(units, None)
                self._stages.thinker.wait()
            if unit is None:
                return found
            found.append(unit)
            yield None

    def _given_reply(self, reply_ids: tuple[int, ...]) -> Iterator[Event | torch.Tensor]:
        """Feed a reply as it stands: its text, then each token's state `[1, 1, hidden]`."""
        self._tally.text_end = "eos"
        if not reply_ids:
            return
        start = self._state.num_tokens
        with self._clock.stage("thinker"):
            self._stages.thinker.append_reply(self._state, reply_ids)
        yield self._text_delta(reply_ids)
        for row in self._state.states.since(start).clone():
            yield row[None, None]

    def _sampled_reply(self, hidden: torch.Tensor) -> Iterator[Event | Step | torch.Tensor]:
        """Decode step by step. A token's state `[1, 1, hidden]` comes out of the forward that samples the next token,
        so it follows that token's event."""
        thinker, state = self._stages.thinker, self._state
        with self._clock.stage("thinker"):
            sampler = TokenSampler(self._settings.thinker, self._seed, thinker.device, state.ids)
            token_id = sampler.pick(thinker.logits(hidden))
        state.pending_ids = (token_id,)
        yield self._text_delta((token_id,))
        while not self._is_last(token_id):
            step = thinker.step(state, token_id, sampler)
            yield from step.done(self._clock, "thinker")
            token_id = step.next_id
            yield self._text_delta((token_id,))
            yield state.states.since(state.num_tokens - 1)[None]

    def _is_last(self, token_id: int) -> bool:
        if token_id in self._stages.ends_of_text:
            self._tally.text_end = "eos"
        elif self._tally.num_text_tokens >= self._settings.thinker.max_new_tokens:
            self._tally.text_end = "length"
        return bool(self._tally.text_end)

    def _spoken(
        self, reply: Iterator[Event | Step | torch.Tensor], voice: Voice | Speaker, prompt_end: Mark
    ) -> Iterator[Event | Step | None]:
        """Speak a reply while it is written: one frame per token state, then alone until the Talker ends."""
        stages, settings = self._stages, self._settings
        utterance = stages.talker.speak(self._state, voice, settings.talker, self._seed)
        speech = stages.token2wav.speech(voice, self._seed, settings, stages.output_sample_rate, self._clock.now)
        for item in reply:
            if not isinstance(item, torch.Tensor):
                yield item
            elif not self._tally.speech_end:
                if self._tally.num_codec_frames == 0:
                    yield from self._in_units("talker", utterance.read(prompt_end))
                    with self._clock.stage("talker"):
                        frame = utterance.start(prompt_end, item)
                else:
                    step = utterance.step(item)
                    yield from step.done(self._clock, "talker")
                    frame = step.frame
                yield from self._codec(frame, speech)
        if self._tally.num_codec_frames == 0:
            return  # nothing to say: the reply was empty, or one token that was never run
        bound = round((SPARE_S + S_PER_TEXT_TOKEN * self._tally.num_text_tokens) / stages.codec_frame_s)
        is_first = True
        while not self._tally.speech_end:
            if self._tally.num_codec_frames >= bound:
                self._tally.speech_end = "bound"
                break
            step = utterance.step_after_text(is_first)
            yield from step.done(self._clock, "talker")
            is_first = False
            yield from self._codec(step.frame, speech)
        yield from self._sound(speech, speech.finish())

    def _codec(self, frame: tuple[int, ...], speech: SpeechStream | WaveStream) -> Iterator[Event | Step | None]:
        self._tally.num_codec_frames += 1
        if self._tally.first_codec_s is None:
            self._tally.first_codec_s = self._clock.now()
        yield CodecDelta(*self._stamp(), codec_ids=frame)
        if frame[0] in self._stages.talker.end_ids:
            self._tally.speech_end = "eos"
            yield from self._sound(speech, speech.finish())  # the text may go on for long
            return
        if self._tally.num_codec_frames >= self._settings.talker.max_new_tokens:
            self._tally.speech_end = "length"
        if self._tally.text_end:
            speech.text_ended()
        yield from self._sound(speech, speech.push(frame))

    def _sound(
        self, speech: SpeechStream | WaveStream, units: Iterator[Step | torch.Tensor | None]
    ) -> Iterator[Event | Step | None]:
        rate = self._stages.output_sample_rate
        while True:
            with self._clock.stage("token2wav"):
                unit = next(units, _NO_MORE)
            if unit is _NO_MORE:
                return
            if isinstance(unit, Step):
                yield from unit.done(self._clock, "token2wav")
            elif unit is None:
                speech.pause()
                yield None
            elif len(unit):
                self._clock.count("token2wav", speech.device_s)
                if self._tally.first_packet_s is None:
                    self._tally.first_packet_s = self._clock.now()
                start = self._num_samples
                self._num_samples += len(unit)
                self._tally.audio_s = self._num_samples / rate
                yield AudioChunk(
                    *self._stamp(),
                    start_sample=start,
                    samples=unit.numpy(),
                    sample_rate=rate,
                    hold_s=0.0 if start else speech.hold_s,
                )

    def _text_delta(self, token_ids: tuple[int, ...]) -> TextDelta:
        self._tally.num_text_tokens += len(token_ids)
        if self._tally.ttft_s is None:
            self._tally.ttft_s = self._clock.now()
        return TextDelta(*self._stamp(), text=self._text.push(token_ids), text_ids=token_ids)


_NO_MORE = object()
