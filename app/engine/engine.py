"""The engine: owns the loaded parts and the one thread that steps all running turns fairly."""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from transformers import PreTrainedTokenizerBase

from app.door import door
from app.engine.again import SpeechAgain, Spoken
from app.engine.feed import Feed
from app.engine.metrics import TurnClock
from app.engine.spec import ModelSpec
from app.engine.state import EngineState, Mark
from app.engine.stepping import Step, run_together
from app.engine.turn import Stages, Turn
from app.errors import DemoError
from app.types.events import TERMINAL, Event, TurnFailed, TurnQueued
from app.types.prompt import Prompt
from app.types.turn import TurnSettings


class TurnHandle:
    """A submitted turn. `stop` may be called from any thread, at any time, any number of times."""

    def __init__(
        self,
        make: Callable[[], Turn],
        on_event: Callable[[Event], None],
        number: int,
        clock: TurnClock,
        feed: Feed | None = None,
    ) -> None:
        self._make = make
        self._on_event = on_event
        self._number = number
        self._clock = clock
        self._turn: Turn | None = None
        self._steps: Iterator[Event | Step | None] | None = None
        self._asked: Step | None = None
        self._num_ahead = -1
        self._feed = feed
        self._stop = threading.Event()
        self._is_begun_too_early = False
        self._over = threading.Event()
        self.was_taken_back = False

    def stop(self) -> None:
        self._stop.set()

    def take_back(self) -> bool:
        """Stop, and leave nothing of the turn but what its feed appended: the person goes on speaking. Returns when
        that is done; False when the turn had ended before, and its feed with it."""
        assert self._feed is not None
        self._is_begun_too_early = True
        self._stop.set()
        self._over.wait()
        return self.was_taken_back

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    # What follows is the worker thread's.

    def tell_queued(self, num_ahead: int) -> None:
        if num_ahead != self._num_ahead:
            self._num_ahead = num_ahead
            self._emit(TurnQueued(self._number, self._clock.now(), num_ahead))

    @property
    def wants_stop(self) -> bool:
        return self._stop.is_set()

    def advance(self) -> Step | None:
        """One unit of work; `is_over` when the turn has ended, in whichever way. A step is a unit that is still to be
        done, by itself or together with others': then comes `resume`."""
        self._guarded(self._advance)
        return self._asked

    def resume(self) -> None:
        self._guarded(self._go_on)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            with door(f"turn {self._number}"):
                work()
        except DemoError as error:
            self._abandon(error)

    def _advance(self) -> None:
        if self._turn is None:
            if self._feed is not None:
                self._feed.take()
            self._turn = self._make()
            self._steps = self._turn.steps()
        if self._stop.is_set():
            self._asked = None
            self._steps.close()
            self.was_taken_back = self._is_begun_too_early
            for event in self._turn.taken_back() if self.was_taken_back else self._turn.interrupted():
                self._emit(event)
        elif self._asked is None:
            self._go_on()

    def _go_on(self) -> None:
        """To the next thing that the turn yields. A step that comes right behind another waits for the next round:
        only there a turn may be stopped."""
        item = next(self._steps)
        self._asked = item if isinstance(item, Step) else None
        if item is not None and self._asked is None:
            self._emit(item)

    def _abandon(self, error: DemoError) -> None:
        """Whatever a step throws ends this turn and no other."""
        self._asked = None
        if self._turn is not None:
            self._steps.close()
            self._turn.abandon()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._emit(TurnFailed(self._number, self._clock.now(), error.message, error.code))

    def _emit(self, event: Event) -> None:
        is_last = isinstance(event, TERMINAL)
        if is_last and self._feed is not None:
            self._feed.is_taken = False
            if not self.was_taken_back:
                self._feed.end()
        self._on_event(event)
        if is_last:
            self._over.set()


class Engine:
    """Steps up to `max_turns` turns in rotation; later ones wait in order and are told how many are ahead.

    Threads: one worker, started here and joined by `close`. It alone touches weights and the states of running turns.
    """

    def __init__(
        self,
        spec: ModelSpec,
        tokenizer: PreTrainedTokenizerBase,
        stages: Stages,
        max_turns: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self.tokenizer = tokenizer
        self.stages = stages
        self._max_turns = max_turns
        self._clock = clock
        self._waiting: deque[TurnHandle] = deque()
        self._feeds: list[Feed] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
        self._worker.start()

    def new_state(self) -> EngineState:
        if self.stages.talker is None:
            return EngineState(has_talker=False)
        return EngineState(has_talker=True, num_read=self.stages.talker.num_read)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a reply's ids, control tokens left out."""
        return self.tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def reply_ids(self, ids: Sequence[int], text: str) -> tuple[int, ...]:
        """The ids of a reply of another day: `ids` as they were sampled where this tokenizer reads `text` in them and
        they hold no control token but the end of text; else those of the text."""
        tokenizer, ends = self.tokenizer, self.stages.ends_of_text
        are_words = all(
            0 <= id_ < len(tokenizer) and (id_ in ends or id_ not in tokenizer.added_tokens_decoder) for id_ in ids
        )
        if are_words and self.decode(ids) == text:
            return tuple(ids)
        return tuple(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def listen(self, state: EngineState, on_fed: Callable[[int], None], opening: Mark | None = None) -> Feed:
        """Begin a message that is appended behind `state` while it is spoken. `on_fed`: see `Feed`. `opening`: of an
        earlier feed of the same message, which begins again there."""
        feed = Feed(self.stages.thinker, self.stages.talker, state, self._wake, on_fed, opening)
        with self._changed:
            assert not self._is_closed, "listen after close"
            self._feeds.append(feed)
        return feed

    def submit(
        self,
        state: EngineState,
        prompt: Prompt,
        settings: TurnSettings,
        turn: int,
        on_event: Callable[[Event], None],
        submitted_at: float | None = None,
        feed: Feed | None = None,
    ) -> TurnHandle:
        """Answer `prompt` behind `state`. `on_event` is called in the worker thread, in order, and must be quick; the
        last event is a terminal one. `submitted_at`: when the user asked, on this engine's clock. `feed`: what was put
        there comes before the prompt; nothing may be put any more unless the turn is taken back."""
        return self._enqueue(Turn, state, prompt, settings, turn, on_event, submitted_at, feed)

    def speak_again(
        self,
        state: EngineState,
        prompt: Prompt,
        settings: TurnSettings,
        turn: int,
        on_event: Callable[[Event], None],
        submitted_at: float | None = None,
        *,
        end: Mark,
        reply_ids: Sequence[int],
        num_states: int,
    ) -> TurnHandle:
        """Speak a reply that `state` holds, or holds once `prompt` is appended, as `submit` answers a prompt.

        `end`: the mark behind the reply, which was sampled as `reply_ids`; `num_states`: see `Spoken`. The checkpoint
        must have a Talker."""
        # What was sampled last may not be in the caches; an end of text never is.
        ends = self.stages.ends_of_text
        num_cached = sum(id_ not in ends for id_ in reply_ids) - sum(id_ not in ends for id_ in end.pending_ids)
        kind = partial(SpeechAgain, Spoken(end, num_cached, num_states))
        return self._enqueue(kind, state, prompt, replace(settings, speak=True), turn, on_event, submitted_at, None)

    def _enqueue(
        self,
        kind: Callable[..., Turn],
        state: EngineState,
        prompt: Prompt,
        settings: TurnSettings,
        turn: int,
        on_event: Callable[[Event], None],
        submitted_at: float | None,
        feed: Feed | None,
    ) -> TurnHandle:
        seed = settings.seed if settings.seed is not None else secrets.randbelow(2**31)
        clock = TurnClock(self._clock() if submitted_at is None else submitted_at, self._clock)

        def make() -> Turn:
            return kind(self.stages, self.tokenizer, state, prompt, settings, seed, turn, clock, feed)

        handle = TurnHandle(make, on_event, turn, clock, feed)
        with self._changed:
            assert not self._is_closed, "submit after close"
            self._waiting.append(handle)
            self._changed.notify()
        return handle

    def settle_pace(self) -> None:
        """What was measured so far is how fast this machine is: the windows of speech follow it from now on."""
        if self.stages.token2wav is not None:
            self.stages.token2wav.paces.settle()

    def close(self) -> None:
        """Stop all turns and end the worker."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._worker.join()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _work(self) -> None:
        running: list[TurnHandle] = []
        with torch.inference_mode():
            while True:
                with self._changed:
                    while not running and not self._waiting and not self._is_closed and not self._busy_feeds():
                        self._changed.wait()
                    if self._is_closed and not running and not self._waiting:
                        for feed in self._feeds:
                            feed.end()
                        return
                    running += self._admit(len(running))
                    stopped = running + list(self._waiting) if self._is_closed else []
                    feeds = self._busy_feeds()
                for handle in stopped:
                    handle.stop()
                for feed in feeds:
                    feed.advance()
                asking = [(handle, step) for handle in running if (step := handle.advance()) is not None]
                run_together(step for _, step in asking)
                for handle, _ in asking:
                    handle.resume()
                running = [handle for handle in running if not handle.is_over]
                with self._changed:
                    self._feeds = [feed for feed in self._feeds if not feed.is_over]

    def _busy_feeds(self) -> list[Feed]:
        return [feed for feed in self._feeds if feed.has_work]

    def _admit(self, num_running: int) -> list[TurnHandle]:
        """Take the next turns off the queue; a stopped one needs no place to end."""
        admitted = [handle for handle in self._waiting if handle.wants_stop]
        for handle in admitted:
            self._waiting.remove(handle)
        while self._waiting and num_running + len(admitted) < self._max_turns:
            admitted.append(self._waiting.popleft())
        for place, handle in enumerate(self._waiting):
            handle.tell_queued(num_running + len(admitted) + place)
        return admitted
