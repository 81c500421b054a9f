"""The live tab in real Chromium, over the real engine: two questions into a microphone, a camera, a lost line."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.browser.chromium import AUTOPLAY, DESKTOP, PHONE, Console, device_flags, open_context, start_chromium
from tests.browser.devices import write_camera
from tests.browser.talk import TIMEOUT_MS, TalkServer, open_talk, reply_texts, sent, stored, wait_idle
from training.voices.synthesizers import espeak

RATE = 16_000
QUESTIONS = ("what is twelve plus five", "tell me the colour of the sky")


@pytest.fixture(scope="module")
def speaking_browser(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Its microphone hears two questions with pauses, then silence; its camera sees a moving square."""
    folder = tmp_path_factory.mktemp("speaker")
    said = [espeak(words, "en-us+m3", speed=150) * 0.6 for words in QUESTIONS]
    pause = np.zeros(9 * RATE, np.float32)
    sound = np.concatenate([pause[: 2 * RATE], said[0], pause, said[1], np.zeros(60 * RATE, np.float32)])
    path = folder / "questions.wav"
    soundfile.write(path, sound, RATE, subtype="PCM_16")
    browser = start_chromium(playwright, (*AUTOPLAY, *device_flags(path, write_camera(folder / "camera.mjpeg"))))
    yield browser
    browser.close()


@pytest.fixture
def new_speaker(speaking_browser: Browser, console: Console, talk_server: TalkServer) -> Iterator[Callable[..., Page]]:
    contexts = []

    def make(viewport: dict[str, int] = DESKTOP, **options: object) -> Page:
        contexts.append(open_context(speaking_browser, viewport, **options))
        page = contexts[-1].new_page()
        console.watch(page)
        open_talk(page, talk_server.url)
        page.locator("#tab-live-button").click()
        return page

    yield make
    for context in contexts:
        context.close()


def state(page: Page) -> str:
    return page.evaluate("omniLive.state")


def wait_turns(page: Page, number: int) -> None:
    page.wait_for_function("number => omniLive.stats.turns >= number", arg=number, timeout=TIMEOUT_MS)


def test_two_questions_into_an_open_microphone_are_two_turns_answered_aloud(
    new_speaker: Callable[..., Page], talk_server: TalkServer
) -> None:
    page = new_speaker()
    page.locator("#live .live-toggle").click()
    page.wait_for_function("omniLive.state === 'hearing'", timeout=TIMEOUT_MS)
    wait_turns(page, 1)
    page.wait_for_function("omniPlayer.stats.nonSilentSamples > 0", timeout=TIMEOUT_MS)
    wait_turns(page, 2)
    expect(page.locator("#chat .reply-speech").last).to_be_visible(timeout=TIMEOUT_MS)
    page.locator("#live .live-toggle").click()
    assert state(page) == "off"
    wait_idle(page)
    expect(sent(page)).to_have_count(2)
    assert reply_texts(page)[-1].strip()
    for place in range(2):
        recorded, rate = soundfile.read(stored(talk_server, sent(page).nth(place).locator("audio")))
        said = espeak(QUESTIONS[place], "en-us+m3", speed=150)
        assert len(said) / RATE < len(recorded) / rate < len(said) / RATE + 1.5
        assert recorded.std() > 0.01


def test_with_the_camera_what_it_shows_goes_along(
    new_speaker: Callable[..., Page], talk_server: TalkServer, artifacts: Path
) -> None:
    page = new_speaker()
    page.locator("#live .live-camera").check()
    page.locator("#live .live-toggle").click()
    wait_turns(page, 1)
    page.screenshot(path=artifacts / "live_desktop.png")
    expect(sent(page).locator("video")).to_have_count(1, timeout=TIMEOUT_MS)
    assert page.evaluate("omniLive.stats.pictures") >= 3
    expect(page.locator("#live .live-shots img").first).to_be_visible()
    page.locator("#live .live-toggle").click()
    wait_idle(page)


def test_a_lost_line_is_opened_again_by_itself(new_speaker: Callable[..., Page]) -> None:
    page = new_speaker()
    page.locator("#live .live-toggle").click()
    page.wait_for_function("omniLive.isOpen && omniLive.state === 'listening'", timeout=TIMEOUT_MS)
    page.evaluate("omniLive.socket.close(1000)")
    page.wait_for_function("omniLive.stats.retries === 1")
    page.wait_for_function("omniLive.isOpen && omniLive.stats.retries === 0", timeout=TIMEOUT_MS)
    wait_turns(page, 1)
    page.locator("#live .live-toggle").click()
    wait_idle(page)


def test_on_a_phone_all_of_it_is_within_reach(new_speaker: Callable[..., Page], artifacts: Path) -> None:
    page = new_speaker(PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    toggle = page.locator("#live .live-toggle")
    toggle.scroll_into_view_if_needed()
    box = toggle.bounding_box()
    assert box["height"] >= 44 and box["x"] + box["width"] <= page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    page.locator("#live .live-hands").uncheck()
    expect(page.locator("#live .live-hold")).to_be_visible()
    page.screenshot(path=artifacts / "live_phone.png")
