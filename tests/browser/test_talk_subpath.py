"""The page behind a proxy that serves it under a path of its own: the live socket goes the same way."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Playwright, expect

from tests.browser.chromium import AUTOPLAY, DESKTOP, Console, device_flags, open_context, start_chromium
from tests.browser.talk import TIMEOUT_MS, TalkServer, open_talk, reply_texts, sent, wait_idle

ROOT_PATH = "/omni"
SAMPLE = Path(__file__).parents[2] / "assets" / "samples" / "twelve_plus_five.wav"
MAX_HEAD_BYTES = 65536


class Proxy:
    """One address for many services: what comes under `ROOT_PATH` goes to `port` without it, all else to nobody.

    Hands bytes on in both directions, so that a WebSocket passes like anything else. `paths`: what was asked for.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.paths: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}{ROOT_PATH}/"
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if len(head) > MAX_HEAD_BYTES or not (more := line.recv(4096)):
                return line.close()
            head += more
        method, path, rest = head.split(b" ", 2)
        self.paths.append(path.decode())
        if not path.startswith(ROOT_PATH.encode() + b"/"):
            line.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return line.close()
        # One request a connection, else the path of the next would have to be found in the stream.
        rest = rest.replace(b"Connection: keep-alive", b"Connection: close", 1)
        onward = socket.create_connection(("127.0.0.1", self._target))
        onward.sendall(b" ".join((method, path.removeprefix(ROOT_PATH.encode()), rest)))
        threading.Thread(target=pass_on, args=(line, onward), daemon=True).start()
        pass_on(onward, line)


def pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # the other side is gone
        source.close()
        target.close()


@pytest.fixture(scope="module")
def proxy(serve_talk: Callable[..., TalkServer]) -> Iterator[Proxy]:
    server = serve_talk("--root-path", ROOT_PATH)
    made = Proxy(int(server.url.rpartition(":")[2]))
    yield made
    made.close()
    assert not server.complaints(), "\n".join(server.complaints())


def test_a_question_into_the_live_tab_is_answered_under_a_path_of_a_proxy(
    playwright: Playwright, console: Console, proxy: Proxy, tmp_path: Path
) -> None:
    asked, rate = soundfile.read(SAMPLE, dtype="float32")
    pause = np.zeros(2 * rate, np.float32)
    soundfile.write(tmp_path / "asked.wav", np.concatenate([pause, asked, *[pause] * 20]), rate, subtype="PCM_16")
    browser = start_chromium(playwright, (*AUTOPLAY, *device_flags(tmp_path / "asked.wav")))
    page = open_context(browser, DESKTOP).new_page()
    console.watch(page)
    # Before the page says that it has an icon, the browser asks the address itself, which is not ours.
    console.allowed.append("/favicon.ico")
    open_talk(page, proxy.url)
    page.locator("#tab-live-button").click()
    page.locator("#live .live-toggle").click()
    page.wait_for_function("omniLive.stats.turns >= 1", timeout=TIMEOUT_MS)
    page.wait_for_function("omniPlayer.stats.nonSilentSamples > 0", timeout=TIMEOUT_MS)
    expect(sent(page)).to_have_count(1)
    page.locator("#live .live-toggle").click()
    wait_idle(page)
    assert reply_texts(page)[-1].strip()
    assert any(path.startswith(f"{ROOT_PATH}/live?ticket=") for path in proxy.paths), proxy.paths
    browser.close()
