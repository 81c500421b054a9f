"""Stop in the page: whatever the reply is at, of it stays what was played, as the player tells, and nothing else."""

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, expect

from tests.browser.sound import recording, sounding, without_pauses
from tests.browser.talk import (
    ENDLESS,
    TalkServer,
    finished,
    reply_texts,
    send_text,
    session_folder,
    set_limits,
    stats,
    stop_reply,
    timings,
    wait_played,
    wait_reply,
    wait_sound,
)

HEARD = "Stopped here: cut to what was heard (estimated)"
UNHEARD = "Stopped before any of it was heard"
# A reply is made faster than it is spoken; with its clock stopped the player is sure to be behind.
MUZZLE_JS = """() => {
    const { output } = omniPlayer;
    const run = output.run.bind(output);
    output.run = (rate) => { run(rate); output.context.suspend(); };
}"""
THAW_JS = """async () => {
    delete omniPlayer.output.run;
    const { context } = omniPlayer.output;
    while (context.state !== 'running') await context.resume();
}"""


@pytest.fixture
def page(talk_page: Page) -> Page:
    """Its replies take 10 s to speak."""
    set_limits(talk_page, text_tokens=24, codec_tokens=500)
    return talk_page


def note(page: Page) -> str:
    return page.locator("#chat .bot-row").last.locator(".reply-note").first.inner_text()


def press_hidden_stop(page: Page) -> None:
    """As somebody who pressed just before the button went."""
    page.locator("#stop").evaluate("button => button.click()")


def stop_what_is_played(page: Page) -> None:
    """Sends, waits until all is written and made, lets a part be heard, and stops."""
    page.evaluate(MUZZLE_JS)
    send_text(page, "Hello")
    wait_reply(page, 1)
    page.evaluate(THAW_JS)
    wait_sound(page)
    stop_reply(page)


def assert_cut(server: TalkServer, page: Page) -> dict:
    """The newest reply's sound is what was rendered, to the sample, on the disk and on the page; its figures."""
    expect(page.locator("#chat .reply-note").first).to_have_text(HEARD)
    folder, turn = session_folder(server, page), finished(page).count()
    wave, rate = soundfile.read(folder / f"turn_{turn}.wav")
    figures = timings(folder, turn)
    assert len(wave) == stats(page)["renderedSamples"] == figures["played_samples"], (len(wave), figures)
    assert figures["heard_s"] == figures["audio_s"] == pytest.approx(len(wave) / rate)
    audio = page.locator("#chat .reply-speech audio").last
    page.wait_for_function("audio => audio.readyState > 0", arg=audio.element_handle())
    assert abs(audio.evaluate("audio => audio.duration") * rate - len(wave)) < 1
    return figures


def test_a_reply_that_is_still_being_made_is_cut_to_the_sample_and_the_next_turn_knows_no_more(
    talk_page: Page, talk_server: TalkServer
) -> None:
    page = talk_page
    set_limits(page, text_tokens=ENDLESS, codec_tokens=ENDLESS)
    send_text(page, "Hello")
    wait_sound(page)
    written = len(reply_texts(page)[0])
    stop_reply(page)
    wait_played(page, "stopped")
    wait_reply(page, 1)
    figures = assert_cut(talk_server, page)
    assert len("".join(reply_texts(page))) < written
    set_limits(page, text_tokens=24, codec_tokens=96)
    send_text(page, "Go on")
    wait_reply(page, 2)
    wait_played(page)
    later = timings(session_folder(talk_server, page), 2)
    assert later["num_reused"] == figures["num_new"] + figures["num_heard_tokens"], (figures, later)


def test_a_reply_that_is_made_and_still_played_is_cut_too(page: Page, talk_server: TalkServer) -> None:
    stop_what_is_played(page)
    figures = assert_cut(talk_server, page)
    (text,) = reply_texts(page) or [""]
    assert 0 <= figures["num_heard_tokens"] < figures["num_text_tokens"], (text, figures)
    # A busy machine stops the clock late, and the player may have run dry by then.
    heard = without_pauses(sounding(recording(page)))
    wave, _ = soundfile.read(session_folder(talk_server, page) / "turn_1.wav")
    assert len(heard) <= len(wave)
    # What the disk has is what was heard, the fade of 10 ms at its end apart.
    quiet = np.flatnonzero(np.abs(wave) > 1e-4)[0]
    compared = min(len(heard), len(wave) - quiet) - 400
    assert np.mean(np.abs(heard[100:compared] - wave[quiet + 100 : quiet + compared]) < 1e-3) > 0.9


def test_a_second_stop_and_a_muted_voice_change_nothing_of_the_cut(page: Page, talk_server: TalkServer) -> None:
    page.evaluate("omniPlayer.muted = true")
    stop_what_is_played(page)
    figures = assert_cut(talk_server, page)
    assert figures["played_samples"] > 0
    before = page.locator("#chat").inner_text()
    with page.expect_response(lambda response: "/run/" in response.url):
        press_hidden_stop(page)
    assert assert_cut(talk_server, page) == figures
    assert page.locator("#chat").inner_text() == before


def test_of_a_reply_that_was_stopped_before_it_sounded_nothing_stays(page: Page) -> None:
    """The browser has all of it and plays none, since its output is not let run."""
    page.evaluate(MUZZLE_JS)
    send_text(page, "Hello")
    wait_reply(page, 1)
    assert stats(page)["receivedSamples"] > 0 == stats(page)["renderedSamples"]
    assert page.locator("#chat .reply-speech").count() == 1 == len(reply_texts(page))
    press_hidden_stop(page)
    expect(page.locator("#chat .reply-note").first).to_have_text(UNHEARD)
    assert page.locator("#chat .reply-speech").count() == 0 == len(reply_texts(page))


def test_a_reply_that_is_not_spoken_keeps_what_was_written(talk_page: Page) -> None:
    page = talk_page
    page.locator("#speak input").uncheck()
    set_limits(page, text_tokens=4_000)
    send_text(page, "Hello")
    expect(page.locator("#chat .bot-row .prose")).not_to_be_empty()
    stop_reply(page)
    wait_reply(page, 1)
    assert note(page) == "Stopped here" and reply_texts(page)[0].strip()


@pytest.mark.parametrize(
    "told", ["null", "'x'", "{generation: 1}", "{...omniPlayer.reportOf(stats), played_samples: NaN}"]
)
def test_a_browser_that_tells_nonsense_stops_the_reply_and_cuts_nothing(talk_page: Page, told: str) -> None:
    page = talk_page
    set_limits(page, text_tokens=ENDLESS, codec_tokens=ENDLESS)
    page.evaluate(f"omniPlayer.halt = () => {{ const {{ stats }} = omniPlayer; omniPlayer.stop(); return {told}; }}")
    send_text(page, "Hello")
    wait_sound(page)
    stop_reply(page)
    wait_reply(page, 1)
    assert note(page) == "Stopped here" and reply_texts(page)[0].strip()
