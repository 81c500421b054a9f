"""Turns that are changed, asked again, taken back and chosen by the buttons in the conversation, in Chromium."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.chromium import SAID_WHEN_LEAVING, Console
from tests.browser.talk import (
    TalkServer,
    attach,
    message_box,
    open_talk,
    reply_texts,
    send_text,
    sent,
    set_limits,
    stored,
    timings,
    wait_played,
    wait_reply,
)
from tests.make_media import make_image

EDIT, AGAIN, TAKE_BACK = "Change this message", "Answer again", "Take this turn back"


def button(where: Page | Locator, label: str) -> Locator:
    return where.get_by_role("button", name=label, exact=True)


def conversation(page: Page, *texts: str) -> None:
    """Says these things, one after the other, to a model whose replies are written only."""
    page.locator("#speak input").uncheck()
    set_limits(page, text_tokens=12)
    for number, text in enumerate(texts, 1):
        send_text(page, text)
        wait_reply(page, number)


def expect_sent(page: Page, *texts: str) -> None:
    expect(sent(page).locator(".sent-text")).to_have_text(list(texts))


def test_an_earlier_message_is_changed_and_the_first_version_comes_back(
    talk_page: Page, talk_server: TalkServer
) -> None:
    page = talk_page
    conversation(page, "First", "Second", "Third")
    replies = reply_texts(page)
    button(sent(page).first, EDIT).click()
    expect(message_box(page)).to_have_value("First")
    expect(page.locator("#notice")).to_contain_text("changing an earlier message")
    send_text(page, "Changed")
    wait_reply(page, 1)
    expect_sent(page, "Changed")
    expect(sent(page).first.locator(".version")).to_have_text("2/2")
    button(sent(page).first, "Earlier version").click()
    expect_sent(page, "First", "Second", "Third")
    assert reply_texts(page) == replies
    expect(sent(page).first.locator(".version")).to_have_text("1/2")
    send_text(page, "Fourth")
    wait_reply(page, 4)
    button(sent(page).first, "Later version").click()
    expect_sent(page, "Changed")


def test_a_change_that_is_not_sent_changes_nothing(talk_page: Page) -> None:
    page = talk_page
    conversation(page, "First", "Second")
    button(sent(page).first, EDIT).click()
    expect(message_box(page)).to_have_value("First")
    button(page, "Keep it as it was").click()
    expect(message_box(page)).to_have_value("")
    send_text(page, "Third")
    wait_reply(page, 3)
    expect_sent(page, "First", "Second", "Third")


def test_a_turn_with_a_picture_is_answered_again_and_keeps_it(
    talk_page: Page, talk_server: TalkServer, tmp_path: Path
) -> None:
    page = talk_page
    conversation(page, "First")
    attach(page, make_image(tmp_path / "photo.png", 200, 150))
    send_text(page, "What is this?")
    wait_reply(page, 2)
    expect(button(page, AGAIN)).to_have_count(1)
    button(page, AGAIN).click()
    expect(sent(page).last.locator(".version")).to_have_text("2/2")
    wait_reply(page, 2)
    expect(sent(page).last.locator("img")).to_have_count(1)
    expect_sent(page, "First", "What is this?")
    # All before the turn was in the cache already, and the page says so.
    page.locator("#chat .reply-timing summary").last.click()
    expect(page.locator("#chat .reply-timing").last).to_contain_text("reused")
    folder = stored(talk_server, sent(page).last.locator("img")).parent.parent
    second, third = timings(folder, 2), timings(folder, 3)
    assert (third["num_reused"], third["num_new"]) == (second["num_reused"], second["num_new"])


def test_the_newest_turn_is_taken_back_and_brought_back(talk_page: Page) -> None:
    page = talk_page
    conversation(page, "First", "Second")
    button(page, TAKE_BACK).click()
    expect_sent(page, "First")
    expect(message_box(page)).to_have_value("Second")
    button(page, "Bring it back").click()
    expect_sent(page, "First", "Second")


def test_a_reply_is_spoken_in_another_voice_and_either_take_can_be_kept(
    talk_page: Page, talk_server: TalkServer
) -> None:
    page = talk_page
    send_text(page, "First")
    wait_reply(page, 1)
    wait_played(page)
    first = stored(talk_server, page.locator("#chat .reply-speech audio"))
    words = reply_texts(page)
    page.get_by_role("radio", name="Ethan", exact=True).check()
    button(page, "Speak it in the chosen voice").click()
    takes = page.locator("#chat .take")
    expect(takes).to_have_text(["Chelsie", "Ethan"])
    wait_played(page)
    second = stored(talk_server, page.locator("#chat .reply-speech audio"))
    assert second != first and second.read_bytes() != first.read_bytes() and reply_texts(page) == words
    expect(takes.last).to_have_attribute("aria-pressed", "true")
    takes.first.click()
    expect(takes.first).to_have_attribute("aria-pressed", "true")
    assert stored(talk_server, page.locator("#chat .reply-speech audio")) == first


def test_a_sentence_of_ones_own_is_heard_in_the_chosen_voice(talk_page: Page) -> None:
    page = talk_page
    page.get_by_role("tab", name="Voices").click()
    box = page.get_by_label("A sentence of your own")
    box.fill("The weather is fine.")
    button(page, "Speak it").click()
    assert wait_played(page)["renderedSamples"] > 0
    expect(sent(page)).to_have_count(0)
    box.fill("")
    button(page, "Speak it").click()
    expect(page.locator("#notice [role=alert]")).to_contain_text("nothing to say")
    # Each button that lets one hear a voice stands in that voice's row.
    page.get_by_role("tab", name="Settings").click()
    for voice in ("Chelsie", "Ethan"):
        row = page.locator("#voice").get_by_label(voice, exact=True).bounding_box()
        hear = page.locator(f"#voice-listen [data-voice={voice}]").bounding_box()
        assert abs(row["y"] + row["height"] / 2 - hear["y"] - hear["height"] / 2) < 4, (voice, row, hear)


def test_a_conversation_is_exported_and_imported_on_another_page(talk_page: Page, tmp_path: Path) -> None:
    page = talk_page
    conversation(page, "First", "Second")
    replies = reply_texts(page)
    button(page, "Export the conversation").click()
    with page.expect_download() as started:
        page.locator("#notice a").click()
    path = tmp_path / "conversation.zip"
    started.value.save_as(path)
    page.locator("#clear").click()
    expect(sent(page)).to_have_count(0)
    page.locator("input[type=file][accept*='.zip']").set_input_files(path)
    expect_sent(page, "First", "Second")
    assert reply_texts(page) == replies
    send_text(page, "Third")
    wait_reply(page, 3)


def test_after_the_server_was_killed_the_page_finds_its_conversation(
    desktop_page: Page, serve_talk: Callable[..., TalkServer], console: Console
) -> None:
    console.allowed += [*SAID_WHEN_LEAVING, "ERR_CONNECTION", "WebSocket"]
    first = serve_talk()
    page = open_talk(desktop_page, first.url)
    conversation(page, "First", "Second")
    replies = reply_texts(page)
    first.server.process.kill()
    first.server.process.wait()
    # The same place, as a server that is started again has it.
    serve_talk("--server-port", first.url.rpartition(":")[2], "--data-dir", str(first.data_dir))
    open_talk(page, first.url)
    expect_sent(page, "First", "Second")
    assert reply_texts(page) == replies
    page.locator("#speak input").uncheck()
    send_text(page, "Third")
    wait_reply(page, 3)


def test_the_buttons_work_by_keyboard_and_fit_a_phone(talk_page: Page) -> None:
    page = talk_page
    conversation(page, "First")
    page.set_viewport_size({"width": 390, "height": 800})
    edit = button(sent(page).first, EDIT)
    edit.focus()
    page.keyboard.press("Enter")
    expect(message_box(page)).to_have_value("First")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, width
    box = button(page, TAKE_BACK).bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 32, box
