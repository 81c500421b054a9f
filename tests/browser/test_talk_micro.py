"""The demo as a newcomer starts it: the micro checkpoint is asked in every way, and its answers are judged.

What it says is read on the page, and heard by an independent recognizer in the sound that the page rendered.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, Playwright, expect

from app.config import MICRO_CHECKPOINT
from tests.browser.chromium import AUTOPLAY, DESKTOP, Console, device_flags, open_context, start_chromium
from tests.browser.sound import recording, sounding
from tests.browser.talk import (
    TalkServer,
    attach,
    message_box,
    open_talk,
    reply_texts,
    send_text,
    wait_played,
    wait_reply,
)
from training.evaluate.recognizer import Recognizer, word_errors, words_of
from training.evaluate.talk import reply_judge
from training.voices.synthesizers import espeak

SAMPLES = Path(__file__).parents[2] / "assets" / "samples"


@pytest.fixture(scope="module")
def micro_server(serve_talk: Callable[..., TalkServer]) -> TalkServer:
    """The shipped checkpoint with all its own settings."""
    return serve_talk("--checkpoint", str(MICRO_CHECKPOINT))


@pytest.fixture
def page(desktop_page: Page, micro_server: TalkServer) -> Page:
    return open_talk(desktop_page, micro_server.url)


def answer(page: Page, num_turns: int = 1) -> str:
    """The newest reply's text, once all of it was spoken."""
    wait_reply(page, num_turns)
    wait_played(page)
    return reply_texts(page)[-1]


@pytest.fixture(scope="module")
def judge() -> Recognizer:
    """Knows the words of replies, which follow one another there, and not which reply is right."""
    return reply_judge([])


def assert_heard(page: Page, judge: Recognizer, text: str) -> None:
    """What was rendered is loud, and most of the words are understood."""
    wave = sounding(recording(page))
    assert np.sqrt(np.mean(wave**2)) > 0.01
    heard = judge.recognize(wave, page.evaluate("omniPlayer.output.sampleRate"))
    wrong, num_words = word_errors(text, heard)
    assert wrong <= num_words / 3, (text, heard)


def test_a_typed_question_is_answered_rightly_in_text_and_sound(page: Page, judge: Recognizer) -> None:
    send_text(page, "What is 23 plus 4?")
    said = answer(page)
    assert words_of(said)[-2:] == ["twenty", "seven"]
    assert_heard(page, judge, said)


def test_it_remembers_over_turns(page: Page) -> None:
    send_text(page, "My name is Anna.")
    answer(page, 1)
    send_text(page, "What comes after Tuesday?")
    assert "wednesday" in words_of(answer(page, 2))
    send_text(page, "What is my name?")
    assert "anna" in words_of(answer(page, 3))


def test_a_sample_picture_and_a_sample_clip_are_described(page: Page) -> None:
    attach(page, SAMPLES / "red_circle.png")
    send_text(page, "What do you see?")
    assert {"red", "circle"} <= set(words_of(answer(page)))
    attach(page, SAMPLES / "moving.mp4")
    send_text(page, "Which way does it move?")
    assert "right" in words_of(answer(page, 2))


@pytest.fixture
def speaker_page(playwright: Playwright, console: Console, micro_server: TalkServer, tmp_path: Path) -> Iterator[Page]:
    """A page whose microphone hears somebody who asks the same question again and again, with pauses between."""
    asked = espeak("what is twenty three plus four", "en-us+m3", speed=150)
    pause = np.zeros(16_000, np.float32)
    path = tmp_path / "asked.wav"
    soundfile.write(path, np.concatenate([pause, asked * 0.6, pause]), 16_000, subtype="PCM_16")
    browser = start_chromium(playwright, (*AUTOPLAY, *device_flags(path)))
    context = open_context(browser, DESKTOP)
    page = context.new_page()
    console.watch(page)
    yield open_talk(page, micro_server.url)
    browser.close()


def test_a_question_into_the_microphone_is_heard_and_answered_aloud(speaker_page: Page, judge: Recognizer) -> None:
    page = speaker_page
    page.locator("#tab-microphone-button").click()
    page.locator("#microphone .record-button").click()
    expect(page.locator("#microphone time.duration")).to_have_text("0:03")
    page.locator("#microphone .stop-button").click()
    expect(page.locator(".tray li")).to_contain_text("Sound")
    page.locator("#send").click()
    said = answer(page)
    assert words_of(said)[-2:] == ["twenty", "seven"]
    assert_heard(page, judge, said)


def test_outside_its_world_it_says_so(page: Page) -> None:
    send_text(page, "Who was the president of France in 1970?")
    said = answer(page).lower()
    assert "know" in said or "understand" in said, said
    expect(message_box(page)).to_be_focused()
