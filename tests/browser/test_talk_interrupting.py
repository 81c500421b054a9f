"""Speaking over a reply in real Chromium, with the micro checkpoint: what was heard stays, and nothing else."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, expect
from scipy.signal import correlate

from app.config import MICRO_CHECKPOINT
from tests.browser.chromium import DESKTOP, PHONE
from tests.browser.sound import SILENCE, recording
from tests.browser.speaker import SPEAKER_JS, say, say_over, told
from tests.browser.talk import (
    TIMEOUT_MS,
    TalkServer,
    open_talk,
    reply_texts,
    sent,
    session_folder,
    timings,
    wait_played,
    wait_reply,
)
from training.evaluate.recognizer import words_of
from training.voices.synthesizers import espeak

# Its answer is the longest that these weights give: some seconds of speech.
LONG = "count from twenty to twenty eight"
COUNTED = (
    "Twenty, twenty one, twenty two, twenty three, twenty four, twenty five, twenty six, twenty seven, twenty eight."
)
SUM = "what is twenty three plus four"
# Of the reply, before somebody speaks over it.
HEARD_FIRST = 4_800
FADE, DRY_FADE = 240, 72
MIN_REST = 2_000


def spoken(words: str) -> np.ndarray:
    return espeak(words, "en-us+m3", speed=150) * 0.6


def cough() -> np.ndarray:
    """A fifth of a second of a voice."""
    sound = espeak("ah", "en-us+m3", speed=150)[:3_200] * 0.8
    sound[-80:] *= np.linspace(1, 0, 80)
    return sound


@pytest.fixture(scope="module")
def micro_server(serve_talk: Callable[..., TalkServer]) -> Iterator[TalkServer]:
    """The shipped checkpoint with all its own settings."""
    started = serve_talk("--checkpoint", str(MICRO_CHECKPOINT))
    yield started
    assert not started.complaints(), "\n".join(started.complaints())


@pytest.fixture
def new_speaker(new_page: Callable[..., Page], micro_server: TalkServer) -> Callable[..., Page]:
    def make(viewport: dict[str, int] = DESKTOP, **options: object) -> Page:
        page = new_page(viewport, **options)
        page.add_init_script(SPEAKER_JS)
        open_talk(page, micro_server.url)
        page.locator("#tab-live-button").click()
        page.locator("#live .live-toggle").click()
        page.wait_for_function("omniLive.isOpen && omniLive.state === 'listening'", timeout=TIMEOUT_MS)
        return page

    return make


@pytest.fixture
def page(new_speaker: Callable[..., Page]) -> Page:
    return new_speaker()


def wait_live(page: Page, **counts: int) -> None:
    for name, number in counts.items():
        condition = "([name, number]) => omniLive.stats[name] >= number"
        page.wait_for_function(condition, arg=[name, number], timeout=TIMEOUT_MS)


def place_of(wave: np.ndarray, rendered: np.ndarray) -> int:
    """Where `wave` ends in what was rendered, found by its last half second, the fade apart."""
    piece = wave[-12_000:-FADE]
    energy = np.concatenate([[0.0], np.cumsum(rendered.astype(np.float64) ** 2)])
    errors = energy[len(piece) :] - energy[: -len(piece)] - 2 * correlate(rendered, piece, "valid") + np.sum(piece**2)
    return int(np.argmin(errors)) + len(piece) + FADE


def assert_heard(server: TalkServer, page: Page, turn: int) -> dict:
    """Of a reply stays what the player told that it had played, to the sample; its figures."""
    folder = session_folder(server, page)
    wave, rate = soundfile.read(folder / f"turn_{turn}.wav")
    figures, facts = timings(folder, turn), told(page, turn)
    assert facts[-1]["kind"] == "final"
    assert len(wave) == facts[-1]["samples"] == figures["played_samples"], (len(wave), facts, figures)
    assert figures["heard_s"] == pytest.approx(len(wave) / rate)
    assert figures["num_underruns"] == facts[-1]["underruns"]
    return figures


def test_speaking_over_a_reply_stops_it_and_the_next_answer_is_right(
    page: Page, micro_server: TalkServer, artifacts: Path
) -> None:
    say_over(page, spoken(SUM), HEARD_FIRST)
    say(page, spoken(LONG))
    wait_live(page, turns=1, hushes=1, cuts=1)
    wait_live(page, turns=2)
    wait_reply(page, 2)
    wait_played(page)
    expect(page.locator("#chat .reply-note").first).to_have_text("Stopped here: cut to what was heard (estimated)")
    page.screenshot(path=artifacts / "interrupted_desktop.png")
    figures = assert_heard(micro_server, page, 1)
    assert HEARD_FIRST < figures["played_samples"]
    # The text is cut to whole words, and is no more than the beginning of what it would have been.
    *first, second = reply_texts(page)
    kept = "".join(first)
    assert COUNTED.startswith(kept) and len(kept) < len(COUNTED), kept
    assert words_of(kept) == words_of(COUNTED)[: len(words_of(kept))]
    assert words_of(second)[-2:] == ["twenty", "seven"], second
    # The question that interrupted is whole.
    clip, rate = soundfile.read(session_folder(micro_server, page) / "turn_2" / "said.wav")
    assert len(clip) / rate > len(spoken(SUM)) / 16_000


def test_the_voice_fades_without_a_click_where_somebody_speaks_over_it(page: Page, micro_server: TalkServer) -> None:
    say_over(page, spoken(SUM), HEARD_FIRST)
    say(page, spoken(LONG))
    wait_live(page, cuts=1, turns=2)
    wait_reply(page, 2)
    rendered, (held, *_) = recording(page), [one for one in told(page, 1) if one["kind"] == "held"]
    wave, _ = soundfile.read(session_folder(micro_server, page) / "turn_1.wav", dtype="float32")
    assert held["samples"] == len(wave)
    end = place_of(wave, rendered)
    # No step is larger than the voice's own, but for the slope of a fade: 10 ms, or 3 where the speech ran dry there.
    last = wave[-FADE:]
    allowed = np.abs(np.diff(last)).max() + np.abs(last).max() / DRY_FADE + 1e-3
    assert np.abs(np.diff(rendered[end - FADE : end + MIN_REST])).max() < allowed
    assert np.abs(rendered[end : end + MIN_REST]).max() < SILENCE


def test_a_cough_over_a_reply_lets_it_go_on_and_nothing_is_cut(page: Page, micro_server: TalkServer) -> None:
    say_over(page, cough(), HEARD_FIRST)
    say(page, spoken(LONG))
    wait_live(page, hushes=1)
    wait_reply(page, 1)
    end = wait_played(page)
    wave, _ = soundfile.read(session_folder(micro_server, page) / "turn_1.wav")
    kinds = [one["kind"] for one in told(page, 1)]
    assert "held" in kinds and kinds[-1] == "final", kinds
    assert len(wave) == end["renderedSamples"] == end["receivedSamples"], (len(wave), end)
    assert reply_texts(page) == [COUNTED]
    assert page.evaluate("omniLive.stats.cuts") == 0 and page.locator("#chat .reply-note").count() == 0
    expect(sent(page)).to_have_count(1)


def test_the_stop_button_cuts_a_live_reply_too_and_the_talk_goes_on(page: Page, micro_server: TalkServer) -> None:
    say(page, spoken(LONG))
    # Pressed from within, since the reply is short and a driver may be late.
    pressed = "speaker.told.some(({ samples }) => samples > 4800) && !document.querySelector('#stop').click()"
    page.wait_for_function(pressed, timeout=TIMEOUT_MS)
    wait_reply(page, 1)
    expect(page.locator("#chat .reply-note").first).to_contain_text("Stopped here")
    assert_heard(micro_server, page, 1)
    page.wait_for_function("omniLive.state === 'listening'", timeout=TIMEOUT_MS)
    say(page, spoken(SUM))
    wait_live(page, turns=2)
    wait_reply(page, 2)
    assert words_of(reply_texts(page)[-1])[-2:] == ["twenty", "seven"]


def test_who_stops_listening_hears_the_reply_to_its_end(page: Page) -> None:
    say(page, spoken(LONG))
    page.wait_for_function("speaker.told.some(({ samples }) => samples > 0)", timeout=TIMEOUT_MS)
    page.locator("#live .live-toggle").click()
    wait_reply(page, 1)
    end = wait_played(page)
    assert end["renderedSamples"] == end["receivedSamples"] and reply_texts(page) == [COUNTED]
    page.wait_for_function("omniLive.socket === null")


def test_on_a_phone_an_interrupted_reply_is_told_too(new_speaker: Callable[..., Page], artifacts: Path) -> None:
    page = new_speaker(PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    say_over(page, spoken(SUM), HEARD_FIRST)
    say(page, spoken(LONG))
    wait_live(page, cuts=1, turns=2)
    wait_reply(page, 2)
    expect(page.locator("#live .live-underruns")).to_have_text(
        f"Gaps in the sound: {sum(told(page, turn)[-1]['underruns'] for turn in (1, 2))}"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    page.screenshot(path=artifacts / "interrupted_phone.png")
