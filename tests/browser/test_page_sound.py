"""The choice of the sound: it moves the vocoder's sliders, opened or not, and they take it away; in Chromium."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from components.settings import SOUNDS
from components.texts import LANGUAGES
from tests.browser.chromium import DESKTOP, PHONE, open_context
from tests.browser.server import Server
from tests.browser.talk import QUIET_JS, open_talk, send_text


@pytest.fixture(scope="module")
def quick_server(serve: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """The page over an engine without a model: what is asked of it is all that matters here."""
    folder = tmp_path_factory.mktemp("sound")
    return serve(lambda port: [sys.executable, "tests/browser/page_app.py", str(port), str(folder)], ready="READY")


@pytest.fixture
def page(desktop_page: Page, quick_server: Server) -> Page:
    return open_talk(desktop_page, quick_server.url)


def chosen(page: Page) -> list[str]:
    return page.locator("#sound label.selected").all_inner_texts()


def choose(page: Page, name: str) -> None:
    page.locator(f"#sound input[value={name}]").check()


def open_vocoder(page: Page) -> None:
    page.locator("#advanced > button").click()
    page.locator("#advanced .stage > button", has_text="Vocoder").click()
    expect(slider(page, "ode-points")).to_be_visible()
    page.locator("#advanced").evaluate(QUIET_JS)


def slider(page: Page, name: str):
    return page.locator(f"#{name} input[type=number]")


def move(page: Page, name: str, value: str) -> None:
    slider(page, name).fill(value)
    slider(page, name).blur()


def asked(page: Page) -> list:
    """Values of the vocoder's sliders with which a message goes out."""

    def is_message(request: Request) -> bool:
        return "queue/join" in request.url and "Hello" in (request.post_data or "")

    with page.expect_request(is_message) as out:
        send_text(page, "Hello")
    return out.value.post_data_json["data"]


def test_a_choice_goes_out_with_the_message_though_the_sliders_were_never_opened(page: Page) -> None:
    assert chosen(page) == ["Best"]
    choose(page, "fastest")
    values = asked(page)
    places = [i for i in range(len(values) - 1) if values[i : i + 2] == list(SOUNDS["fastest"])]
    assert len(places) == 1, values
    open_vocoder(page)
    assert [slider(page, name).input_value() for name in ("ode-points", "guidance")] == ["3", "0.5"]
    assert chosen(page) == ["Fastest"]


def test_a_slider_that_is_moved_takes_the_choice_away_and_names_one_that_it_reaches(page: Page) -> None:
    open_vocoder(page)
    move(page, "ode-points", "17")
    expect(page.locator("#sound label.selected")).to_have_count(0)
    choose(page, "balanced")
    points, guidance = SOUNDS["balanced"]
    expect(slider(page, "ode-points")).to_have_value(str(points))
    move(page, "guidance", "1")
    expect(page.locator("#sound label.selected")).to_have_count(0)
    move(page, "guidance", str(guidance))
    expect(page.locator("#sound label.selected")).to_have_text("Balanced")
    move(page, "ode-points", "10")
    expect(page.locator("#sound label.selected")).to_have_text("Best")


@pytest.mark.parametrize(("language", "locale"), [("en", "en-US"), ("zh", "zh-CN"), ("ru", "ru-RU")])
def test_the_choices_are_named_in_every_language_and_fit(
    browser: Browser, quick_server: Server, artifacts: Path, language: str, locale: str
) -> None:
    for name, viewport in (("desktop", DESKTOP), ("phone", PHONE)):
        context = open_context(browser, viewport, locale=locale)
        page = open_talk(context.new_page(), quick_server.url)
        if viewport is PHONE:
            page.locator("#panel-button").click()
        page.locator("#sound").scroll_into_view_if_needed()
        labels = page.locator("#sound label")
        assert labels.all_inner_texts() == [LANGUAGES[language][f"sound_{sound}"] for sound in SOUNDS]
        expect(page.locator("#sound")).to_contain_text(LANGUAGES[language]["sound_info"])
        panel = page.locator("#panel").bounding_box()
        for label in labels.all():
            box = label.bounding_box()
            assert box["x"] >= panel["x"] and box["x"] + box["width"] <= panel["x"] + panel["width"]
            assert box["height"] >= 44
        page.screenshot(path=artifacts / f"sound_{language}_{name}.png")
        context.close()
