"""Fixtures for tests in real Chromium: one browser per session, a fresh context per page, a quiet console."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.browser.chromium import AUTOPLAY, DESKTOP, PHONE, Console, device_flags, open_context, start_chromium
from tests.browser.devices import write_camera, write_microphone
from tests.browser.server import Server, free_port, start_server
from tests.browser.talk import serve_talk, talk_checkpoint, talk_page, talk_server, tiny_micro_server  # noqa: F401

ARTIFACTS = Path(__file__).parents[1] / ".artifacts"


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    # A busy machine with two cores needs more than the default 5 s to draw a message.
    expect.set_options(timeout=30_000)
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def fake_microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_microphone(tmp_path_factory.mktemp("devices") / "microphone.wav")


@pytest.fixture(scope="session")
def fake_camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_camera(tmp_path_factory.mktemp("devices") / "camera.mjpeg")


@pytest.fixture(scope="session")
def browser(playwright: Playwright, fake_microphone: Path, fake_camera: Path) -> Iterator[Browser]:
    """Chromium that may sound without a click and whose microphone and camera are files."""
    started = start_chromium(playwright, (*AUTOPLAY, *device_flags(fake_microphone, fake_camera)))
    yield started
    started.close()


@pytest.fixture
def console() -> Iterator[Console]:
    """Collects console errors; the test fails on those that it did not put into `console.allowed`."""
    console = Console()
    yield console
    assert not console.unexpected(), console.unexpected()


@pytest.fixture
def new_page(browser: Browser, console: Console) -> Iterator[Callable[..., Page]]:
    """`new_page(viewport=DESKTOP, **context_options)`: a page in a context of its own."""
    contexts = []

    def make(viewport: dict[str, int] = DESKTOP, **options: object) -> Page:
        contexts.append(open_context(browser, viewport, **options))
        page = contexts[-1].new_page()
        console.watch(page)
        return page

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def desktop_page(new_page: Callable[..., Page]) -> Page:
    return new_page(DESKTOP)


@pytest.fixture
def phone_page(new_page: Callable[..., Page]) -> Page:
    return new_page(PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., Server]]:
    """`serve(lambda port: [...command], ready="text")`: a server that lives until the session ends."""
    servers: list[Server] = []

    def start(command_for: Callable[[int], list[str]], ready: str, **options: object) -> Server:
        port = free_port()
        servers.append(start_server(command_for(port), port, ready, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.process.terminate()
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where screenshots go; ignored by git."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    return ARTIFACTS
