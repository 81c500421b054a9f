"""The words of a reply that are being spoken are marked in the conversation, in Chromium."""

from playwright.sync_api import Page

from app.session.captions import captions
from tests.browser.talk import send_text, set_limits, stop_reply_sound, wait_idle, wait_played, wait_reply
from tests.browser.test_talk_versions import button

# Notes each caption that comes, with the reply and the place in its words where it begins; "" where none is left. One
# whose words were drawn anew in this frame is empty until it is painted.
FOLLOW_JS = """() => {
    window.marks = [];
    const look = () => {
        const range = [...(CSS.highlights.get('spoken') || [])][0];
        const text = range ? range.toString() : '';
        if (!range?.collapsed && text !== (marks.at(-1) || { text: '' }).text) {
            const replies = [...document.querySelectorAll('#chat .bot-row .prose')];
            const reply = replies.findIndex((one) => range && one.contains(range.startContainer));
            const before = new Range();
            if (range) before.setStart(replies[reply], 0);
            if (range) before.setEnd(range.startContainer, range.startOffset);
            marks.push({ text, reply, start: before.toString().length });
        }
        requestAnimationFrame(look);
    };
    look();
}"""
TEXTS = (
    "One sentence. Another one! And a third, which is so long that no caption could ever show the whole of it at once?",
    "没有空格的语言。" * 12,
    "x" * 130 + " and on",
    "“Well…” she said, 3.14 is pi. (Is it?) e.g. this",
)


def test_a_caption_of_the_page_is_one_of_the_program(talk_page: Page) -> None:
    for text in TEXTS:
        lines = talk_page.evaluate(
            "text => omniCaptions.linesOf(text).map(({ start, end }) => text.slice(start, end))", text
        )
        assert lines == [caption.text for caption in captions(text, 1.0)]


def test_the_words_that_are_spoken_are_marked_and_none_when_it_is_silent(talk_page: Page) -> None:
    page = talk_page
    set_limits(page, text_tokens=60, codec_tokens=72)
    page.evaluate(FOLLOW_JS)
    send_text(page, "Hello")
    wait_played(page)
    wait_reply(page, 1)
    (words,) = page.locator("#chat .bot-row .prose").all_text_contents()
    assert_marked(page, 0, words)

    # By the reply's own player.
    page.locator("#chat .reply-speech audio").evaluate("audio => audio.play()")
    assert_marked(page, 0, words)

    # An older reply is spoken again, and stopped.
    page.locator("#speak input").uncheck()
    send_text(page, "Go on")
    wait_reply(page, 2)
    page.locator("#speak input").check()
    button(page, "Speak it in the chosen voice").first.click()
    page.wait_for_function("marks.length")
    stop_reply_sound(page)
    wait_unmarked(page)
    first, *_, last = marks(page)
    assert first["reply"] == 0 and words.strip().startswith(first["text"]) and last["text"] == "", (first, last)

    # Words of no reply.
    wait_idle(page)
    page.get_by_role("tab", name="Voices").click()
    page.get_by_label("A sentence of your own").fill("The weather is fine.")
    button(page, "Speak it").click()
    wait_played(page)
    assert not marks(page)


def marks(page: Page) -> list[dict]:
    """The captions so far; from now on they are noted anew."""
    return page.evaluate("marks.splice(0)")


def wait_unmarked(page: Page) -> None:
    page.wait_for_function("marks.at(-1)?.text === '' && !CSS.highlights.has('spoken')")


def assert_marked(page: Page, reply: int, words: str) -> None:
    """Captions of this reply came, one after the other, and went; one whose words are still being written grows."""
    wait_unmarked(page)
    *shown, last = found = marks(page)
    starts = [one["start"] for one in shown]
    assert len(set(starts)) > 1 and starts == sorted(starts) and last["text"] == "", found
    assert all(one["reply"] == reply and one["text"] in words for one in shown), (words, found)
