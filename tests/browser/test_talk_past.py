"""The list of conversations: what was said another day is found, opened, named and deleted, in Chromium."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.talk import TalkServer, open_talk, send_text, sent, set_limits, wait_reply


def say(page: Page, *texts: str) -> None:
    page.locator("#speak input").uncheck()
    set_limits(page, text_tokens=12)
    for number, text in enumerate(texts, 1):
        send_text(page, text)
        wait_reply(page, number)


def open_list(page: Page) -> None:
    page.get_by_role("tab", name="History").click()


def test_a_new_tab_opens_what_was_said_in_one_that_is_closed(
    new_page: Callable[..., Page], talk_server: TalkServer
) -> None:
    first = open_talk(new_page(), talk_server.url)
    say(first, "About lighthouses", "And their keepers?")
    page = first.context.new_page()
    open_talk(page, talk_server.url)
    open_list(page)
    items = page.locator("#past li")
    expect(items).to_have_count(1)
    expect(items.first).to_contain_text("About lighthouses")
    expect(items.first).to_contain_text("2 turns")
    items.first.locator(".past-open").click()
    expect(page.locator("#notice [role=alert]")).to_contain_text("open in another tab")
    first.close()
    items.first.locator(".past-open").click()
    expect(sent(page).locator(".sent-text")).to_have_text(["About lighthouses", "And their keepers?"])
    send_text(page, "Go on")
    wait_reply(page, 3)


def test_a_conversation_is_named_found_and_deleted(new_page: Callable[..., Page], talk_server: TalkServer) -> None:
    page = open_talk(new_page(), talk_server.url)
    say(page, "About lighthouses")
    other = open_talk(page.context.new_page(), talk_server.url)
    say(other, "About coffee")
    open_list(other)
    items = other.locator("#past li")
    expect(items).to_have_count(2)
    expect(items.first.locator(".past-open")).to_be_disabled()
    other.once("dialog", lambda dialog: dialog.accept("The sea <b>& more</b>"))
    items.last.get_by_role("button", name="Rename").click()
    expect(items.last).to_contain_text("The sea <b>& more</b>")
    other.locator("#past-search input, #past-search textarea").fill("lighthouse")
    expect(items).to_have_count(1)
    page.close()
    other.once("dialog", lambda dialog: dialog.dismiss())
    items.last.get_by_role("button", name="Delete").click()
    expect(items).to_have_count(1)
    other.once("dialog", lambda dialog: dialog.accept())
    items.last.get_by_role("button", name="Delete").click()
    expect(items).to_have_count(0)
    other.locator("#past-search input, #past-search textarea").fill("")
    expect(items).to_have_count(1)
    expect(items.first).to_contain_text("About coffee")


def test_another_browser_sees_none_of_it(new_page: Callable[..., Page], talk_server: TalkServer) -> None:
    page = open_talk(new_page(), talk_server.url)
    say(page, "A secret")
    stranger = open_talk(new_page(), talk_server.url)
    open_list(stranger)
    expect(stranger.locator("#past")).to_contain_text("No conversation is kept yet")


def test_the_list_fits_a_phone(new_page: Callable[..., Page], talk_server: TalkServer) -> None:
    page = open_talk(new_page(), talk_server.url)
    say(page, "A question that is so long that no phone could ever show all of it in one line of its list")
    open_list(page)
    expect(page.locator("#past li")).to_have_count(1)
    page.set_viewport_size({"width": 390, "height": 800})
    box = page.get_by_role("button", name="Rename").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390, box
