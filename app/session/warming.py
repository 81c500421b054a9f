"""The first turn of a program pays for what later ones find done: tables, voices, the choice of kernels. Here that turn
is nobody's."""

import queue
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from app.engine.spec import QWEN2_5, QWEN3
from app.session.pipeline import Pipeline
from app.session.prompter import scratch_state
from app.types.events import TERMINAL, CodecDelta, Event
from app.types.turn import TextPart

STAGE = "warm-up"
# Speech of a second or two: every size of the first packets comes up once. Larger ones would double a CPU's warm-up,
# and come with a lead; on CUDA they are recorded before.
NUM_FRAMES = {QWEN2_5: 60, QWEN3: 20}
_MESSAGE, _REPLY = "Hello!", "Hello, nice to meet you."


def warm_up(engine: Any, pipeline: Pipeline, system_prompt: str, progress: Callable[[str, float], None]) -> None:
    """Speaks a little in the first voice. What goes wrong here will go wrong in a turn too, and be told there. Raises
    what `progress` raises."""
    progress(STAGE, 0.0)
    spec = engine.spec
    most = NUM_FRAMES[spec.family]
    talker = replace(spec.defaults.talker, max_new_tokens=most)
    settings = replace(spec.defaults, seed=0, speak=spec.has_talker, say=_REPLY, talker=talker)
    with scratch_state(engine) as state:
        prompt = pipeline.render(spec, engine.tokenizer, state, (TextPart(_MESSAGE),), system_prompt, _REPLY)
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        handle = engine.submit(state, prompt, settings, 0, events.put)
        num_frames = 0
        try:
            while not isinstance(event := events.get(), TERMINAL):
                if isinstance(event, CodecDelta):
                    num_frames += 1
                    progress(STAGE, min(1.0, num_frames / most))
        except BaseException:
            # The program is being closed; the state is the worker's until the turn has ended.
            handle.stop()
            while not isinstance(events.get(), TERMINAL):
                pass
            raise
    engine.settle_pace()
