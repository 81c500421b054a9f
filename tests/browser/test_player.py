"""What the player renders in real Chromium: every sample once, no gap and no step, and silence after a stop."""

import json
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Playwright

from tests.browser.chromium import DESKTOP, PHONE, Console, open_context, start_chromium
from tests.browser.server import Server
from tests.browser.sound import RATE, SILENCE, assert_no_gap, assert_no_step, recording, sounding


@pytest.fixture(scope="session")
def player_server(serve: Callable[..., Server]) -> Server:
    return serve(lambda port: [sys.executable, "tests/browser/player_app.py", str(port)], ready="READY")


@pytest.fixture
def player_page(desktop_page: Page, player_server: Server) -> Page:
    return open_player(desktop_page, player_server.url)


@pytest.fixture(scope="session")
def strict_browser(playwright: Playwright) -> Iterator[Browser]:
    """Chromium as people have it: no sound before a gesture."""
    browser = start_chromium(playwright, flags=())
    yield browser
    browser.close()


def open_player(page: Page, url: str) -> Page:
    page.goto(url)
    page.wait_for_function("window.omniPlayer")
    page.evaluate("omniPlayer.record(true)")
    return page


def speak(page: Page, **plan: object) -> None:
    page.locator("#plan textarea").fill(json.dumps(plan))
    page.locator("#speak").click()


def stats(page: Page) -> dict:
    return page.evaluate("omniPlayer.stats")


def wait_for_end(page: Page, generation: int) -> dict:
    page.wait_for_function("g => omniPlayer.stats.generation === g && omniPlayer.stats.how !== ''", arg=generation)
    return stats(page)


def reports_of(page: Page, num_reports: int) -> list[dict]:
    """What the server has heard, once it has heard so much; two reports sent together may arrive in either order."""
    reports: list[dict] = []
    while len(reports) < num_reports:
        page.locator("#reports textarea").fill("")
        page.locator("#read").click()
        page.wait_for_function("document.querySelector('#reports textarea').value !== ''")
        reports = json.loads(page.locator("#reports textarea").input_value())
    return sorted(reports, key=lambda report: (report["generation"], report["is_final"]))


def wait_for_silence_of(page: Page, num_samples: int) -> None:
    """Until so many more samples, of whatever kind, have been rendered."""
    page.evaluate(
        """async (wanted) => {
            const start = (await omniPlayer.recorded()).length;
            while ((await omniPlayer.recorded()).length < start + wanted) await new Promise(requestAnimationFrame);
        }""",
        num_samples,
    )


@pytest.mark.parametrize(
    ("sizes", "pause_s"),
    [([7_200] + [12_000] * 3, 0.25), ([1_920] * 20, 0.04), ([2_400] * 20, 0.0)],
    ids=["0.5 s chunks at half real time", "80 ms chunks", "burst"],
)
def test_every_sample_is_rendered_once_without_gap_or_step(player_page: Page, sizes: list[int], pause_s: float) -> None:
    # The hold is a lead that a busy machine may use up; without it this would be a test of speed.
    speak(player_page, generation=1, sizes=sizes, pause=pause_s, hold_s=0.5)
    end = wait_for_end(player_page, 1)
    wave = sounding(recording(player_page))
    assert end["receivedSamples"] == end["renderedSamples"] == sum(sizes), end
    assert end["lostSamples"] == end["lostPackets"] == end["duplicates"] == end["underruns"] == 0, end
    assert end["how"] == "ended"
    assert abs(len(wave) - sum(sizes)) < 10
    assert_no_gap(wave[100:-100])
    assert_no_step(wave)


def test_no_packet_is_lost_while_the_page_is_busy_and_draws_no_frames(player_page: Page) -> None:
    player_page.locator("#plan textarea").fill(json.dumps({"generation": 1, "sizes": [240] * 150}))
    player_page.locator("#speak").wait_for()
    player_page.evaluate(
        """() => {
            window.requestAnimationFrame = () => 0; // as in a tab in the background
            setInterval(() => { for (const t = Date.now(); Date.now() < t + 300; ); }, 400);
            document.querySelector('#speak').click();
        }"""
    )
    player_page.wait_for_function("omniPlayer.stats.how !== ''", polling=100)
    end = stats(player_page)
    assert (end["receivedPackets"], end["lostPackets"], end["renderedSamples"]) == (150, 0, 36_000), end


def test_a_held_first_packet_sounds_later_by_the_hold_and_nothing_is_lost(player_page: Page) -> None:
    """Two replies alike but for the hold: the second one's later packets come where the first one's came too late."""
    delays, ends = [], []
    for generation, hold_s in enumerate((0.0, 1.4), 1):
        sizes, pauses = [4_800, 9_600, 9_600, 4_800], {"1": 1.0, "3": 0.5}
        speak(player_page, generation=generation, sizes=sizes, pauses=pauses, hold_s=hold_s)
        end = wait_for_end(player_page, generation)
        delays.append((end["firstSoundAt"] - end["firstPacketAt"]) / 1000)
        ends.append(end)
    assert 1.3 < delays[1] - delays[0] < 1.6, delays
    assert [end["renderedSamples"] for end in ends] == [28_800] * 2
    assert (ends[0]["underruns"], ends[1]["underruns"], ends[1]["lostSamples"]) == (1, 0, 0), ends


def test_a_late_chunk_counts_one_underrun_and_plays_on_without_a_step(player_page: Page) -> None:
    speak(player_page, generation=1, sizes=[4_800] * 3, pauses={"2": 1.0})
    player_page.wait_for_function("omniPlayer.state === 'buffering'")
    end = wait_for_end(player_page, 1)
    assert (end["underruns"], end["renderedSamples"]) == (1, 14_400), end
    assert_no_step(sounding(recording(player_page)))


def test_the_local_stop_leaves_only_the_fade_and_drops_what_still_comes(player_page: Page) -> None:
    speak(player_page, generation=1, sizes=[4_800] * 60, pause=0.1)
    player_page.wait_for_function("omniPlayer.stats.renderedSamples > 9600")
    player_page.evaluate("omniPlayer.stop()")
    end = wait_for_end(player_page, 1)
    player_page.wait_for_function("omniPlayer.stats.stalePackets > 2")
    wait_for_silence_of(player_page, RATE // 2)
    assert end["how"] == "stopped" and stats(player_page)["nonSilentSamples"] == end["nonSilentSamples"]
    wave = recording(player_page)
    assert abs(np.count_nonzero(np.abs(wave) > SILENCE) - end["nonSilentSamples"]) <= 2
    assert_no_step(wave)
    assert player_page.evaluate("omniPlayer.state") == "idle"


def test_a_stop_value_silences_its_generation_and_the_next_one_speaks(player_page: Page) -> None:
    speak(player_page, generation=4, sizes=[24_000] * 4)
    player_page.wait_for_function("omniPlayer.stats.renderedSamples > 4800")
    player_page.locator("#stop").click()
    assert wait_for_end(player_page, 4)["how"] == "stopped"
    speak(player_page, generation=3, sizes=[4_800])
    player_page.wait_for_function("omniPlayer.stats.stalePackets > 0")
    speak(player_page, generation=5, sizes=[4_800, 4_800])
    end = wait_for_end(player_page, 5)
    assert (end["how"], end["renderedSamples"]) == ("ended", 9_600), end


def test_a_new_turn_replaces_the_one_that_sounds(player_page: Page) -> None:
    speak(player_page, generation=1, sizes=[24_000] * 4)
    player_page.wait_for_function("omniPlayer.stats.renderedSamples > 4800")
    speak(player_page, generation=2, sizes=[4_800] * 3)
    end = wait_for_end(player_page, 2)
    assert (end["how"], end["renderedSamples"]) == ("ended", 14_400), end
    assert_no_step(sounding(recording(player_page)))
    reports = reports_of(player_page, num_reports=4)
    assert [(report["generation"], report["outcome"]) for report in reports] == [
        (1, ""),
        (1, "replaced"),
        (2, ""),
        (2, "ended"),
    ]
    assert reports[1]["first_sound_epoch_ms"] == reports[0]["first_sound_epoch_ms"]


def test_lost_and_repeated_values_are_noticed_and_the_seam_does_not_click(player_page: Page) -> None:
    speak(player_page, generation=1, sizes=[4_810] * 6, lose=[2], repeat=[4])
    end = wait_for_end(player_page, 1)
    assert (end["lostPackets"], end["lostSamples"], end["duplicates"]) == (1, 4_810, 1), end
    assert end["renderedSamples"] == 5 * 4_810
    assert_no_step(sounding(recording(player_page)))


def test_reports_reach_the_server_at_the_first_sound_and_at_the_end(player_page: Page) -> None:
    player_page.evaluate("omniPlayer.markSubmit()")
    speak(player_page, generation=7, sizes=[4_800] * 4, hold_s=0.5)
    wait_for_end(player_page, 7)
    first, final = reports_of(player_page, num_reports=2)
    assert (first["is_final"], final["is_final"]) == (False, True)
    assert (final["generation"], final["played_samples"], final["outcome"]) == (7, 19_200, "ended")
    assert final["num_underruns"] == final["lost_samples"] == 0
    assert first["first_sound_epoch_ms"] >= first["first_packet_epoch_ms"]
    assert first["first_sound_after_submit_s"] > 0


def test_without_a_gesture_the_player_keeps_the_speech_and_asks_for_a_click(
    strict_browser: Browser, player_server: Server, console: Console
) -> None:
    context = open_context(strict_browser, DESKTOP)
    page = context.new_page()
    console.watch(page)
    # Whatever Playwright evaluates counts as a gesture; this runs as the page's own code does.
    page.add_init_script(
        """const wait = setInterval(() => {
            const plan = document.querySelector('#plan textarea');
            if (!plan || !window.omniPlayer) return;
            clearInterval(wait);
            plan.value = JSON.stringify({ generation: 1, sizes: [4800, 4800] });
            plan.dispatchEvent(new Event('input', { bubbles: true }));
            setTimeout(() => document.querySelector('#speak').click(), 300);
        }, 50);"""
    )
    page.goto(player_server.url)
    devtools = context.new_cdp_session(page)
    until_asked = """new Promise((resolve) => {
        const look = () => window.omniPlayer && omniPlayer.state === 'gesture' && omniPlayer.stats.ended
            ? resolve(omniPlayer.stats.renderedSamples) : setTimeout(look, 50);
        look();
    })"""
    answer = devtools.send(
        "Runtime.evaluate",
        {"expression": until_asked, "awaitPromise": True, "returnByValue": True, "userGesture": False},
    )
    assert answer["result"]["value"] == 0, answer
    page.mouse.click(20, 700)
    end = wait_for_end(page, 1)
    assert (end["how"], end["renderedSamples"]) == ("ended", 9_600), end
    context.close()


def test_a_page_over_plain_http_from_elsewhere_speaks_too(desktop_page: Page, player_server: Server) -> None:
    open_player(desktop_page, player_server.url.replace("127.0.0.1", "elsewhere.test"))
    assert not desktop_page.evaluate("isSecureContext")
    speak(desktop_page, generation=1, sizes=[4_800] * 6, hold_s=0.5)
    end = wait_for_end(desktop_page, 1)
    assert (end["how"], end["renderedSamples"], end["underruns"]) == ("ended", 28_800, 0), end
    wave = sounding(recording(desktop_page))
    assert_no_gap(wave[100:-100])
    assert_no_step(wave)


@pytest.mark.parametrize("context_rate", [44_100, 48_000])
def test_a_browser_of_another_rate_hears_the_same_speech(
    new_page: Callable[..., Page], player_server: Server, context_rate: int
) -> None:
    page = new_page(DESKTOP)
    page.add_init_script(f"window.omniPlayerOptions = {{ contextRate: {context_rate} }}")
    open_player(page, player_server.url)
    speak(page, generation=1, sizes=[4_811] * 5, hold_s=0.5)
    end = wait_for_end(page, 1)
    wave = sounding(recording(page))
    assert end["receivedSamples"] == end["renderedSamples"] == 24_055, end
    assert abs(len(wave) * RATE / context_rate - 24_055) < 20
    assert_no_gap(wave[200:-200], context_rate)
    assert_no_step(wave, context_rate)


def test_the_strip_speaks_the_browsers_language_mutes_and_fits_a_phone(
    new_page: Callable[..., Page], player_server: Server
) -> None:
    page = open_player(new_page(PHONE, locale="ru-RU"), player_server.url)
    assert page.locator(".voice-label").inner_text() == "Голос"
    page.get_by_role("button", name="Выключить звук").click()
    assert page.evaluate("omniPlayer.muted")
    page.get_by_role("button", name="Включить звук").click()
    assert not page.evaluate("omniPlayer.muted")
    box = page.locator(".voice-strip").bounding_box()
    assert box["height"] >= 40 and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"], box
