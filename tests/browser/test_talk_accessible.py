"""What axe-core says of the page, wide and on a phone, in light and in dark, tab after tab; in Chromium.

Whatever it finds counts, how grave it may be: the page has nothing that must be put up with but what is Gradio's own.
"""

from itertools import zip_longest
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.browser.chromium import PHONE
from tests.browser.talk import (
    QUIET_JS,
    TalkServer,
    attach,
    be_still,
    open_micro,
    send_text,
    stop_reply_sound,
    wait_reply,
    wait_sound,
)
from tests.make_media import make_image

# What only Gradio could mend, in its own markup: rule and element.
OF_GRADIO = {
    # Where files are attached, its button for more of them is drawn around the input that takes them.
    ("nested-interactive", "#upload .icon-button-wrapper button:has(input[type=file])"),
}


def test_axe_finds_nothing_wherever_one_looks(talk_page: Page, tmp_path: Path) -> None:
    page, found = talk_page, []
    be_still(page)
    page.evaluate(Axe().axe_script)
    found += findings(page, "nothing is said yet")
    send_text(page, "Hello")
    wait_sound(page)
    wait_reply(page, 1)
    stop_reply_sound(page)
    page.locator("#chat .reply-timing summary").click()
    attach(page, make_image(tmp_path / "photo.png"))
    found += findings(page, "a picture is attached")
    for tabs in zip_longest(visible_tabs(page, "#panel-tabs"), visible_tabs(page, "#ways-in")):
        for tab in filter(None, tabs):
            tab.click()
            expect(tab).to_have_attribute("aria-selected", "true")
        page.locator("#body").evaluate(QUIET_JS)
        found += findings(page, " and ".join(tab.inner_text() for tab in tabs if tab))
    page.set_viewport_size(PHONE)
    found += findings(page, "the panel on a phone")
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).not_to_be_visible()
    found += findings(page, "a phone")
    assert not found, "\n".join(found)


def test_axe_finds_nothing_where_a_micro_checkpoint_offers_what_to_ask(
    desktop_page: Page, tiny_micro_server: TalkServer
) -> None:
    page, found = open_micro(desktop_page, tiny_micro_server.url), []
    be_still(page)
    page.evaluate(Axe().axe_script)
    found += findings(page, "nothing is said yet")
    page.get_by_role("tab", name="Examples").click()
    expect(page.locator("#asking .asking")).to_be_visible()
    found += findings(page, "the same twice")
    page.locator("#asking .samples button").first.click()
    expect(page.locator(".tray li")).not_to_have_count(0)
    found += findings(page, "an example is attached")
    page.set_viewport_size(PHONE)
    found += findings(page, "the panel on a phone")
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).not_to_be_visible()
    found += findings(page, "a phone")
    assert not found, "\n".join(found)


def visible_tabs(page: Page, place: str) -> list[Locator]:
    return [tab for tab in page.locator(f"{place} [role=tab]").all() if tab.is_visible()]


def findings(page: Page, where: str) -> list[str]:
    """What is found in light and in dark; afterwards it is light."""
    found = []
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("dark => document.body.classList.contains('dark') === dark", arg=scheme == "dark")
        for rule in page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]:
            found += [
                f"{where}, {scheme}: {rule['impact']} {rule['id']} {node['target']} {node['html'][:200]}"
                f" {node['failureSummary']}"
                for node in rule["nodes"]
                if not is_of_gradio(page, rule["id"], node["target"][0])
            ]
    return found


def is_of_gradio(page: Page, rule: str, target: str) -> bool:
    element = page.locator(target)
    return any(
        rule == its_rule and element.evaluate("(element, selector) => element.matches(selector)", selector)
        for its_rule, selector in OF_GRADIO
    )
