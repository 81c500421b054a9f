"""What streams to the page from the real engine: text that grows, sound before its end, voices, stop, what is kept."""

from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect

from tests.browser.sound import SILENCE, recording, sounding
from tests.browser.talk import (
    ENDLESS,
    TalkServer,
    be_greedy,
    follow_text,
    followed,
    reply_texts,
    reply_wav,
    send_text,
    session_folder,
    set_limits,
    stats,
    stop_reply,
    timings,
    wait_played,
    wait_rendered,
    wait_reply,
    wait_sound,
)

STOP_FADE = 240  # samples of 10 ms at 24 kHz
RENDER_BLOCK = 128
# The page's own Stop, with all that was rendered when it reached the audio graph.
NOTE_STOP_JS = """() => {
    const stop = omniPlayer.stop.bind(omniPlayer);
    omniPlayer.stop = (...generation) => {
        window.beforeStop = window.beforeStop || omniPlayer.recorded().then((wave) => wave.length);
        return stop(...generation);
    };
}"""


def test_text_grows_in_many_updates_and_sound_is_rendered_before_it_ends(talk_page: Page) -> None:
    page = talk_page
    set_limits(page, text_tokens=ENDLESS, codec_tokens=ENDLESS)
    follow_text(page)
    send_text(page, "Hello")
    wait_sound(page)
    page.wait_for_function("followed.length >= 8 && followed.at(-1).heard > 0")
    lengths = [len(step["text"]) for step in followed(page)]
    assert lengths == sorted(lengths) and len(set(lengths)) >= 8, lengths
    stop_reply(page)
    wait_reply(page, 1)


def test_a_finished_reply_plays_again_and_its_file_holds_every_rendered_sample(
    talk_page: Page, talk_server: TalkServer, tmp_path: Path
) -> None:
    page = talk_page
    send_text(page, "Hello")
    wait_reply(page, 1)
    end = wait_played(page)
    wave, rate = reply_wav(page, tmp_path)
    assert len(wave) == end["receivedSamples"] == end["renderedSamples"], (len(wave), end)
    assert rate == end["rate"] and end["lostSamples"] == 0, end
    heard = sounding(recording(page))
    if end["underruns"] == 0:
        # The player fades the first and the last 3 ms, and dips where its queue was nearly dry; the rest is the file's.
        saved, length = wave / 32767, len(heard) - 200
        starts = np.flatnonzero(wave)[0] + 100 + np.arange(100)
        errors = [np.abs(heard[100:-100] - saved[at : at + length]) for at in starts if at + length <= len(saved)]
        assert max(np.mean(error < 1e-4) for error in errors) > 0.9
    audio = page.locator("#chat .reply-speech audio")
    audio.evaluate("audio => audio.play()")
    page.wait_for_function("document.querySelector('#chat .reply-speech audio').ended")
    assert abs(audio.evaluate("audio => audio.duration") * rate - len(wave)) < 1


def test_another_voice_sounds_different_and_the_same_voice_does_not(
    talk_page: Page, talk_server: TalkServer, tmp_path: Path
) -> None:
    page = talk_page
    be_greedy(page, seed=7)
    waves, texts = [], []
    for voice in ("Chelsie", "Ethan", "Chelsie"):
        page.locator("#voice label", has_text=voice).click()
        page.evaluate("omniPlayer.record(true)")
        send_text(page, "Say it once more")
        wait_reply(page, 1)
        wait_played(page)
        texts.append(reply_texts(page))
        waves.append((sounding(recording(page)), reply_wav(page, tmp_path)[0]))
        page.locator("#clear").click()
        expect(page.locator("#chat .message-row")).to_have_count(0)
    assert texts[0] == texts[1] == texts[2], texts
    (heard, file), (other_heard, other_file), (_, same_file) = waves
    assert np.array_equal(file, same_file), "the same voice, text and seed spoke differently"
    assert not np.array_equal(file, other_file)
    num_samples = min(len(heard), len(other_heard))
    difference = np.abs(heard[:num_samples] - other_heard[:num_samples])
    assert difference.mean() > 0.1 * np.abs(heard).mean(), difference.mean()


def test_stop_leaves_only_the_fade_and_no_more_text_and_the_next_turn_works(
    talk_page: Page, talk_server: TalkServer
) -> None:
    page = talk_page
    set_limits(page, text_tokens=ENDLESS, codec_tokens=ENDLESS)
    page.evaluate(NOTE_STOP_JS)
    send_text(page, "Hello")
    wait_sound(page)
    stop_reply(page)
    stopped = wait_played(page, "stopped")
    wait_reply(page, 1)
    expect(page.locator("#chat .reply-note")).to_contain_text("Stopped here")
    text = reply_texts(page)
    follow_text(page)
    wait_rendered(page, 12_000)
    assert stats(page)["nonSilentSamples"] == stopped["nonSilentSamples"]
    wave = recording(page)
    rest = wave[page.evaluate("beforeStop") :]
    assert np.count_nonzero(np.abs(rest) > SILENCE) <= STOP_FADE + 2 * RENDER_BLOCK, len(rest)
    assert followed(page) == [] and reply_texts(page) == text
    figures = timings(session_folder(talk_server, page), 1)
    assert 0 < figures["num_codec_frames"] < figures["num_text_tokens"] < ENDLESS, figures
    set_limits(page, text_tokens=24, codec_tokens=96)
    send_text(page, "Go on")
    wait_reply(page, 2)
    end = wait_played(page)
    assert end["renderedSamples"] > 0 and reply_texts(page)[: len(text)] == text, end
    # Of what was written until the stop, what was heard stays in the conversation.
    next_figures = timings(session_folder(talk_server, page), 2)
    assert next_figures["num_reused"] == figures["num_new"] + figures["num_heard_tokens"], (figures, next_figures)


def test_the_third_turn_prefills_only_its_own_tokens(talk_page: Page, talk_server: TalkServer) -> None:
    page = talk_page
    page.locator("#speak input").uncheck()
    for num_turns in (1, 2):
        send_text(page, "The same words each time")
        wait_reply(page, num_turns)
    page.locator("#speak input").check()
    send_text(page, "The same words each time")
    wait_sound(page)
    wait_reply(page, 3)
    folder = session_folder(talk_server, page)
    first, second, third = (timings(folder, turn) for turn in (1, 2, 3))
    # The last sampled token of a reply enters the cache with the next prompt.
    for earlier, later in ((first, second), (second, third)):
        left = earlier["num_reused"] + earlier["num_new"] + earlier["num_text_tokens"] - 1
        assert later["num_reused"] == left, (earlier, later)
    assert first["num_reused"] == 0 and third["num_new"] == second["num_new"] < first["num_new"], (first, third)
    page.locator("#panel-tabs [role=tab]", has_text="Timing").click()
    total = third["num_new"] + third["num_reused"]
    expect(page.locator("#timing")).to_contain_text(f"{third['num_new']} new tokens")
    expect(page.locator("#timing")).to_contain_text(f"reused {third['num_reused']} of {total} tokens")
    expect(page.locator("#timing")).to_contain_text("First sound")
