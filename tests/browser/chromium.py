"""Real Chromium through Playwright: how it is started, and what a page must not say on its console."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright

MISSING = "Chromium is not installed; type: apt-get install -y --no-install-recommends chromium"
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A name that is no secure origin, to see the page as served over plain http to another machine.
    "--host-resolver-rules=MAP elsewhere.test 127.0.0.1",
)
AUTOPLAY = ("--autoplay-policy=no-user-gesture-required",)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

# At `beforeunload` Gradio's client closes its event stream, throws away the texts that were growing in it and complains
# of the cut once for each event that ran. Pieces of a reply that had arrived by then find no text to be joined to, and
# a call that was on its way may open the stream again, which nobody knows any more. The document that says so is
# replaced in the same moment.
SAID_WHEN_LEAVING = (
    "AbortError",
    "Connection errored out",
    "ERR_INCOMPLETE",
    "network error",
    "Failed to fetch",
    "Unexpected error 404",
    "Unexpected client exception TypeError",
)
LEAVING = "the document is leaving"
TELL_LEAVING_JS = f"window.addEventListener('beforeunload', () => console.debug('{LEAVING}'))"


def device_flags(sound: Path | None = None, camera: Path | None = None) -> tuple[str, ...]:
    """Flags that grant microphone and camera and feed them from files (WAV, MJPEG)."""
    flags = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    if sound:
        flags.append(f"--use-file-for-fake-audio-capture={sound}")
    if camera:
        flags.append(f"--use-file-for-fake-video-capture={camera}")
    return tuple(flags)


def start_chromium(playwright: Playwright, flags: tuple[str, ...] = AUTOPLAY) -> Browser:
    path = shutil.which("chromium")
    assert path, MISSING
    return playwright.chromium.launch(executable_path=path, args=["--headless=new", *QUIET, *flags])


@dataclass
class Console:
    """Errors that pages of one test logged or threw. `allowed`: parts of messages that the test expects.

    What Gradio says in a document that is about to be replaced counts only in a document that stays.
    """

    allowed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _leaving: set[Page] = field(default_factory=set)

    def watch(self, page: Page) -> None:
        page.add_init_script(TELL_LEAVING_JS)
        page.on("console", lambda message: self._on_message(page, message))
        page.on("pageerror", lambda error: self._note(page, f"uncaught: {error}"))
        page.on("domcontentloaded", lambda _: self._leaving.discard(page))

    def _on_message(self, page: Page, message: ConsoleMessage) -> None:
        if message.text == LEAVING:
            self._leaving.add(page)
        elif message.type == "error":
            self._note(page, f"{message.text} ({message.location.get('url', '')})")

    def _note(self, page: Page, error: str) -> None:
        if page not in self._leaving or not any(part in error for part in SAID_WHEN_LEAVING):
            self.errors.append(error)

    def unexpected(self) -> list[str]:
        return [error for error in self.errors if not any(part in error for part in self.allowed)]


def open_context(browser: Browser, viewport: dict[str, int], **options: object) -> BrowserContext:
    context = browser.new_context(viewport=viewport, locale=options.pop("locale", "en-US"), **options)
    context.set_default_timeout(30_000)
    return context
