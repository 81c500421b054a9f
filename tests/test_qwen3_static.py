"""Qwen3-Omni on tables that stay where they are, as a GPU records it: the laws of `tests/test_static.py`."""

import pytest
from transformers import Qwen3OmniMoeForConditionalGeneration

from app.engine import static
from app.engine.loader import build_engine
from tests.engine_kit import Tiny
from tests.test_engine_parity import test_greedy_text_and_codes_equal_generate  # noqa: F401
from tests.test_engine_session import (  # noqa: F401
    test_trimmed_to_turn_one_it_answers_as_if_turn_two_had_not_been,
    test_two_sessions_stepped_in_turn_give_what_each_gives_alone,
)
from tests.test_qwen3 import tiny as eager  # noqa: F401
from tests.test_static import SMALL
from tests.test_stepping import test_stepped_together_each_says_what_it_says_alone  # noqa: F401


@pytest.fixture(scope="module")
def tiny(eager, tiny_qwen3_checkpoint):  # noqa: F811
    patch = pytest.MonkeyPatch()
    patch.setattr(static, "TABLES", SMALL)
    model = Qwen3OmniMoeForConditionalGeneration.from_pretrained(tiny_qwen3_checkpoint).eval()
    made = build_engine(model, eager.engine.tokenizer, eager.engine.spec, 4, records=True)
    yield Tiny(made, eager.model, eager.processor)
    assert not made.stages.thinker.runner.is_broken and not made.stages.talker.runner.is_broken
    made.close()
    patch.undo()
