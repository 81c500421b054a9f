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
    """Errors that pages of one test logged or threw. `allowed`: parts of messages that the test expects."""

    allowed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self._on_message)
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))

    def _on_message(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def unexpected(self) -> list[str]:
        return [error for error in self.errors if not any(part in error for part in self.allowed)]


def open_context(browser: Browser, viewport: dict[str, int], **options: object) -> BrowserContext:
    context = browser.new_context(viewport=viewport, locale=options.pop("locale", "en-US"), **options)
    context.set_default_timeout(30_000)
    return context
