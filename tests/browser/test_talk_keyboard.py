"""A conversation by keyboard alone: each thing is reached, has a name and shows that it has the focus; in Chromium."""

import re

from playwright.sync_api import Page, expect

from tests.browser.talk import be_still, message_box, reply_texts, wait_idle, wait_played, wait_reply, wait_sound

MAX_STOPS = 25
# The message has no outline of its own, the composer that it stands in has.
OUTLINE_JS = """(element) => {
    const outlined = element.closest('#composer:has(#message :focus)') || element;
    const { outlineStyle, outlineWidth } = getComputedStyle(outlined);
    return outlineStyle === 'none' ? '' : outlineWidth;
}"""


def test_a_conversation_needs_no_mouse(talk_page: Page) -> None:
    page = talk_page
    be_still(page)
    expect(message_box(page)).to_be_focused()
    page.keyboard.type("Hello")
    page.keyboard.press("Enter")
    wait_turn(page, 1)

    go_to(page, "#chat [data-deed=again]", key="Shift+Tab")
    page.keyboard.press("Enter")
    wait_turn(page, 2)
    expect(page.locator("#chat .version")).to_have_text("2/2")
    # The button has gone with its reply.
    expect(message_box(page)).to_be_focused()

    go_to(page, "#voice input")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#voice label.selected")).to_have_text("Ethan")
    assert_shown(page)
    # The choice is one stop.
    page.keyboard.press("Tab")
    expect(page.locator("#voice input:focus")).to_have_count(0)

    go_to(page, "#panel-past-button", key="Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#past li")).to_contain_text("Hello")

    go_to(page, "#message textarea", key="Shift+Tab")
    page.keyboard.type("Go on")
    page.keyboard.press("Enter")
    expect(page.locator("#stop")).to_be_visible()
    go_to(page, "#stop")
    page.wait_for_function("omniPlayer.stats.generation === 3")
    wait_sound(page)
    page.keyboard.press("Enter")
    wait_played(page, "stopped")
    wait_idle(page)
    expect(page.locator("#chat .reply-note").last).to_contain_text("Stopped")
    expect(message_box(page)).to_be_focused()


def go_to(page: Page, place: str, key: str = "Tab") -> None:
    """Moves the focus there; all that it comes past can be seen and has a name."""
    for _ in range(MAX_STOPS):
        page.keyboard.press(key)
        assert_shown(page)
        if page.locator(f"{place}:focus").count():
            return
    raise AssertionError(f"{place} is not within {MAX_STOPS} stops")


def assert_shown(page: Page) -> None:
    focused = page.locator(":focus")
    expect(focused).to_have_accessible_name(re.compile(r"\S"))
    markup = focused.evaluate("element => element.outerHTML.slice(0, 300)")
    assert focused.evaluate(OUTLINE_JS) not in ("", "0px"), f"no outline: {markup}"


def wait_turn(page: Page, generation: int) -> None:
    """Until the first turn's reply number `generation` is there and was played."""
    page.wait_for_function("generation => omniPlayer.stats.generation === generation", arg=generation)
    wait_played(page)
    wait_reply(page, 1)
    assert reply_texts(page)[0].strip()
