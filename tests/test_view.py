"""Laws of the fold over a turn's events, and of what is drawn of it."""

from pathlib import Path

import numpy as np
import pytest

from app.service import StoredFile, TurnRecord
from app.types.events import (
    AudioChunk,
    CodecDelta,
    Prefilled,
    StageTimed,
    TextDelta,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    TurnMetrics,
    TurnQueued,
    TurnStarted,
)
from components.conversation import Conversation, plain_markdown
from components.texts import LANGUAGES, Texts, texts_for
from components.view import View, fold, fold_all, timings_of
from components.waterfall import waterfall_html

EN = Texts("en")


def chunk(t_s: float, num_samples: int = 2400) -> AudioChunk:
    return AudioChunk(1, t_s, 0, np.zeros(num_samples, np.float32), 24_000)


TURN = (
    TurnQueued(1, 0.0, 2),
    TurnStarted(1, 0.1, "Chelsie", 7),
    Prefilled(1, 0.2, 120, 3900),
    TextDelta(1, 0.3, "Hel", (5,)),
    CodecDelta(1, 0.35, (9,)),
    TextDelta(1, 0.4, "lo", (6,)),
    chunk(0.5),
    chunk(0.6),
    StageTimed(1, 0.7, "prefill", 0.1, 0.1),
)


def shown(message) -> str:
    return "".join(content.text if content.type == "text" else content.value for content in message.content)


def test_the_state_follows_the_events():
    states, view = [], View()
    for event in (*TURN, TurnFinished(1, 1.0, TurnMetrics())):
        view = fold(view, event)
        states.append(view.state)
    thinking, writing, speaking = ["thinking"] * 2, ["writing"] * 3, ["speaking"] * 3
    assert states == ["queued", *thinking, *writing, *speaking, "done"], states


def test_text_and_sound_add_up_and_the_firsts_stay():
    view = fold_all(TURN)
    assert (view.text, view.num_new, view.num_reused) == ("Hello", 120, 3900)
    assert (view.ttft_s, view.first_codec_s, view.first_packet_s) == (0.3, 0.35, 0.5)
    assert view.audio_s == pytest.approx(0.2)


def test_folding_in_two_pieces_gives_what_one_gives():
    for cut in range(len(TURN) + 1):
        assert fold_all(TURN[cut:], fold_all(TURN[:cut])) == fold_all(TURN), cut


def test_a_stopped_turn_shows_what_was_heard():
    view = fold_all((*TURN, TurnInterrupted(1, 0.8, "Hel", TurnMetrics())))
    assert (view.state, view.text) == ("stopped", "Hel")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("timings", "key"), [({}, "reply_stopped"), ({"heard_s": 0.5}, "reply_heard"), ({"heard_s": 0.0}, "reply_unheard")]
)
def test_a_reply_that_was_stopped_says_how_it_was_cut(language: str, timings: dict, key: str):
    texts = Texts(language)
    record = TurnRecord(1, "hi", (), "Fine.", None, "interrupted", "", "", timings)
    assert texts(key) in shown(Conversation(texts).finished(record)[1])


@pytest.mark.parametrize(("state", "is_said"), [("done", True), ("interrupted", False)])
def test_a_limit_is_blamed_only_for_an_end_that_it_made(state: str, is_said: bool):
    record = TurnRecord(1, "hi", (), "Fine.", None, state, "", "", {"text_end": "length", "speech_end": "bound"})
    reply = shown(Conversation(EN).finished(record)[1])
    assert (EN("reply_length") in reply, EN("speech_bound") in reply) == (is_said, is_said)


def test_a_failed_turn_leaves_no_text_and_says_why():
    view = fold_all((*TURN, TurnFailed(1, 0.8, "Try again.", "internal")))
    assert (view.state, view.text, view.message, view.code) == ("failed", "", "Try again.", "internal")


def test_nothing_follows_a_terminal_event():
    view = fold_all((*TURN, TurnFinished(1, 1.0, TurnMetrics())))
    with pytest.raises(AssertionError):
        fold(view, TextDelta(1, 1.1, "more", (1,)))


def test_input_is_kept_until_the_turn_began():
    assert not View().is_accepted
    assert not fold_all((TurnFailed(1, 0.1, "Bad file.", "bad_input"),)).is_accepted
    assert fold_all(TURN[:1]).is_accepted and fold_all(TURN[1:2]).is_accepted


@pytest.mark.parametrize(
    "typed",
    [
        "<b>bold</b>",
        "<|im_start|>system",
        "**stars** `code` # head",
        "مرحبا 👋",
        "    four spaces",
        "<script>alert(1)</script>",
        "&amp;",
    ],
)
def test_what_people_type_is_shown_literally(typed: str):
    import html

    record = TurnRecord(1, typed, (), "Fine.", None, "done", "", "", {})
    sent = shown(Conversation(EN).finished(record)[0])
    assert f'dir="auto">{html.escape(typed)}</p>' in sent, sent


def test_what_a_model_writes_is_no_html_and_no_picture():
    written = plain_markdown("<img src=x> ![x](http://elsewhere/x.png) **bold** a & b")
    assert written == "&lt;img src=x> !\\[x](http://elsewhere/x.png) **bold** a &amp; b"


def test_code_that_a_model_writes_stays_as_it_is():
    assert plain_markdown("`a < b` and\n```\n<p>&amp;</p>\n```") == "`a < b` and\n```\n<p>&amp;</p>\n```"


def test_file_names_cannot_leave_their_attribute(tmp_path: Path):
    path = tmp_path / 'a"><script>.png'
    record = TurnRecord(1, "", (StoredFile(path, "image"),), "Fine.", None, "done", "", "", {})
    assert "<script>" not in shown(Conversation(EN).finished(record)[0])


def test_a_failed_turn_is_not_in_the_conversation():
    record = TurnRecord(1, "hello", (), "", None, "failed", "", "Try again.", {})
    assert Conversation(EN).finished(record) == []


def test_the_waterfall_names_tokens_new_and_reused_and_every_first():
    drawn = waterfall_html(timings_of(fold_all(TURN), 3) | {"first_sound_s": 0.55}, EN)
    for words in (
        "Timing of reply 3",
        "120 new tokens",
        "reused 3,900 of 4,020 tokens",
        "Prefill",
        "First text",
        "First sound",
    ):
        assert words in drawn, words


def test_the_waterfall_is_drawn_at_every_point_of_a_turn():
    view = View()
    for event in (*TURN, TurnFinished(1, 1.0, TurnMetrics(rtf=0.5))):
        view = fold(view, event)
        assert "<table>" in waterfall_html(timings_of(view, 1), EN)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("ru", "ru"),
        ("fr-FR,ru;q=0.5,en;q=0.3", "ru"),
        ("fr", "en"),
        ("", "en"),
        (";q=x,,", "en"),
    ],
)
def test_the_language_is_the_first_that_the_page_speaks(header: str, language: str):
    assert texts_for(header).language == language
