"""The live socket over a real server: who gets in, what is refused, what a broken connection leaves behind."""

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from app.live import server as live
from app.live.detector import SpeechDetector
from app.live.protocol import MAX_PICTURE_BYTES, PICTURE, SOUND
from app.live.server import LiveServer, same_origin
from app.service import Service
from tests.browser.server import free_port
from tests.fake_engine import FakeEngine, Script, service_over
from tests.test_live_talk import is_loud, silence, voice

WORDS = tuple(f"word{index}" for index in range(6))


class Live:
    """A server on a free port, over an engine without a model."""

    def __init__(self, folder: Path, **options) -> None:
        (folder / "uploads").mkdir()
        self.engine = FakeEngine(Script(words=WORDS, steps_per_word=20))
        self.service: Service = service_over(self.engine, folder / "data", folder / "uploads")
        self.door = LiveServer(self.service, **options)
        self.port = free_port()
        config = uvicorn.Config(Starlette(routes=[self.door.route]), port=self.port, log_level="error")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        end = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < end
            threading.Event().wait(0.01)

    def ticket(self, session: str | None = None) -> tuple[str, str]:
        session = session or self.service.open(None, "").session_id
        return session, self.door.mint(session, self.service.default_settings)

    def connect(self, ticket: str, origin: str | None = None, **options) -> ClientConnection:
        url = f"ws://127.0.0.1:{self.port}/live?ticket={ticket}"
        return connect(url, origin=origin, open_timeout=20, compression=None, max_size=None, legacy=True, **options)

    def visit(self, session: str | None = None) -> tuple[str, ClientConnection]:
        session, ticket = self.ticket(session)
        socket = self.connect(ticket)
        assert wait(socket, "ready")
        return session, socket

    def close(self) -> None:
        self.door.close()
        self._server.should_exit = True
        self._thread.join(20)
        self.service.close()


@pytest.fixture
def start(tmp_path, monkeypatch) -> Iterator:
    monkeypatch.setattr("app.live.talk.SpeechDetector", lambda timing: SpeechDetector(timing, is_loud))
    built = []

    def make(**options) -> Live:
        folder = tmp_path / str(len(built))
        folder.mkdir()
        built.append(Live(folder, **options))
        return built[-1]

    yield make
    for one in built:
        one.close()


def wait(socket: ClientConnection, kind: str, **fields) -> dict:
    while True:
        message = socket.recv(timeout=20)
        if isinstance(message, str):
            event = json.loads(message)
            if event["type"] == kind and all(event.get(name) == value for name, value in fields.items()):
                return event


def closed(socket: ClientConnection) -> tuple[int, str]:
    """Why the other side ended the connection."""
    with pytest.raises(ConnectionClosed) as ended:
        while True:
            socket.recv(timeout=20)
    return ended.value.rcvd.code, ended.value.rcvd.reason


def binary(kind: int, payload: bytes) -> bytes:
    return struct.pack("<BxxxI", kind, 0) + payload


def say(socket: ClientConnection, samples: np.ndarray) -> None:
    for start in range(0, len(samples), 640):
        socket.send(binary(SOUND, (samples[start : start + 640] * 32767).astype("<i2").tobytes()))


def ask(socket: ClientConnection, seed: int) -> int:
    """Says something; the turn that answers it."""
    say(socket, np.concatenate([silence(0.4), voice(seed, 0.8), silence(0.8)]))
    return wait(socket, "turn")["turn"]


def test_a_question_goes_up_and_text_and_speech_come_down_in_order(start):
    server = start()
    session, socket = server.visit()
    turn = ask(socket, 1)
    texts, speech, rates = [], [], set()
    while True:
        message = socket.recv(timeout=20)
        if isinstance(message, bytes):
            kind, number, first, rate = struct.unpack_from("<BxxxIII", message)
            assert (kind, number, first) == (3, turn, len(np.concatenate([*speech, []])))
            speech.append(np.frombuffer(message[16:], "<i2"))
            rates.add(rate)
            continue
        event = json.loads(message)
        if event["type"] == "text":
            texts.append(event["text"])
        if event["type"] == "end":
            break
    (record,) = server.service.transcript(session)
    assert "".join(texts) == record.reply_text == " ".join(WORDS) and rates == {24_000}
    assert len(np.concatenate(speech)) == 7 * 20 * 480
    socket.close()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1", "file://"])
def test_a_page_from_elsewhere_gets_in_with_no_ticket(start, origin):
    server = start()
    with pytest.raises(InvalidStatus) as refused:
        server.connect(server.ticket()[1], origin=origin)
    assert refused.value.response.status_code == 403
    session, ticket = server.ticket()
    server.connect(ticket, origin=f"http://127.0.0.1:{server.port}").close()


def test_a_ticket_is_for_one_connection_and_for_a_while(start, monkeypatch):
    server = start()
    _, ticket = server.ticket()
    server.connect(ticket).close()
    monkeypatch.setattr(live, "TICKET_S", 0.0)
    for wrong in (ticket, "", "x" * 5000, server.ticket()[1]):
        with pytest.raises(InvalidStatus) as refused:
            server.connect(wrong)
        assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    "message, words",
    [
        (b"", "header"),
        (b"\x01\x00", "header"),
        (binary(SOUND, b"abc"), "16-bit"),
        (binary(SOUND, b"\0" * 9000), "smaller pieces"),
        (binary(PICTURE, b"GIF89a"), "JPEG"),
        (binary(77, b"xy"), "begin with"),
        ("", "JSON"),
        ("[" * 5000, "JSON"),
        ("[1]", "type"),
        ('{"type": "fly"}', "type is one of"),
        ('{"type": "played", "turn": 1}', "needs samples"),
        ('{"type": "played", "turn": "1", "samples": 2}', "turn of played"),
        ('{"type": "played", "turn": true, "samples": 2}', "turn of played"),
        ('{"type": "stop", "turn": 1, "samples": -1}', "samples of stop"),
        ('{"type": "options", "silence_ms": 1e99}', "silence_ms"),
        ('{"type": "talk", "more": 1}', "knows no fields"),
        ("x" * 9000, "at most"),
    ],
)
def test_what_makes_no_sense_gets_a_sentence_and_the_talk_goes_on(start, message, words):
    server = start()
    session, socket = server.visit()
    socket.send(message)
    assert words in wait(socket, "error")["message"]
    ask(socket, 2)
    wait(socket, "end", how="done")
    socket.close()


def test_abuse_ends_its_own_connection_and_no_other(start):
    server = start(silent_s=2.0)
    session, other = server.visit()
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(0.2):
            other.send('{"type": "ping", "at_ms": 1}')

    beat = threading.Thread(target=go_on)
    beat.start()
    for act, code in (
        (lambda socket: socket.send(b"\x01" * 10_000_000), 1009),
        (lambda socket: socket.send("x" * (MAX_PICTURE_BYTES + 100)), 1009),
        (lambda socket: [socket.send('{"type": "ping"}') for _ in range(1000)], 4008),
        (lambda socket: say(socket, silence(60.0)), 4008),
        (lambda socket: [socket.send("nonsense") for _ in range(30)], 4400),
        (lambda socket: None, 4010),
    ):
        _, socket = server.visit()
        try:
            act(socket)
        except ConnectionClosed:
            pass
        assert closed(socket)[0] == code
    stop.set()
    beat.join()
    ask(other, 3)
    wait(other, "end", how="done")
    other.close()


def test_a_browser_that_does_not_read_is_dropped(start, monkeypatch):
    """Nothing is taken off its line: what was sent waits, and after a while the line is cut."""
    monkeypatch.setattr(live, "SEND_S", 0.5)
    server = start()
    session, ticket = server.ticket()
    line = socket.create_connection(("127.0.0.1", server.port))
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    request = (
        f"GET /live?ticket={ticket} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    line.sendall(request.encode())
    end = time.monotonic() + 20
    while session not in server.door._rooms or server.door._rooms[session].left_s() > 0:
        assert time.monotonic() < end
        threading.Event().wait(0.01)
    room = server.door._rooms[session]
    for _ in range(15):
        room.send(b"x" * 1_000_000)
    while room.left_s() == 0:
        assert time.monotonic() < end, "the line is still held"
        threading.Event().wait(0.01)
    line.close()


def test_a_lost_connection_comes_back_to_the_same_talk_and_misses_nothing(start):
    server = start()
    session, socket = server.visit()
    server.engine.script = Script(words=WORDS, steps_per_word=20, hold_at_step=60)
    turn = ask(socket, 4)
    assert server.engine.reached.wait(20)
    socket.close()
    end = time.monotonic() + 20
    while server.door._rooms[session].left_s() == 0:
        assert time.monotonic() < end
        threading.Event().wait(0.01)
    server.engine.release.set()
    _, again = server.visit(session)
    assert wait(again, "end", turn=turn)["how"] == "done"
    assert server.door.num_rooms == 1
    again.close()


def test_a_second_page_takes_the_talk_over(start):
    server = start()
    session, first = server.visit()
    _, second = server.visit(session)
    assert closed(first)[0] == live.REPLACED[0]
    ask(second, 5)
    wait(second, "end", how="done")
    second.close()


@pytest.mark.parametrize("stage", ["at once", "in a word", "in the answer", "behind it"])
def test_a_connection_that_ends_at_any_stage_leaves_nothing_behind(start, stage):
    server = start(kept_s=0.0)
    session, socket = server.visit()
    if stage == "in a word":
        say(socket, np.concatenate([silence(0.4), voice(6, 1.0)]))
        wait(socket, "state", state="hearing")
    elif stage != "at once":
        server.engine.script = Script(words=WORDS, hold_at_step=10 if stage == "in the answer" else None)
        ask(socket, 6)
        if stage == "in the answer":
            assert server.engine.reached.wait(20)
        else:
            wait(socket, "end")
    socket.close()
    end = time.monotonic() + 20
    while server.door._rooms[session].left_s() == 0:
        assert time.monotonic() < end
        threading.Event().wait(0.01)
    server.ticket()
    assert server.door.num_rooms == 0
    server.service.interrupt(session)
    assert server.service.wait_idle(session)
    assert not [thread for thread in threading.enumerate() if thread.name == "live"]


def test_only_a_page_of_this_very_server_has_its_origin():
    assert same_origin(None, "a.example") and same_origin("https://a.example", "a.example")
    assert same_origin("http://A.example:80", "a.example:80")
    for origin in ("https://b.example", "https://a.example.b", "null", "", "ws://a.example", "https://a.example:1"):
        assert not same_origin(origin, "a.example")
    assert not same_origin("https://a.example", None)
