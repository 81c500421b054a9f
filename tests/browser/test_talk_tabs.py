"""Many pages at once over the real engine: nothing leaks, a reload goes on, and who leaves is forgotten."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import PHONE, Console
from tests.browser.talk import (
    ENDLESS,
    TalkServer,
    attach,
    open_talk,
    reply_texts,
    send_text,
    sent,
    session_folder,
    set_limits,
    timings,
    wait_idle,
    wait_played,
    wait_ready,
    wait_reply,
    wait_sound,
    wait_until,
)
from tests.make_media import make_image, make_video


def test_two_tabs_answered_at_once_do_not_see_each_other(
    talk_page: Page, new_page: Callable[..., Page], talk_server: TalkServer, tmp_path: Path
) -> None:
    one, two = talk_page, open_talk(new_page(), talk_server.url)
    attach(one, make_image(tmp_path / "mine.png"))
    for page, text in ((one, "mine"), (two, "yours")):
        set_limits(page, text_tokens=60)
        send_text(page, text)
    for page in (one, two):
        wait_sound(page)
        wait_reply(page, 1)
    expect(sent(one)).to_have_text(["mine"])
    expect(sent(two)).to_have_text(["yours"])
    folders = [session_folder(talk_server, page) for page in (one, two)]
    assert len({*folders, *(page.evaluate("sessionStorage.getItem('omni-secret')") for page in (one, two))}) == 4
    # A conversation's address is a secret of its own, and nobody is told which there are.
    for page, other in ((one, folders[1]), (two, folders[0])):
        assert len(other.name) >= 16 and other.name not in page.content()
    for path in (folders[0].parent, folders[0], folders[0] / "..", folders[0] / "turn_2.json"):
        answer = two.request.get(f"{talk_server.url}/gradio_api/file={path}")
        assert answer.status in (403, 404), (path, answer.status)
        assert folders[1].name not in answer.text() and "turn_1" not in answer.text(), answer.text()


def test_a_reload_in_mid_reply_stops_it_and_the_conversation_goes_on(talk_page: Page, talk_server: TalkServer) -> None:
    page = talk_page
    set_limits(page, text_tokens=ENDLESS, codec_tokens=ENDLESS)
    send_text(page, "first")
    wait_sound(page)
    page.reload()
    wait_ready(page)
    expect(sent(page)).to_have_text(["first"])
    expect(page.locator("#chat .reply-note")).to_contain_text("Stopped here")
    (text,) = reply_texts(page)
    send_text(page, "second")
    wait_sound(page)
    wait_reply(page, 2)
    expect(sent(page)).to_have_text(["first", "second"])
    assert reply_texts(page)[0] == text and len(reply_texts(page)) == 2
    folder = session_folder(talk_server, page)
    stopped, answered = timings(folder, 1), timings(folder, 2)
    assert stopped["num_text_tokens"] < ENDLESS and answered["num_reused"] > stopped["num_new"], (stopped, answered)


@pytest.fixture(scope="module")
def strict_server(serve_talk: Callable[..., TalkServer]) -> TalkServer:
    """Asks for a login, and forgets a conversation a second after its page left."""
    return serve_talk("--auth", "ann:secret", "--auth", "bob:secret", "--keep-s", "1", "--keep-days", "0")


def log_in(page: Page, server: TalkServer, user: str) -> Page:
    answer = page.request.post(f"{server.url}/login", form={"username": user, "password": "secret"})
    assert answer.ok, answer.status
    return open_talk(page, server.url)


def test_without_a_login_nothing_is_served_and_with_one_the_page_talks(
    new_page: Callable[..., Page], strict_server: TalkServer, console: Console
) -> None:
    console.allowed += ["401"]
    page = log_in(new_page(), strict_server, "ann")
    send_text(page, "Hello")
    wait_sound(page)
    wait_reply(page, 1)
    speech = session_folder(strict_server, page) / "turn_1.wav"
    assert page.request.get(f"{strict_server.url}/gradio_api/file={speech}").ok

    stranger = new_page()
    stranger.goto(strict_server.url)
    expect(stranger.locator("input[type=password]")).to_be_visible()
    expect(stranger.locator("#message, #chat")).to_have_count(0)
    for path in (f"gradio_api/file={speech}", "config", "gradio_api/info"):
        answer = stranger.request.get(f"{strict_server.url}/{path}")
        assert answer.status in (401, 403), (path, answer.status)
    joined = stranger.request.post(
        f"{strict_server.url}/gradio_api/queue/join", data={"fn_index": 0, "data": [None, None], "session_hash": "x"}
    )
    assert joined.status in (401, 403), joined.status
    upload = stranger.request.post(
        f"{strict_server.url}/gradio_api/upload",
        multipart={"files": {"name": "a.png", "mimeType": "image/png", "buffer": b"x"}},
    )
    assert upload.status in (401, 403), upload.status


def test_who_leaves_in_mid_reply_is_forgotten_after_the_time_to_come_back(
    new_page: Callable[..., Page], strict_server: TalkServer
) -> None:
    before = strict_server.sessions()
    page = log_in(new_page(), strict_server, "bob")
    send_text(page, "Hello")
    wait_reply(page, 1)
    folder = session_folder(strict_server, page)
    assert folder not in before
    set_limits(page, text_tokens=ENDLESS, codec_tokens=ENDLESS)
    send_text(page, "Now a long one")
    page.wait_for_function("omniPlayer.stats.generation === 2 && omniPlayer.stats.nonSilentSamples > 0")
    page.close(run_before_unload=False)
    wait_until(lambda: not folder.exists(), "the folder of the conversation is gone")


def test_a_conversation_with_all_media_looks_right_on_a_desk_and_on_a_phone(
    talk_page: Page, new_page: Callable[..., Page], talk_server: TalkServer, artifacts: Path, tmp_path: Path
) -> None:
    across, down = np.meshgrid(np.linspace(0, 255, 640, dtype=np.uint8), np.linspace(0, 255, 480, dtype=np.uint8))
    picture = np.stack([across, down, 255 - across], axis=-1)
    PIL.Image.fromarray(picture[:, ::-1]).save(tmp_path / "picture.png")
    clip = make_video(tmp_path / "clip.mp4", width=640, height=480, picture=picture, with_sound=True)
    files = (tmp_path / "picture.png", clip)
    phone = open_talk(new_page(PHONE, has_touch=True, is_mobile=True, device_scale_factor=2), talk_server.url)
    for name, page in (("desktop", talk_page), ("phone", phone)):
        send_text(page, "Hello! Who are you?")
        wait_reply(page, 1)
        attach(page, *files)
        send_text(page, "And what do you see here?")
        wait_reply(page, 2)
        wait_played(page)
        wait_idle(page)
        page.wait_for_function("document.querySelector('#chat .sent video').readyState >= 2")
        page.screenshot(path=artifacts / f"talk_{name}.png")
        width = page.viewport_size["width"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for part in ("#message textarea", "#send", "#chat .reply-speech audio"):
            box = page.locator(part).last.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width, (name, part, box)
