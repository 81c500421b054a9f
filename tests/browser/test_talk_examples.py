"""What a micro checkpoint's page offers, in real Chromium: a click fills the composer and sends nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.chromium import PHONE
from tests.browser.talk import (
    TIMEOUT_MS,
    TalkServer,
    assert_spoken,
    attach,
    message_box,
    open_micro,
    sent,
    stored,
    wait_idle,
)
from tests.make_media import make_image

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "assets" / "samples"


@pytest.fixture
def page(desktop_page: Page, tiny_micro_server: TalkServer) -> Page:
    return open_micro(desktop_page, tiny_micro_server.url)


def question(page: Page, words: str) -> Locator:
    return page.locator("#welcome dd button", has_text=words)


def sample(page: Page, words: str) -> Locator:
    return page.locator("#welcome .samples button", has_text=words)


def attached(page: Page) -> Locator:
    return page.locator(".tray li .name")


def assert_nothing_sent(page: Page) -> None:
    wait_idle(page)
    expect(page.locator("#chat .message-row")).to_have_count(0)


def test_the_page_says_that_this_is_the_micro_model_and_how_to_take_another(page: Page) -> None:
    banner = page.locator("#banner [role=note]")
    expect(banner).to_contain_text("micro model")
    expect(banner.locator("code").first).to_have_text("--checkpoint Qwen/Qwen2.5-Omni-7B")
    expect(page.locator("#examples")).to_be_hidden()


def test_another_checkpoint_s_page_offers_none_of_it(talk_page: Page) -> None:
    expect(talk_page.locator("#examples")).to_be_visible()
    expect(talk_page.locator(".asking")).to_have_count(0)
    expect(talk_page.locator("#panel-tabs").get_by_role("tab", name="Examples")).to_have_count(0)


def test_a_question_is_put_into_the_message_and_sent_by_the_visitor(page: Page) -> None:
    question(page, "Who are you?").click()
    expect(message_box(page)).to_have_value("Who are you?")
    question(page, "What is 23 plus 4?").click()
    expect(message_box(page)).to_have_value("What is 23 plus 4?")
    assert_nothing_sent(page)
    expect(message_box(page)).to_be_focused()
    page.keyboard.press("Enter")
    assert_spoken(page, 1)
    expect(sent(page)).to_have_text(["What is 23 plus 4?"])
    expect(page.locator("#welcome")).to_be_hidden()


def test_a_message_of_one_s_own_is_not_replaced_by_an_example(page: Page) -> None:
    message_box(page).fill("What I wrote myself")
    question(page, "Who are you?").click()
    expect(page.locator("#notice [role=status]")).to_contain_text("a message in the field already")
    expect(message_box(page)).to_have_value("What I wrote myself")
    assert_nothing_sent(page)


def test_a_sample_is_attached_seen_and_answered(page: Page, tiny_micro_server: TalkServer) -> None:
    sample(page, "Which is bigger?").click()
    expect(message_box(page)).to_have_value("Which is bigger?")
    expect(attached(page)).to_have_text(["two_shapes.png"], timeout=TIMEOUT_MS)
    # Another one takes its place.
    sample(page, "where is the star").click()
    expect(attached(page)).to_have_text(["two_shapes.png", "where_is_the_star.wav"], timeout=TIMEOUT_MS)
    expect(message_box(page)).to_have_value("")
    expect(page.locator(".tray .estimate")).to_contain_text("tokens")
    assert_nothing_sent(page)
    page.locator("#send").click()
    assert_spoken(page, 1)
    expect(attached(page)).to_have_count(0)
    for media, name in (("img", "two_shapes.png"), ("audio", "where_is_the_star.wav")):
        copy = stored(tiny_micro_server, sent(page).locator(media))
        assert copy.read_bytes() == (SAMPLES / name).read_bytes(), name


def test_own_files_stay_beside_a_sample_and_each_is_taken_out_by_its_cross(page: Page, tmp_path: Path) -> None:
    attach(page, make_image(tmp_path / "mine.png"))
    sample(page, "What do you see?").click()
    expect(attached(page)).to_have_text(["mine.png", "red_circle.png"], timeout=TIMEOUT_MS)
    page.get_by_role("button", name="Take mine.png out").click()
    expect(attached(page)).to_have_text(["red_circle.png"], timeout=TIMEOUT_MS)
    page.get_by_role("button", name="Take red_circle.png out").click()
    expect(page.locator(".tray")).to_have_count(0, timeout=TIMEOUT_MS)
    message_box(page).press("Enter")
    assert_spoken(page, 1)
    expect(sent(page).locator("img")).to_have_count(0)


def test_it_works_by_keyboard_and_in_mid_conversation_from_the_side_panel(page: Page) -> None:
    first = page.locator("#welcome button[data-example]").first
    first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(attached(page)).to_have_text(["two_shapes.png"], timeout=TIMEOUT_MS)
    expect(message_box(page)).to_be_focused()
    page.keyboard.press("Enter")
    assert_spoken(page, 1)
    page.locator("#panel-tabs").get_by_role("tab", name="Examples").click()
    page.locator("#asking").get_by_role("button", name="What did I show you before?").press("Enter")
    expect(message_box(page)).to_have_value("What did I show you before?")
    page.keyboard.press("Enter")
    assert_spoken(page, 2)


def test_on_a_phone_all_of_it_is_within_reach(
    new_page: Callable[..., Page], tiny_micro_server: TalkServer, artifacts: Path
) -> None:
    phone = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    page = open_micro(new_page(PHONE, color_scheme="dark", **phone), tiny_micro_server.url)
    width = page.viewport_size["width"]
    for button in page.locator("#welcome button[data-example]").all():
        button.scroll_into_view_if_needed()
        box = button.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["height"] >= 32, box
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sample(page, "Which way does it move?").tap()
    expect(attached(page)).to_have_text(["moving.mp4"], timeout=TIMEOUT_MS)
    expect(message_box(page)).not_to_be_focused()
    page.screenshot(path=artifacts / "examples_phone.png")
    page.locator("#panel-button").click()
    page.locator("#panel-tabs").get_by_role("tab", name="Examples").click()
    page.locator("#asking dd button", has_text="Spell garden.").tap()
    expect(message_box(page)).to_have_value("Spell garden.")
    expect(page.locator("#panel")).to_be_hidden()


def test_the_samples_are_served_and_nothing_around_them(page: Page, tiny_micro_server: TalkServer) -> None:
    url = f"{tiny_micro_server.url}/gradio_api/file="
    assert page.request.get(f"{url}{SAMPLES / 'red_circle.png'}").body() == (SAMPLES / "red_circle.png").read_bytes()
    for path in (
        SAMPLES.parent / "icon.svg",
        f"{SAMPLES}/../icon.svg",
        f"{SAMPLES}/%2e%2e/icon.svg",
        f"{SAMPLES}/../../launch_demo.py",
        SAMPLES,
    ):
        answer = page.request.get(f"{url}{path}")
        assert answer.status in (403, 404), (path, answer.status)


def test_what_no_button_says_changes_nothing(page: Page) -> None:
    message_box(page).fill("mine")
    button = question(page, "Who are you?")
    for key in ("sample-99", "../../etc/passwd"):
        button.evaluate("(button, key) => { button.dataset.example = key; button.click(); }", key)
    question(page, "Spell garden.").evaluate("button => button.dataset.waited = ''")
    wait_idle(page)
    expect(message_box(page)).to_have_value("mine")
    expect(page.locator(".tray")).to_have_count(0)
    assert_nothing_sent(page)


def test_it_looks_right_on_a_desk(page: Page, artifacts: Path) -> None:
    page.wait_for_function("[...document.querySelectorAll('#welcome video')].every((video) => video.readyState >= 2)")
    for image in page.locator("#welcome img").all():
        assert image.evaluate("image => image.complete && image.naturalWidth > 0")
    stage, shown = (page.locator(part).bounding_box() for part in ("#stage", "#welcome"))
    assert shown["y"] >= stage["y"] and shown["y"] + shown["height"] <= stage["y"] + stage["height"], (stage, shown)
    page.screenshot(path=artifacts / "examples_desktop.png")
