"""Every way into the conversation, over the real engine: what was sent is shown, answered in text and spoken."""

from pathlib import Path

import av
import soundfile
from playwright.sync_api import Page, expect

from tests.browser.talk import TIMEOUT_MS, TalkServer, assert_spoken, attach, send_text, sent, stored
from tests.make_media import make_image, make_video, make_wav


def media_is_loaded(page: Page, tag: str) -> None:
    """The browser has fetched and understood the medium that is shown in the newest turn."""
    facts = {"img": "naturalWidth > 0", "audio": "duration > 0", "video": "videoWidth > 0 && shown.duration > 0"}[tag]
    page.wait_for_function(
        f"tag => [...document.querySelectorAll(`#chat .sent ${{tag}}`)].some(shown => shown.{facts})", arg=tag
    )


def test_a_typed_message_and_uploads_of_each_kind_are_shown_answered_and_spoken(
    talk_page: Page, tmp_path: Path
) -> None:
    page = talk_page
    send_text(page, "Hello")
    expect(sent(page)).to_have_text(["Hello"])
    assert_spoken(page, 1)
    files = {
        "img": make_image(tmp_path / "red.png"),
        "audio": make_wav(tmp_path / "beep.wav"),
        "video": make_video(tmp_path / "clip.mp4", with_sound=True),
    }
    for num_turns, (tag, path) in enumerate(files.items(), start=2):
        attach(page, path)
        send_text(page, f"What is this {tag}?")
        expect(sent(page).last).to_contain_text(f"What is this {tag}?", timeout=TIMEOUT_MS)
        assert_spoken(page, num_turns)
        expect(sent(page).last.locator(tag)).to_have_count(1)
        media_is_loaded(page, tag)
        expect(page.locator(".tray li")).to_have_count(0)


def test_a_recorded_microphone_turn_is_shown_answered_and_spoken(talk_page: Page, talk_server: TalkServer) -> None:
    page = talk_page
    page.locator("#tab-microphone-button").click()
    page.locator("#microphone .record-button").click()
    expect(page.locator("#microphone time.duration")).to_have_text("0:01")
    page.locator("#microphone .stop-button").click()
    expect(page.locator(".tray li")).to_contain_text("Sound")
    page.locator("#send").click()
    assert_spoken(page, 1)
    expect(sent(page).locator("audio")).to_have_count(1)
    media_is_loaded(page, "audio")
    recorded, _ = soundfile.read(stored(talk_server, sent(page).locator("audio")))
    assert recorded.any(), "the fake microphone plays a tone, and silence was recorded"


def test_a_filmed_clip_and_a_webcam_picture_are_shown_answered_and_spoken(
    talk_page: Page, talk_server: TalkServer
) -> None:
    page = talk_page
    page.locator("#tab-webcam-button").click()
    page.locator("#webcam-clip button", has_text="Access Webcam").click()
    page.locator("#webcam-clip [aria-label='start recording']").click()
    page.evaluate("window.begun = document.querySelector('#webcam-clip video').currentTime")
    page.wait_for_function("document.querySelector('#webcam-clip video').currentTime > begun + 1.5")
    page.locator("#webcam-clip [aria-label='start recording']").click()
    expect(page.locator(".tray li")).to_contain_text("Video")
    expect(page.locator(".tray .badge")).to_have_count(0)
    page.locator("#send").click()
    assert_spoken(page, 1)
    media_is_loaded(page, "video")
    with av.open(str(stored(talk_server, sent(page).locator("video")))) as clip:
        assert clip.streams.audio and clip.streams.video, clip.streams
    page.locator("#tab-webcam-button").click()
    page.locator("#webcam-mode label", has_text="Picture").click()
    page.locator("#webcam-snapshot button", has_text="Access Webcam").click()
    page.locator("#webcam-snapshot [aria-label='capture photo']").click()
    expect(page.locator(".tray li")).to_contain_text("Image")
    page.locator("#send").click()
    assert_spoken(page, 2)
    media_is_loaded(page, "img")
