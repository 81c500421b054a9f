"""The list of conversations: what was said another day is found, opened, named and deleted, and has its settings, in
Chromium."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing

from playwright.sync_api import Page, expect

from tests.browser.talk import (
    LIMITS,
    QUIET_JS,
    TalkServer,
    open_talk,
    send_text,
    sent,
    set_limits,
    wait_idle,
    wait_ready,
    wait_reply,
    wait_sound,
    wait_until,
)


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
    # By the reader's clock, not by the server's.
    when = items.first.locator("time")
    shown = "time => new Date(time.dateTime).toLocaleString('en-US', { dateStyle: 'medium', timeStyle: 'short' })"
    expect(when).to_have_text(when.evaluate(shown))
    items.first.locator(".past-open").click()
    expect(page.locator("#notice [role=alert]")).to_contain_text("open in another tab")
    first.close()

    def opened() -> bool:
        """The server may not have heard yet that the first one went."""
        items.first.locator(".past-open").click()
        page.locator("#chat").evaluate(QUIET_JS)
        return sent(page).count() > 0

    wait_until(opened, "the conversation is open")
    expect(sent(page).locator(".sent-text")).to_have_text(["About lighthouses", "And their keepers?"])
    send_text(page, "Go on")
    wait_reply(page, 3)


PIRATE = "You are a pirate."


def kept_settings(server: TalkServer, title: str) -> dict | None:
    """What the data folder has of the settings of a conversation."""
    with closing(sqlite3.connect(server.data_dir / "conversations.sqlite3")) as database:
        (head,) = database.execute("SELECT head FROM sessions WHERE title = ?", (title,)).fetchone()
    return json.loads(head)["settings"]


def open_all_settings(page: Page) -> None:
    page.locator("#advanced > button").click()
    stages = page.locator("#advanced .stage > button")
    expect(stages).to_have_count(3)
    for stage in stages.all():
        stage.click()
    expect(page.locator("#ode-points")).to_be_visible()
    page.locator("#advanced").evaluate(QUIET_JS)


def expect_settings(page: Page) -> None:
    expect(page.locator("#sound label.selected")).to_have_text("Fastest")
    expect(page.locator("#voice input").last).to_be_checked()
    expect(page.locator("#speak input")).not_to_be_checked()
    expect(page.locator("#video-sound input")).not_to_be_checked()
    expect(page.locator("#system-prompt textarea")).to_have_value(PIRATE)
    expect(page.locator("#system-prompt-changed")).to_be_visible()
    open_all_settings(page)
    expect(page.locator("#seed input")).to_have_value("5")
    expect(page.locator("#talker-do-sample input")).not_to_be_checked()
    # The last one was never touched: it is the checkpoint's own.
    untouched = str(LIMITS["talker_max_new_tokens"])
    shown = {"ode-points": "3", "guidance": "0.5", "thinker-max-new-tokens": "12", "talker-max-new-tokens": untouched}
    for name, value in shown.items():
        expect(page.locator(f"#{name} input[type=number]")).to_have_value(value)


def test_a_conversation_has_its_settings_after_a_reload_and_where_it_is_opened(
    new_page: Callable[..., Page], talk_server: TalkServer
) -> None:
    page = open_talk(new_page(), talk_server.url)
    page.locator("#system-prompt textarea").fill(PIRATE)
    say(page, "About settings")
    page.locator("#advanced .stage > button", has_text="Talker").click()
    page.locator("#talker-do-sample input").uncheck()
    page.locator("#seed input").fill("5")
    page.locator("#video-sound input").uncheck()
    page.locator("#voice input").last.check()
    page.locator("#sound input[value=fastest]").check()

    def are_kept() -> bool:
        kept = kept_settings(talk_server, "About settings") or {}
        return (kept.get("seed"), kept.get("ode_points"), kept.get("voice")) == (5, 3, voice)

    voice = page.locator("#voice input").last.input_value()
    wait_until(are_kept, "the settings are on disk")
    before = kept_settings(talk_server, "About settings")
    page.reload()
    wait_ready(page)
    expect_settings(page)
    other = open_talk(page.context.new_page(), talk_server.url)
    expect(other.locator("#voice input").first).to_be_checked()
    page.close()
    open_list(other)
    other.locator("#past .past-open").click()
    expect(sent(other)).to_have_count(1)
    other.get_by_role("tab", name="Settings").click()
    expect_settings(other)
    assert kept_settings(talk_server, "About settings") == before


def test_of_settings_that_nobody_touched_nothing_is_kept(
    new_page: Callable[..., Page], talk_server: TalkServer
) -> None:
    page = open_talk(new_page(), talk_server.url)
    send_text(page, "Untouched")
    wait_reply(page, 1)
    page.reload()
    wait_ready(page)
    page.locator("#body").evaluate(QUIET_JS)
    assert kept_settings(talk_server, "Untouched") is None


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


def test_a_new_conversation_has_the_settings_of_the_one_before_which_stays_in_the_list(
    new_page: Callable[..., Page], talk_server: TalkServer
) -> None:
    page = open_talk(new_page(), talk_server.url)
    say(page, "About lighthouses")
    voice = page.locator("#voice input").last
    voice.check()
    open_list(page)
    for number, text in enumerate(("About coffee", "About tea"), 2):
        page.locator("#clear").click()
        expect(sent(page)).to_have_count(0)
        expect(page.locator("#past li")).to_have_count(number - 1)
        expect(page.locator("#past [aria-current]")).to_have_count(0)
        send_text(page, text)
        wait_reply(page, 1)
    page.get_by_role("tab", name="Settings").click()
    expect(voice).to_be_checked()
    expect(page.locator("#speak input")).not_to_be_checked()
    open_list(page)
    expect(page.locator("#past li .name")).to_have_text(["About tea", "About coffee", "About lighthouses"])
    page.locator("#past .past-open").last.click()
    expect(sent(page).locator(".sent-text")).to_have_text(["About lighthouses"])
    send_text(page, "And their keepers?")
    wait_reply(page, 2)


def test_what_is_opened_in_mid_reply_stays_on_the_page(new_page: Callable[..., Page], talk_server: TalkServer) -> None:
    page = open_talk(new_page(), talk_server.url)
    say(page, "About lighthouses")
    page.locator("#clear").click()
    expect(sent(page)).to_have_count(0)
    page.locator("#speak input").check()
    set_limits(page, text_tokens=200, codec_tokens=240)
    open_list(page)
    send_text(page, "About coffee")
    wait_sound(page)
    page.locator("#past .past-open").last.click()
    expect(sent(page).locator(".sent-text")).to_have_text(["About lighthouses"])
    wait_idle(page)
    page.locator("#chat").evaluate(QUIET_JS)
    expect(sent(page).locator(".sent-text")).to_have_text(["About lighthouses"])


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
