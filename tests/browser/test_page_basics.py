"""The page in real Chromium over an engine without a model: turns, stop, clear, tabs, reload, refusals, privacy."""

import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import PHONE
from tests.browser.server import Server
from tests.browser.talk import QUIET_JS
from tests.make_media import make_image, make_video, make_wav

IDLE = "!document.querySelector('#status .busy')"


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="session")
def server(serve: Callable[..., Server], data_dir: Path) -> Server:
    return serve(lambda port: [sys.executable, "tests/browser/page_app.py", str(port), str(data_dir)], ready="READY")


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """A small file of each kind; the last one is a video without a sound track."""
    folder = tmp_path_factory.mktemp("uploads")
    return (
        make_image(folder / "red.png"),
        make_wav(folder / "beep.wav"),
        make_video(folder / "clip.mp4", with_sound=True),
        make_video(folder / "mute.mp4"),
    )


@pytest.fixture
def page(desktop_page: Page, server: Server) -> Page:
    return open_page(desktop_page, server)


def open_page(page: Page, server: Server) -> Page:
    page.goto(server.url)
    wait_ready(page)
    return page


def wait_ready(page: Page) -> None:
    """The model is there and the page has its session."""
    page.locator("#voice input").first.wait_for(state="attached")
    page.wait_for_function("sessionStorage.getItem('omni-secret')")
    page.wait_for_function("window.omniPlayer")


def send(page: Page, text: str) -> None:
    page.locator("#message textarea").fill(text)
    page.locator("#message textarea").press("Enter")


def replies(page: Page):
    """Finished replies: those with their figures."""
    return page.locator(".reply-timing")


def wait_replies(page: Page, num: int) -> None:
    expect(replies(page)).to_have_count(num, timeout=40_000)
    page.wait_for_function(IDLE)


def last_text(page: Page) -> str:
    return page.locator("#chat .bot-row .prose").last.inner_text()


def test_a_typed_turn_grows_word_by_word_speaks_and_finishes(page: Page):
    page.evaluate(
        """() => { window.grown = []; new MutationObserver(() => {
        const shown = [...document.querySelectorAll('#chat .bot-row .prose')].at(-1)?.innerText || '';
        if (shown !== grown.at(-1)) grown.push(shown); }).observe(document.querySelector('#chat'),
        {childList: true, subtree: true, characterData: true}); }"""
    )
    send(page, "Hello")
    # Sound comes before the reply is complete.
    page.wait_for_function("omniPlayer.stats.nonSilentSamples > 0 && !document.querySelector('#chat .reply-timing')")
    wait_replies(page, 1)
    grown = [text for text in page.evaluate("grown") if text]
    assert len(grown) > 5 and all(len(a) <= len(b) for a, b in zip(grown, grown[1:])), grown
    assert last_text(page).endswith("sentence.")
    expect(page.locator("#message textarea")).to_have_value("")
    page.wait_for_function("omniPlayer.stats.how === 'ended'")
    expect(replies(page).locator("summary")).to_contain_text("First sound", timeout=10_000)


def test_the_reply_can_be_played_and_saved(page: Page):
    send(page, "Hello")
    wait_replies(page, 1)
    page.evaluate("omniPlayer.stop()")
    sound = page.locator(".reply-speech audio")
    sound.evaluate("audio => audio.play()")
    page.wait_for_function("document.querySelector('.reply-speech audio').currentTime > 0.2")
    with page.expect_download() as download:
        page.locator(".reply-speech a").click()
    assert download.value.suggested_filename == "turn_1.wav"
    assert Path(download.value.path()).read_bytes()[:4] == b"RIFF"


def test_what_is_typed_is_shown_literally(page: Page):
    typed = "<b>x</b> <|im_start|>system **stars** `code` <img src=x onerror=alert(1)> مرحبا 👋"
    send(page, typed)
    expect(page.locator(".sent-text")).to_have_text(typed)
    assert not page.locator(".sent-text *").count()


def test_an_example_is_sent_at_a_click(page: Page):
    example = page.locator("#examples button").nth(1)
    words = example.inner_text()
    example.click()
    expect(page.locator(".sent-text")).to_have_text(words)
    expect(page.locator("#examples")).not_to_be_visible()


def test_shift_enter_begins_a_line_and_enter_sends(page: Page):
    box = page.locator("#message textarea")
    box.fill("one")
    box.press("Shift+Enter")
    box.type("two")
    assert box.input_value() == "one\ntwo"
    box.press("Enter")
    expect(page.locator(".sent-text")).to_have_text("one\ntwo")


def test_stop_silences_at_once_and_nothing_follows(page: Page):
    send(page, "Hello")
    # After half a second, of which a word stays; from within, since the reply is short and a driver may be late.
    page.wait_for_function("omniPlayer.stats.nonSilentSamples > 12_000 && !document.querySelector('#stop').click()")
    page.wait_for_function("omniPlayer.stats.stoppedAt && omniPlayer.stats.how === 'stopped'")
    page.wait_for_function(IDLE)
    rendered = page.evaluate("omniPlayer.stats.renderedSamples")
    expect(page.locator(".reply-note")).to_have_text("Stopped here: cut to what was heard (estimated)")
    text = last_text(page)
    assert not text.endswith("sentence."), text
    send(page, "Again")
    wait_replies(page, 2)
    assert page.evaluate("omniPlayer.stats.generation") == 2
    assert page.locator("#chat .bot-row .prose").first.inner_text() == text
    assert rendered < 3 * 24_000


def test_a_second_message_during_a_reply_is_refused_and_kept(page: Page):
    send(page, "Hello")
    page.wait_for_function(
        "document.querySelector('#status .busy') && !document.querySelector('#message textarea').value"
    )
    send(page, "And this")
    expect(page.locator("#notice [role=alert]")).to_contain_text("still being made")
    expect(page.locator("#message textarea")).to_have_value("And this")
    wait_replies(page, 1)
    expect(page.locator(".sent-text")).to_have_count(1)
    send(page, "And this")
    wait_replies(page, 2)
    expect(page.locator("#notice [role=alert]")).to_have_count(0)


def test_refused_input_keeps_what_was_typed_and_attached(page: Page, tmp_path: Path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"corrupt")
    page.locator("#tab-upload-button").click()
    page.locator("#upload").evaluate(QUIET_JS)
    page.locator("#upload input[type=file]").set_input_files(bad)
    expect(page.locator(".tray li")).to_have_count(1)
    send(page, "What is this?")
    expect(page.locator("#notice [role=alert]")).to_be_visible()
    page.wait_for_function(IDLE)
    expect(page.locator("#message textarea")).to_have_value("What is this?")
    expect(page.locator(".tray li")).to_have_count(1)
    expect(page.locator(".message-row")).to_have_count(0)


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_message_gets_one_sentence(page: Page, text: str):
    send(page, text)
    expect(page.locator("#notice [role=alert]")).to_have_count(1)
    page.wait_for_function(IDLE)
    expect(page.locator(".message-row")).to_have_count(0)


def test_a_new_conversation_begins_even_in_mid_reply(page: Page):
    send(page, "Hello")
    page.wait_for_function("omniPlayer.stats.nonSilentSamples > 0")
    page.locator("#clear").click()
    expect(page.locator(".message-row")).to_have_count(0)
    page.wait_for_function(IDLE)
    page.wait_for_function("omniPlayer.stats.stoppedAt")
    send(page, "New")
    wait_replies(page, 1)
    expect(page.locator(".sent-text")).to_have_text("New")


def test_a_double_click_sends_one_message_and_so_does_enter_twice(page: Page):
    page.locator("#speak input").uncheck()
    page.locator("#message textarea").fill("once")
    page.locator("#send").dblclick()
    wait_replies(page, 1)
    page.locator("#message textarea").fill("and once")
    page.locator("#message textarea").press("Enter")
    page.locator("#message textarea").press("Enter")
    wait_replies(page, 2)
    expect(page.locator(".sent-text")).to_have_text(["once", "and once"])
    expect(page.locator("#notice [role=alert]")).to_have_count(0)


AT_END = """() => { const said = document.querySelector('#chat .bubble-wrap');
    return said.scrollHeight - said.clientHeight - said.scrollTop < 2; }"""
SCROLL_UP = """async () => {
    const said = document.querySelector('#chat .bubble-wrap');
    for (let frames = 0; frames < 5; frames++) {
        if (said.scrollTop !== 0) frames = 0;
        said.scrollTop = 0;
        await new Promise(requestAnimationFrame);
    }
}"""


def test_who_sends_sees_what_was_sent_and_who_reads_the_end_goes_on_seeing_it(page: Page):
    page.locator("#speak input").uncheck()
    for number in range(1, 6):
        send(page, f"line {number}\n" * 6)
        wait_replies(page, number)
    page.wait_for_function(AT_END)
    # The list of messages goes to its end by itself a moment after the last change.
    page.locator("#chat").evaluate(QUIET_JS)
    # The camera takes the room of the conversation's end.
    page.locator("#tab-webcam-button").click()
    expect(page.locator("#webcam-mode")).to_be_visible()
    page.wait_for_function(AT_END)
    page.locator("#tab-text-button").click()
    page.evaluate(SCROLL_UP)
    page.locator("#tab-upload-button").click()
    expect(page.locator("#upload")).to_be_visible()
    assert page.evaluate("document.querySelector('#chat .bubble-wrap').scrollTop") == 0
    page.locator("#tab-text-button").click()
    send(page, "the newest")
    wait_replies(page, 6)
    page.wait_for_function(AT_END)


def test_a_draft_comes_back_when_an_older_message_was_changed_or_kept(page: Page):
    page.locator("#speak input").uncheck()
    message = page.locator("#message textarea")
    send(page, "first")
    wait_replies(page, 1)
    for keep in (True, False):
        message.fill("a draft")
        page.locator("#chat button[data-deed=edit]").click()
        expect(message).to_have_value("first")
        if keep:
            page.locator("#notice button[data-deed=keep]").click()
        else:
            send(page, "changed")
            wait_replies(page, 1)
            expect(page.locator(".sent-text")).to_have_text("changed")
        expect(message).to_have_value("a draft")


def test_on_a_phone_what_a_button_of_the_panel_is_answered_can_be_read(new_page: Callable[..., Page], server: Server):
    page = open_page(new_page(PHONE, has_touch=True, is_mobile=True), server)
    page.locator("#panel-button").tap()
    page.locator("#export").tap()
    expect(page.locator("#notice [role=alert]")).to_contain_text("nothing to export")
    expect(page.locator("#panel")).to_be_hidden()
    page.locator("#panel-button").tap()
    page.locator("#panel-close").tap()
    expect(page.locator("#panel")).to_be_hidden()


def test_a_full_conversation_offers_to_forget_its_beginning(page: Page):
    page.locator("#speak input").uncheck()
    send(page, "first " + "word " * 1000)
    wait_replies(page, 1)
    long = "second " + "word " * 1000
    send(page, long)
    expect(page.locator("#notice [role=alert]")).to_contain_text("conversation is full")
    expect(page.locator("#message textarea")).to_have_value(long)
    page.locator("#forget").click()
    expect(page.locator(".sent-text")).to_contain_text("second")
    wait_replies(page, 1)
    expect(page.locator("#message textarea")).to_have_value("")


def test_two_tabs_do_not_see_each_other(page: Page, new_page: Callable[..., Page], server: Server):
    other = open_page(new_page(), server)
    send(page, "mine")
    send(other, "yours")
    wait_replies(page, 1)
    wait_replies(other, 1)
    assert page.locator(".sent-text").all_inner_texts() == ["mine"]
    assert other.locator(".sent-text").all_inner_texts() == ["yours"]


def test_a_second_tab_of_the_same_window_is_a_conversation_of_its_own(page: Page, server: Server):
    send(page, "mine")
    wait_replies(page, 1)
    other = open_page(page.context.new_page(), server)
    assert not other.locator(".message-row").count()


def test_a_busy_engine_tells_the_place_in_the_queue(page: Page, new_page: Callable[..., Page], server: Server):
    other = open_page(new_page(), server)
    send(page, "first")
    page.wait_for_function("omniPlayer.stats.nonSilentSamples > 0")
    send(other, "second")
    expect(other.locator("#status")).to_contain_text("1 before you")
    wait_replies(other, 1)


def test_a_reload_finds_the_conversation_again(page: Page):
    send(page, "remember me")
    wait_replies(page, 1)
    page.reload()
    wait_ready(page)
    expect(page.locator(".sent-text")).to_have_text("remember me")
    send(page, "and me")
    wait_replies(page, 2)
    expect(replies(page).last.locator("summary")).to_contain_text("reused")


def test_a_reload_in_mid_reply_stops_it_and_goes_on(page: Page):
    send(page, "first")
    page.wait_for_function("omniPlayer.stats.nonSilentSamples > 0")
    page.reload()
    wait_ready(page)
    expect(page.locator(".reply-note")).to_have_text("Stopped here")
    send(page, "second")
    wait_replies(page, 2)


def test_an_older_reply_plays_on_while_the_next_one_is_written(page: Page):
    send(page, "first")
    wait_replies(page, 1)
    page.evaluate("omniPlayer.stop(); document.querySelector('.reply-speech audio').marked = true")
    send(page, "second")
    page.wait_for_function("omniPlayer.stats.generation === 2 && omniPlayer.stats.nonSilentSamples > 0")
    assert page.evaluate("document.querySelector('.reply-speech audio').marked"), (
        "the player of the first reply was replaced"
    )


def test_uploads_of_each_kind_are_shown_in_their_turn(page: Page, media: tuple[Path, ...]):
    page.locator("#tab-upload-button").click()
    page.locator("#upload input[type=file]").set_input_files(list(media))
    expect(page.locator(".tray li")).to_have_count(4)
    expect(page.locator(".tray .badge")).to_have_text(["no sound track"])
    expect(page.locator(".tray .estimate")).to_contain_text("tokens")
    send(page, "What is this?")
    wait_replies(page, 1)
    expect(page.locator(".tray li")).to_have_count(0)
    page.wait_for_function("document.querySelector('.sent img').naturalWidth > 0")
    page.wait_for_function(
        "[...document.querySelectorAll('.sent video, .sent audio')].every(media => media.duration > 0)"
    )
    assert (page.locator(".sent video").count(), page.locator(".sent audio").count()) == (2, 1)


def test_a_voice_can_be_heard_before_it_is_chosen(page: Page):
    button = page.locator("#voice-listen button").nth(1)
    expect(button).to_have_accessible_name("Hear Ethan")
    button.click()
    expect(button).to_have_attribute("data-state", "sounding", timeout=20_000)
    expect(page.locator("#voice label.selected")).to_have_text("Chelsie")


def test_another_system_prompt_warns_and_can_be_taken_back(page: Page):
    warning = page.locator("#system-prompt-changed")
    assert not warning.is_visible()
    page.locator("#system-prompt textarea").fill("You are a pirate.")
    expect(warning).to_be_visible()
    page.locator("#system-prompt-reset").click()
    expect(warning).not_to_be_visible()


def test_text_only_stays_silent(page: Page):
    page.locator("#speak input").uncheck()
    send(page, "Hello")
    wait_replies(page, 1)
    assert not page.locator(".reply-speech").count()
    assert page.evaluate("omniPlayer.stats.receivedSamples") == 0


@pytest.mark.parametrize(
    ("locale", "words"),
    [("zh-CN", ("发送", "麦克风", "声音", "新对话")), ("ru-RU", ("Отправить", "Микрофон", "Голос", "Новый разговор"))],
)
def test_the_page_speaks_the_language_of_the_browser(
    new_page: Callable[..., Page], server: Server, locale: str, words: tuple
):
    page = open_page(new_page(locale=locale), server)
    for place, word in zip(("#send", "#tab-microphone-button", "#voice", "#clear"), words):
        expect(page.locator(place).first).to_contain_text(word)
    assert "__i18n__" not in page.content().split("window.gradio_config")[-1].split("</script>", 1)[-1]


def test_no_request_leaves_this_machine(desktop_page: Page, server: Server):
    addresses: list[str] = []
    desktop_page.on("request", lambda request: addresses.append(request.url))
    page = open_page(desktop_page, server)
    send(page, "Hello")
    wait_replies(page, 1)
    strange = [url for url in addresses if not url.startswith((server.url, "data:", "blob:"))]
    assert not strange, strange


def test_only_the_page_s_own_files_are_served(page: Page, server: Server, data_dir: Path):
    root = Path(__file__).parents[2]
    send(page, "Hello")
    wait_replies(page, 1)
    own = page.locator(".reply-speech audio").get_attribute("src")
    assert fetch_status(server, own) == 200
    (data_dir / "secret.txt").write_text("x")
    for path in (
        "/etc/passwd",
        root / "launch_demo.py",
        "launch_demo.py",
        data_dir / "secret.txt",
        data_dir / "sessions" / ".." / "secret.txt",
    ):
        assert fetch_status(server, f"gradio_api/file={urllib.parse.quote(str(path))}") in (403, 404), path


def test_an_uploaded_page_is_never_shown_as_one(server: Server, data_dir: Path):
    evil = data_dir / "sessions" / "x" / "turn_1_1_evil.html"
    evil.parent.mkdir(parents=True, exist_ok=True)
    evil.write_text("<script>alert(1)</script>")
    with urllib.request.urlopen(f"{server.url}/gradio_api/file={evil}") as answer:
        assert answer.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize("place", ["/etc/passwd", "launch_demo.py", "http://elsewhere.test/x.png", "../../etc/passwd"])
def test_a_path_or_address_in_a_file_s_place_is_never_opened(server: Server, place: str):
    config = json.load(urllib.request.urlopen(f"{server.url}/config"))
    look = next(event for event in config["dependencies"] if event["api_name"] == "look")
    forged = {"path": place, "meta": {"_type": "gradio.FileData"}}
    data = [None, [forged], None, None, None, True]
    call = {"data": data, "fn_index": look["id"], "session_hash": "forged", "trigger_id": None}
    request = urllib.request.Request(
        f"{server.url}/gradio_api/queue/join", json.dumps(call).encode(), {"content-type": "application/json"}
    )
    urllib.request.urlopen(request).read()
    answer = ""
    with urllib.request.urlopen(f"{server.url}/gradio_api/queue/data?session_hash=forged", timeout=30) as stream:
        for line in stream:
            if b"process_completed" in line:
                answer = line.decode()
                break
    outcome = json.loads(answer.removeprefix("data: "))
    assert not outcome["success"], outcome


def fetch_status(server: Server, path: str) -> int:
    try:
        with urllib.request.urlopen(f"{server.url}/{path}") as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_page_fits_a_phone(new_page: Callable[..., Page], server: Server, artifacts: Path):
    page = open_page(new_page(PHONE, has_touch=True, is_mobile=True), server)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert not page.locator("#panel").is_visible()
    page.locator("#panel-button").tap()
    expect(page.locator("#voice")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).not_to_be_visible()
    send(page, "Hello")
    wait_replies(page, 1)
    page.screenshot(path=artifacts / "page_phone.png")


def test_every_control_has_a_name(page: Page):
    send(page, "Hello")
    wait_replies(page, 1)
    snapshot = page.locator("body").aria_snapshot()
    nameless = [
        line
        for line in snapshot.splitlines()
        if re.fullmatch(r"\s*- (button|textbox|radio|link|slider|checkbox)(:.*)?", line)
    ]
    assert not nameless, snapshot
