"""What stays of a reply that was stopped while it was played: whole words, by their share of the characters."""

import pytest
import torch

from app.chatml.render import PastTurn
from app.engine.state import Mark
from app.session.cut import heard, projected_samples
from app.types.turn import TextPart
from tests.engine_kit import afresh, new_turn, run, text_ids
from tests.test_engine_worker import SETTINGS

WORDS = ("Nine", " plus", " five", " is", " four", "teen", ".")


def decode(ids) -> str:
    return "".join(WORDS[id_] for id_ in ids)


@pytest.mark.parametrize(
    "share, text, num_ids",
    [
        (0.0, "", 0),
        (-1.0, "", 0),
        (0.1, "", 0),
        (0.16, "Nine", 1),
        (0.4, "Nine plus", 2),
        (0.6, "Nine plus five", 3),
        # "four" is not "fourteen": half a word is none.
        (0.9, "Nine plus five is", 4),
        (0.97, "Nine plus five is fourteen", 6),
        (1.0, "Nine plus five is fourteen.", 7),
        (7.0, "Nine plus five is fourteen.", 7),
    ],
)
def test_whole_words_stay(share, text, num_ids):
    ids = range(len(WORDS))
    assert (heard(decode, ids, share).text, heard(decode, ids, share).num_ids) == (text, num_ids)


def test_a_language_without_spaces_is_cut_between_characters():
    assert heard(lambda ids: "".join("你好世界"[id_] for id_ in ids), range(4), 0.5).text == "你好"


def test_a_token_within_a_character_is_never_the_end():
    """The first of two tokens that make one character decodes to a replacement character."""
    parts = {0: "", 1: "a", 2: "a\ufffd", 3: "aé", 4: "aé b"}
    assert heard(lambda ids: parts[len(ids)], range(4), 0.8) == heard(lambda ids: parts[len(ids)], range(4), 0.5)


def test_an_empty_reply_stays_empty():
    assert heard(lambda ids: "", (), 0.5).num_ids == 0


def test_speech_that_is_still_being_made_is_taken_for_as_long_as_its_text():
    assert projected_samples(24_000, True, 100, 24_000) == 24_000
    assert projected_samples(24_000, False, 100, 24_000) == pytest.approx(6.6 * 24_000)
    assert projected_samples(240_000, False, 10, 24_000) == 240_000


@pytest.mark.parametrize("num_kept", [0, 1, 3, 5, 6])
def test_a_cut_reply_is_a_reply_that_was_never_longer(tiny, num_kept):
    """The next turn is answered as if the reply had been given so short."""
    state = tiny.engine.new_state()
    ids = text_ids(run(tiny.engine, state, (TextPart("hello"),), SETTINGS))
    assert len(ids) == 6
    before = state.mark()
    state.cut_reply(len(ids), num_kept)
    assert isinstance(state.mark(), Mark) and state.num_tokens == before.num_tokens - max(0, 5 - num_kept)
    after = text_ids(run(tiny.engine, state, (TextPart("again"),), SETTINGS))
    fresh = tiny.engine.new_state()
    past = PastTurn((TextPart("hello"),), tuple(ids[:num_kept]))
    prompt = afresh(tiny.engine, (past,), (TextPart("again"),))
    with torch.inference_mode():
        events = list(new_turn(tiny.engine, fresh, prompt, SETTINGS).alone())
    assert after == text_ids(events)
    assert state.num_tokens == fresh.num_tokens
