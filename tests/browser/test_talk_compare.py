"""One reply in several voices side by side, and the cards of the voices, in Chromium."""

import csv
from pathlib import Path

import numpy as np
import soundfile
from playwright.sync_api import Page, expect

from tests.browser.chromium import Console
from tests.browser.talk import TalkServer, reply_texts, send_text, sent, session_folder, wait_played, wait_reply

FADE_S = 0.005
# Every sample that leaves the comparison, from before it begins until nothing more sounds.
# On the audio thread: a busy page would miss some of what a script node hears.
TAP_JS = """async () => {
    const { chorus } = omniCompare;
    const source = `registerProcessor('tap', class extends AudioWorkletProcessor {
        process([[heard]]) { this.port.postMessage(heard ? heard.slice() : new Float32Array(128)); return true; }
    });`;
    await chorus.context.audioWorklet.addModule(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
    const tap = new AudioWorkletNode(chorus.context, 'tap');
    window.tapped = [];
    tap.port.onmessage = ({ data }) => tapped.push(...data);
    chorus.output.connect(tap);
    tap.connect(chorus.context.destination);
    await chorus.context.resume();
    while (tapped.length === 0) await new Promise(requestAnimationFrame);
}"""


def open_voices(page: Page) -> None:
    page.get_by_role("tab", name="Voices").click()
    expect(page.locator(".voice-card")).to_have_count(2)


def compare(page: Page, num_columns: int = 2) -> None:
    page.get_by_role("button", name="Compare on the last reply").click()
    expect(page.locator(".compare .hear")).to_have_count(num_columns)
    page.wait_for_function("window.omniCompare && omniCompare.chorus")


def waves(page: Page) -> list[np.ndarray]:
    """What each column plays, as the browser holds it."""
    found = page.evaluate("omniCompare.chorus.buffers.map((buffer) => [...buffer.getChannelData(0)])")
    return [np.array(wave, np.float32) for wave in found]


def test_a_switch_in_the_middle_misses_no_sample_and_repeats_none(talk_page: Page, talk_server: TalkServer) -> None:
    page = talk_page
    send_text(page, "First")
    wait_reply(page, 1)
    wait_played(page)
    kept = page.locator("#chat .reply-speech audio").get_attribute("src")
    open_voices(page)
    compare(page)
    # The text stands once, and the conversation keeps the sound that it had.
    expect(page.locator(".compare-text")).to_have_text(reply_texts(page)[0].strip())
    expect(page.locator("#chat .take")).to_have_text(["Chelsie", "Ethan"])
    assert page.locator("#chat .reply-speech audio").get_attribute("src") == kept
    files = [soundfile.read(path, dtype="float32") for path in sorted(session_folder(talk_server, page).glob("*.wav"))]
    one, two = waves(page)
    assert all(
        any(len(file) == len(wave) and np.abs(file - wave).max() < 1e-4 for file, _ in files) for wave in (one, two)
    )
    page.evaluate(TAP_JS)
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("omniCompare.chorus.now > 0.4")
    page.locator("[data-column='1']").click()
    expect(page.locator("[data-column='1']")).to_have_attribute("aria-pressed", "true")
    page.wait_for_function("!omniCompare.chorus.isPlaying")
    page.wait_for_function("length => tapped.length > length", arg=page.evaluate("tapped.length") + 8192)
    heard = np.array(page.evaluate("tapped"), np.float32)

    rate = files[0][1]
    # Where the reply begins in what was tapped: the one place at which the first wave's beginning stands.
    begin = next(place for place in np.flatnonzero(np.abs(heard) > 0)[:1]) - int(np.flatnonzero(np.abs(one) > 0)[0])
    length = min(len(one), len(two))
    heard = heard[begin : begin + length]
    is_one, is_two = (np.abs(heard - wave[:length]) < 1e-5 for wave in (one, two))
    switch = int(np.argmin(is_one))
    assert 0.4 * rate <= switch < length - FADE_S * rate, switch / rate
    resumed = switch + int(np.argmax(is_two[switch:] & ~is_one[switch:]))
    fade = round(FADE_S * rate)
    assert resumed - switch <= fade + 1
    # Before it the one voice, behind it the other at the same place, and between them a straight cross-fade.
    assert is_one[:switch].all() and is_two[switch + fade + 1 : length - fade].all()
    ramp = np.clip((np.arange(fade + 2)) / fade, 0, 1)
    mixed = [
        one[start : start + fade + 2] * (1 - ramp) + two[start : start + fade + 2] * ramp
        for start in (switch - 1, switch)
    ]
    assert (
        min(np.abs(heard[start : start + fade + 2] - mix).max() for start, mix in zip((switch - 1, switch), mixed))
        < 2e-2
    )


def test_a_blind_vote_is_counted_shown_and_saved(talk_page: Page, tmp_path: Path) -> None:
    page = talk_page
    open_voices(page)
    page.get_by_role("button", name="Compare on the last reply").click()
    expect(page.locator("#notice [role=alert]")).to_contain_text("no reply to compare")
    send_text(page, "First")
    wait_reply(page, 1)
    page.get_by_label("Hide the names until I have chosen").check()
    compare(page)
    expect(page.locator(".compare .hear b")).to_have_text(["Voice A", "Voice B"])
    assert "Ethan" not in page.locator("#compare").inner_html()
    page.get_by_role("button", name="I like Voice B best").click()
    expect(page.locator(".compare-names")).to_contain_text("A: ")
    chosen = page.locator(".compare-names strong").inner_text().removeprefix("B: ")
    expect(page.locator("#chat .take[aria-pressed=true]")).to_have_text(chosen)
    expect(page.locator(".standings tr").first).to_contain_text(chosen)
    page.get_by_role("button", name="Save the votes as a table").click()
    with page.expect_download() as started:
        page.locator("#notice a").click()
    path = tmp_path / "votes.csv"
    started.value.save_as(path)
    (row,) = csv.DictReader(path.open(newline=""))
    assert row["chosen"] == chosen and row["blind"] == "1" and set(row["voices"].split("|")) == {"Chelsie", "Ethan"}
    # A new conversation has nothing to compare, and the votes stay.
    page.locator("#clear").click()
    expect(sent(page)).to_have_count(0)
    expect(page.locator("section.compare")).to_have_count(0)
    page.get_by_role("tab", name="Settings").click()
    page.get_by_role("tab", name="Voices").click()
    expect(page.locator(".standings")).to_contain_text("1 of 1")


def test_a_recording_that_is_gone_is_said(talk_page: Page, talk_server: TalkServer, console: Console) -> None:
    page = talk_page
    console.allowed.append("404")
    send_text(page, "First")
    wait_reply(page, 1)
    page.route("**/*_take*.wav*", lambda route: route.fulfill(status=404, body="gone"))
    open_voices(page)
    page.get_by_role("button", name="Compare on the last reply").click()
    expect(page.locator(".compare [role=alert]")).to_contain_text("compare the voices again")
    page.locator("[data-column='1']").click()
    expect(page.locator(".compare .hear")).to_have_count(2)


def test_a_card_chooses_its_voice(talk_page: Page) -> None:
    page = talk_page
    open_voices(page)
    expect(page.locator(".voice-card").first).to_contain_text("honeyed")
    page.get_by_role("button", name="Use Ethan").click()
    expect(page.locator(".voice-card[aria-current=true] h2")).to_have_text("Ethan")
    page.get_by_role("tab", name="Settings").click()
    expect(page.get_by_role("radio", name="Ethan")).to_be_checked()
