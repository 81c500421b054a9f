"""The real page over the real engine and a tiny random checkpoint: how it is served, talked to and looked into.

Knows the page by its element ids and the data folder by its file names; nothing of how either is made.
"""

import json
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Locator, Page, expect

from tests.browser.server import Server

# Short replies: 24 text tokens, 2 s of speech; a test that needs more says so on the page.
LIMITS = {"thinker_max_new_tokens": 24, "talker_max_new_tokens": 96}
# Tokens of a reply that will be stopped, however busy the machine is.
ENDLESS = 4_000
TIMEOUT_MS = 60_000
FOLLOW_JS = """() => {
    window.followed = [];
    const look = () => {
        const text = [...document.querySelectorAll('#chat .bot-row .prose')].at(-1)?.textContent || '';
        const last = followed.at(-1);
        if (text && (!last || last.text !== text)) followed.push({ text, heard: omniPlayer.stats.nonSilentSamples });
    };
    new MutationObserver(look).observe(
        document.querySelector('#chat'), { childList: true, subtree: true, characterData: true });
}"""


# Until nothing has changed in an element for 15 frames.
QUIET_JS = """async (element) => {
    let frames = 0;
    const observer = new MutationObserver(() => { frames = 0; });
    observer.observe(element, { childList: true, subtree: true, attributes: true, characterData: true });
    while (frames++ < 15) await new Promise(requestAnimationFrame);
    observer.disconnect();
}"""


@dataclass(frozen=True)
class TalkServer:
    """`num_lines`: what the server had said when it began to listen."""

    server: Server
    data_dir: Path
    num_lines: int

    @property
    def url(self) -> str:
        return self.server.url

    def complaints(self) -> list[str]:
        """What the server said since it listens."""
        return [line for line in self.server.lines[self.num_lines :] if not line.startswith("* ")]

    def sessions(self) -> set[Path]:
        folder = self.data_dir / "sessions"
        return set(folder.iterdir()) if folder.exists() else set()


@pytest.fixture(scope="session")
def talk_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with short replies."""
    folder = tmp_path_factory.mktemp("talk") / "tiny"
    shutil.copytree(tiny_checkpoint, folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | LIMITS))
    return folder


@pytest.fixture(scope="session")
def serve_talk(
    serve: Callable[..., Server], talk_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., TalkServer]:
    """`serve_talk(*flags)`: the demo as people start it, on a free port and with a data folder of its own."""

    def start(*flags: str) -> TalkServer:
        data_dir = tmp_path_factory.mktemp("data")

        def command(port: int) -> list[str]:
            return [
                sys.executable, "launch_demo.py", "--checkpoint", str(talk_checkpoint), "--device", "cpu",
                "--server-port", str(port), "--data-dir", str(data_dir), *flags,
            ]  # fmt: skip

        server = serve(command, ready="Running on local URL")
        return TalkServer(server, data_dir, len(server.lines))

    return start


@pytest.fixture(scope="session")
def talk_server(serve_talk: Callable[..., TalkServer]) -> Iterator[TalkServer]:
    """One demo for all tests that need no flags of their own. Whatever they do, it has nothing to complain about."""
    started = serve_talk()
    yield started
    assert not started.complaints(), "\n".join(started.complaints())


@pytest.fixture(scope="session")
def tiny_micro_server(
    serve_talk: Callable[..., TalkServer], talk_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> TalkServer:
    """The tiny checkpoint, which says of itself what a trained micro one says."""
    folder = tmp_path_factory.mktemp("micro") / "micro"
    shutil.copytree(talk_checkpoint, folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"babbles": False, "is_micro": True}))
    return serve_talk("--checkpoint", str(folder))


@pytest.fixture
def talk_page(desktop_page: Page, talk_server: TalkServer) -> Page:
    """A fresh conversation whose rendered sound is recorded."""
    return open_talk(desktop_page, talk_server.url)


# -- coming, and what the page shows -----------------------------------------------------------------------------------


def open_talk(page: Page, url: str) -> Page:
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(url)
    return wait_ready(page)


def open_micro(page: Page, url: str) -> Page:
    """The same, where the page offers what one can ask a micro checkpoint."""
    open_talk(page, url)
    expect(page.locator("#welcome .asking")).to_be_visible(timeout=TIMEOUT_MS)
    return page


def wait_ready(page: Page) -> Page:
    """The model is loaded, the page has its session, and what it renders is recorded."""
    expect(page.locator("#voice input")).not_to_have_count(0, timeout=TIMEOUT_MS)
    page.wait_for_function("window.omniPlayer && sessionStorage.getItem('omni-secret')")
    page.evaluate("omniPlayer.record(true)")
    return page


def be_still(page: Page) -> None:
    """From now on the page shows at once how it will look: a colour or an outline on its way says nothing of either."""
    page.add_style_tag(content="*, ::before, ::after { transition: none !important; }")


def message_box(page: Page) -> Locator:
    return page.locator("#message textarea")


def sent(page: Page) -> Locator:
    """What the user sent, one element per turn."""
    return page.locator("#chat .user-row .sent")


def finished(page: Page) -> Locator:
    """What stands under each reply that is over: its figures."""
    return page.locator("#chat .reply-timing")


def reply_texts(page: Page) -> list[str]:
    return page.locator("#chat .bot-row .prose").all_inner_texts()


def stats(page: Page) -> dict:
    return page.evaluate("omniPlayer.stats")


def stored(server: TalkServer, media: Locator) -> Path:
    """The file of the data folder that a medium in the conversation shows."""
    path = Path(unquote(media.get_attribute("src").partition("file=")[2].partition("?")[0]))
    assert path.is_relative_to(server.data_dir / "sessions") and path.is_file(), path
    return path


def session_folder(server: TalkServer, page: Page) -> Path:
    """Where the conversation lies; its newest reply must have been spoken."""
    return stored(server, page.locator("#chat .reply-speech audio").last).parent


def timings(folder: Path, turn: int) -> dict:
    return json.loads((folder / f"turn_{turn}.json").read_text())


# -- what a person does ------------------------------------------------------------------------------------------------


def send_text(page: Page, text: str) -> None:
    message_box(page).fill(text)
    message_box(page).press("Enter")


def attach(page: Page, *paths: Path, num_attached: int | None = None) -> None:
    """Uploads files and waits until the page has looked at them. `num_attached`: with what was attached before."""
    page.locator("#tab-upload-button").click()
    # A page that is still being built may build it once more, without what it was given.
    page.locator("#upload").evaluate(QUIET_JS)
    page.locator("#upload input[type=file]").set_input_files(list(paths))
    expect(page.locator(".tray li")).to_have_count(num_attached or len(paths), timeout=TIMEOUT_MS)


def stop_reply(page: Page) -> None:
    page.locator("#stop").click()


def set_limits(page: Page, text_tokens: int | None = None, codec_tokens: int | None = None) -> None:
    """How long a reply may be, in the advanced settings."""
    for stage, limit in (("thinker", text_tokens), ("talker", codec_tokens)):
        if limit is not None:
            _open_advanced(page, stage)
            _type_number(page.locator(f"#{stage}-max-new-tokens input[type=number]"), limit)


def be_greedy(page: Page, seed: int) -> None:
    """Nothing is left to chance but the vocoder's noise, and that is seeded."""
    for stage in ("thinker", "talker"):
        _open_advanced(page, stage)
        page.locator(f"#{stage}-do-sample input").uncheck()
    _type_number(page.locator("#seed input"), seed)


def _open_advanced(page: Page, stage: str) -> None:
    """Opens a stage's settings. They are built when they are opened and have the checkpoint's values a moment later."""
    if not page.locator("#seed").is_visible():
        page.locator("#advanced > button").click()
    box = page.locator(f"#{stage}-max-new-tokens input[type=number]")
    if not box.is_visible():
        page.locator("#advanced .stage > button", has_text=stage.title()).click()
        expect(box).to_have_value(str(LIMITS[f"{stage}_max_new_tokens"]))
        # Gradio sets the values of what it has just built once more, some frames later.
        page.locator("#advanced").evaluate(QUIET_JS)


def _type_number(box: Locator, number: int) -> None:
    box.fill(str(number))
    box.blur()
    expect(box).to_have_value(str(number))


# -- waiting -----------------------------------------------------------------------------------------------------------


def wait_sound(page: Page) -> None:
    """Until the audio graph has rendered speech of the newest reply, or of the one before if that is not begun."""
    page.wait_for_function("omniPlayer.stats.nonSilentSamples > 0")


def wait_reply(page: Page, num_turns: int) -> None:
    """Until so many replies are over, speech apart."""
    expect(finished(page)).to_have_count(num_turns, timeout=TIMEOUT_MS)
    wait_idle(page)


def wait_idle(page: Page) -> None:
    expect(page.locator("#status .busy")).to_have_count(0, timeout=TIMEOUT_MS)


def wait_played(page: Page, how: str = "ended") -> dict:
    """Until the speech of the newest reply was rendered to its end; its figures."""
    page.wait_for_function("how => omniPlayer.stats.how === how", arg=how)
    return stats(page)


def wait_rendered(page: Page, num_samples: int) -> None:
    """Until so many more samples, of whatever kind, have been rendered."""
    page.evaluate(
        """async (wanted) => {
            const start = (await omniPlayer.recorded()).length;
            while ((await omniPlayer.recorded()).length < start + wanted) await new Promise(requestAnimationFrame);
        }""",
        num_samples,
    )


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float = TIMEOUT_MS / 1000) -> None:
    """For what no browser event tells, as files on the disk."""
    end, never = time.monotonic() + timeout_s, threading.Event()
    while not holds():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        never.wait(0.05)


# -- what was heard and written ----------------------------------------------------------------------------------------


def follow_text(page: Page) -> None:
    """From now on the page notes every text of the newest reply, with the samples that were heard by then."""
    page.evaluate(FOLLOW_JS)


def followed(page: Page) -> list[dict]:
    return page.evaluate("followed")


def reply_wav(page: Page, tmp_path: Path) -> tuple[np.ndarray, int]:
    """The speech of the newest reply as the page offers it for download, 16-bit, with its sample rate."""
    with page.expect_download() as started:
        page.locator("#chat .reply-speech a").last.click()
    assert re.fullmatch(r".+\.wav", started.value.suggested_filename), started.value.suggested_filename
    path = tmp_path / started.value.suggested_filename
    started.value.save_as(path)
    return soundfile.read(path, dtype="int16")


def assert_spoken(page: Page, num_turns: int) -> None:
    """The newest turn is answered by text, and by speech that the audio graph rendered."""
    wait_reply(page, num_turns)
    wait_sound(page)
    texts = reply_texts(page)
    assert len(texts) == num_turns and all(text.strip() for text in texts), texts
    expect(page.locator("#chat .reply-speech")).to_have_count(num_turns)
    stop_reply_sound(page)


def stop_reply_sound(page: Page) -> None:
    """Silence, so that nobody waits for the rest of a reply that is written already."""
    page.evaluate("omniPlayer.stop()")
