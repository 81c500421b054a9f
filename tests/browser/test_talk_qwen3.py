"""The page over a tiny Qwen3-Omni: typed, shown and spoken to, and without what its vocoder does not have."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import DESKTOP, Console, open_context
from tests.browser.talk import (
    TIMEOUT_MS,
    TalkServer,
    assert_spoken,
    attach,
    open_talk,
    reply_texts,
    send_text,
    sent,
    session_folder,
    stop_reply_sound,
    timings,
    wait_idle,
)
from tests.browser.test_talk_live import speaking_browser, wait_turns  # noqa: F401
from tests.make_media import make_image, make_video

LIMITS = {"thinker_max_new_tokens": 24, "talker_max_new_tokens": 25}


@pytest.fixture(scope="module")
def server(
    serve_talk: Callable[..., TalkServer], tiny_qwen3_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> TalkServer:
    folder = tmp_path_factory.mktemp("qwen3") / "tiny"
    shutil.copytree(tiny_qwen3_checkpoint, folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | LIMITS))
    return serve_talk("--checkpoint", str(folder))


@pytest.fixture
def page(desktop_page: Page, server: TalkServer) -> Page:
    return open_talk(desktop_page, server.url)


def test_turns_of_every_kind_are_answered_aloud_and_remembered(page: Page, server: TalkServer, tmp_path: Path) -> None:
    send_text(page, "Hello")
    assert_spoken(page, 1)
    attach(page, make_image(tmp_path / "red.png"), make_video(tmp_path / "clip.mp4", with_sound=True))
    page.locator("#tab-text-button").click()
    send_text(page, "What is that?")
    assert_spoken(page, 2)
    figures = timings(session_folder(server, page), 2)
    assert figures["num_reused"] > 20 and figures["num_codec_frames"] == 25, figures
    assert server.complaints() == []


def test_its_voices_are_offered_and_another_one_speaks_the_reply_again(page: Page) -> None:
    expect(page.locator("#voice label")).to_have_text(["Chelsie", "Ethan", "Aiden"])
    send_text(page, "Hello")
    assert_spoken(page, 1)
    page.locator("#voice label", has_text="Aiden").click()
    page.get_by_role("button", name="Speak it in the chosen voice").click()
    expect(page.locator("#chat .take")).to_have_text(["Chelsie", "Aiden"], timeout=TIMEOUT_MS)
    wait_idle(page)
    stop_reply_sound(page)


def test_what_its_vocoder_does_not_have_is_not_offered(page: Page) -> None:
    expect(page.locator("#sound")).to_have_count(0)
    page.locator("#advanced > button").click()
    expect(page.locator("#advanced .stage > button")).to_have_count(2)


def test_what_is_said_and_shown_live_is_answered_aloud(
    speaking_browser: Browser,  # noqa: F811
    console: Console,
    server: TalkServer,
) -> None:
    context = open_context(speaking_browser, DESKTOP)
    page = context.new_page()
    console.watch(page)
    open_talk(page, server.url)
    page.locator("#tab-live-button").click()
    page.locator("#live .live-camera").check()
    page.locator("#live .live-toggle").click()
    wait_turns(page, 1)
    page.wait_for_function("omniPlayer.stats.nonSilentSamples > 0", timeout=TIMEOUT_MS)
    expect(sent(page).locator("video")).to_have_count(1, timeout=TIMEOUT_MS)
    page.locator("#live .live-toggle").click()
    wait_idle(page)
    assert reply_texts(page)[0].strip()
    context.close()
