"""The live socket over a real server: who gets in, what is refused, what a broken connection leaves behind."""

import gc
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from app.building import build_service
from app.config import Config
from app.engine.state import EngineState
from app.live import server as live
from app.live.detector import SpeechDetector
from app.live.protocol import MAX_PICTURE_BYTES, PICTURE, SOUND, write_speech
from app.live.server import LiveServer, same_origin
from app.service import Service
from app.types.events import AudioChunk
from tests.browser.server import free_port
from tests.fake_engine import FakeEngine, Script, service_over
from tests.test_listening import brief
from tests.test_live_talk import is_loud, silence, voice

# A busy machine is slow; whoever waits goes on as soon as it has come.
WAIT_S = 60
WORDS = tuple(f"word{index}" for index in range(6))


class Live:
    """A server on a free port, over an engine without a model or over `service`. A page that left is forgotten at
    once; `options` are the live server's."""

    def __init__(self, folder: Path, service: Service | None = None, **options) -> None:
        (folder / "uploads").mkdir()
        self.engine = None if service else FakeEngine(Script(words=WORDS, steps_per_word=20))
        self.service = service or service_over(self.engine, folder / "data", folder / "uploads", keep_s=0)
        self.settings = self.service.default_settings
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
        return session, self.door.mint(session, self.settings)

    def connect(self, ticket: str, origin: str | None = None, **options) -> ClientConnection:
        url = f"ws://127.0.0.1:{self.port}/live?ticket={ticket}"
        return connect(url, origin=origin, open_timeout=WAIT_S, compression=None, max_size=None, legacy=True, **options)

    def visit(self, session: str | None = None) -> tuple[str, ClientConnection]:
        session, ticket = self.ticket(session)
        socket = self.connect(ticket)
        assert wait(socket, "ready")
        return session, socket

    def leave(self, session: str) -> None:
        """The page that showed the session is closed."""
        self.door.leave(session)
        self.service.leave(session)

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


def until(holds: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """For what the other side of a socket does in its own time and tells nobody."""
    end, never = time.monotonic() + timeout_s, threading.Event()
    while not holds():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        never.wait(0.01)


def wait(socket: ClientConnection, kind: str, **fields) -> dict:
    while True:
        message = socket.recv(timeout=WAIT_S)
        if isinstance(message, str):
            event = json.loads(message)
            if event["type"] == kind and all(event.get(name) == value for name, value in fields.items()):
                return event


def closed(socket: ClientConnection) -> tuple[int, str]:
    """Why the other side ended the connection."""
    with pytest.raises(ConnectionClosed) as ended:
        while True:
            socket.recv(timeout=WAIT_S)
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


def test_speech_says_how_long_its_first_samples_are_to_wait():
    for hold_s, hold_ms in ((0.0, 0), (0.84, 840), (1000.0, 0xFFFF)):
        message = write_speech(AudioChunk(7, 1.5, 240, np.zeros(3, np.float32), 24_000, hold_s))
        assert struct.unpack_from("<BBHIII", message) == (3, 0, hold_ms, 7, 240, 24_000)
        assert len(message) == 16 + 6


def test_a_question_goes_up_and_text_and_speech_come_down_in_order(start):
    server = start()
    session, socket = server.visit()
    turn = ask(socket, 1)
    texts, speech, rates = [], [], set()
    while True:
        message = socket.recv(timeout=WAIT_S)
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


# What somebody does, and the code with which the connection is ended; the last one says nothing.
ABUSES = (
    (lambda socket: socket.send(b"\x01" * 10_000_000), 1009),
    (lambda socket: socket.send("x" * (MAX_PICTURE_BYTES + 100)), 1009),
    (lambda socket: [socket.send('{"type": "ping"}') for _ in range(1000)], 4008),
    (lambda socket: say(socket, silence(60.0)), 4008),
    (lambda socket: [socket.send(binary(PICTURE, b"\xff\xd8\xff" + bytes(99))) for _ in range(1000)], 4008),
    (lambda socket: [socket.send("nonsense") for _ in range(30)], 4400),
    (lambda socket: None, 4010),
)


@contextmanager
def there(socket: ClientConnection) -> Iterator[None]:
    """Somebody who says nothing for a while, and shows that the line is not dead."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(0.2):
            socket.send('{"type": "ping", "at_ms": 1}')

    beat = threading.Thread(target=go_on)
    beat.start()
    yield
    stop.set()
    beat.join()


def test_abuse_ends_its_own_connection_and_no_other(start):
    server = start(silent_s=2.0)
    _, other = server.visit()
    with there(other):
        for act, code in ABUSES:
            _, socket = server.visit()
            with suppress(ConnectionClosed):
                act(socket)
            assert closed(socket)[0] == code
        ask(other, 3)
        wait(other, "end", how="done")
    other.close()


def handshake(server: Live, ticket: str) -> bytes:
    return (
        f"GET /live?ticket={ticket} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


def test_half_a_header_and_then_nothing_is_waited_for_no_longer_than_silence(start):
    """Half of the handshake, and half of a frame's header behind a whole one."""
    server = start(silent_s=2.0)
    _, other = server.visit()
    lines = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
    lines[0].sendall(handshake(server, server.ticket()[1])[:60])
    session, ticket = server.ticket()
    with there(other):
        lines[1].sendall(handshake(server, ticket) + b"\x82\xfe\x10")
        rooms = server.door._rooms
        until(lambda: session in rooms and rooms[session].left_s() == 0, "the line is taken")
        until(lambda: rooms[session].left_s() > 0, "the line is dropped")
        ask(other, 3)
        wait(other, "end", how="done")
    for line in (*lines, other):
        line.close()


def test_a_browser_that_does_not_read_is_dropped(start, monkeypatch):
    """Nothing is taken off its line: what was sent waits, and after a while the line is cut."""
    monkeypatch.setattr(live, "SEND_S", 0.5)
    server = start()
    session, ticket = server.ticket()
    line = socket.create_connection(("127.0.0.1", server.port))
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.sendall(handshake(server, ticket))
    rooms = server.door._rooms
    until(lambda: session in rooms and rooms[session].left_s() == 0, "the line is taken")
    room = rooms[session]
    for _ in range(15):
        room.send(b"x" * 1_000_000)
    until(lambda: room.left_s() > 0, "the line is dropped")
    line.close()


def test_a_lost_connection_comes_back_to_the_same_talk_and_misses_nothing(start):
    server = start()
    session, socket = server.visit()
    server.engine.script = Script(words=WORDS, steps_per_word=20, hold_at_step=60)
    turn = ask(socket, 4)
    assert server.engine.reached.wait(20)
    socket.close()
    until(lambda: server.door._rooms[session].left_s() > 0, "the loss is noticed")
    server.engine.release.set()
    # What was said meanwhile comes before "ready".
    again = server.connect(server.ticket(session)[1])
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


# Where a turn stands: what was said, where the engine is held, and what shows that it has come so far.
STAGES = {
    "before speech": (silence(0.4), None, ("pong", "")),
    "in speech": (np.concatenate([silence(0.4), voice(6, 1.0)]), None, ("state", "hearing")),
    "in an answer on trial": (np.concatenate([silence(0.4), voice(6, 1.0), silence(0.4)]), 10, None),
    "while it thinks": (np.concatenate([silence(0.4), voice(6, 1.0), silence(0.8)]), 0, ("state", "thinking")),
    "while speech comes": (np.concatenate([silence(0.4), voice(6, 1.0), silence(0.8)]), 60, ("speech", "")),
    "behind the end": (np.concatenate([silence(0.4), voice(6, 1.0), silence(0.8)]), None, ("end", "")),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_connection_that_ends_at_any_stage_leaves_nothing_behind(start, stage):
    said, hold_at_step, sign = STAGES[stage]
    server = start(kept_s=1.0)
    server.engine.script = Script(words=WORDS, steps_per_word=20, hold_at_step=hold_at_step)
    session, socket = server.visit()
    say(socket, said)
    socket.send('{"type": "ping"}')
    match sign:
        case ("state", state):
            wait(socket, "state", state=state)
        case ("speech", _):
            wait_speech(socket)
        case (kind, _):
            wait(socket, kind)
    if hold_at_step is not None:
        assert server.engine.reached.wait(20)
    socket.close()
    until(lambda: server.door.num_rooms == 0, "the room is freed, though nobody came after")
    server.service.leave(session)
    assert_nothing_is_left(server)


def wait_speech(socket: ClientConnection) -> None:
    while not isinstance(socket.recv(timeout=WAIT_S), bytes):
        pass


def assert_nothing_is_left(server: Live) -> None:
    """Everybody has left and the time for which they were kept is over."""
    until(lambda: server.service._sessions.num_sessions == 0, "all sessions are freed")
    states = server.engine.states if server.engine else []
    until(lambda: all(state.is_closed for state in states), "all states are closed")
    assert sum(state.num_bytes for state in states) == 0
    until(lambda: server.door.num_rooms == 0, "all rooms are freed")
    until(lambda: not [one for one in threading.enumerate() if one.name.startswith("live")], "the talks' threads end")


def test_memory_comes_back_after_many_who_misbehave(start):
    """Each of sixty sends 10 MB and goes, in the middle of a word; a server that kept a tenth of it would be seen."""
    server = start()

    def misbehave(number: int) -> None:
        for _ in range(number):
            session, socket = server.visit()
            say(socket, np.concatenate([silence(0.4), voice(6, 1.0)]))
            wait(socket, "state", state="hearing")
            with suppress(ConnectionClosed):
                socket.send(b"\x01" * 10_000_000)
            assert closed(socket)[0] == 1009
            server.leave(session)
        assert_nothing_is_left(server)
        gc.collect()

    misbehave(20)
    before = resident_bytes()
    misbehave(40)
    assert resident_bytes() - before < 40e6, f"{(resident_bytes() - before) / 1e6:.0f} MB more than before"


def model_service(checkpoint: Path, folder: Path) -> Service:
    """Over a checkpoint, loaded; a page that left is forgotten at once."""
    service = build_service(Config(checkpoint=str(checkpoint), device="cpu", data_dir=folder / "data", keep_s=0))
    assert service.ready.wait(120) and service.failure is None, service.failure
    return service


def test_what_somebody_is_told_while_others_misbehave_is_what_they_are_told_alone(start, tiny_checkpoint, tmp_path):
    gc.collect()
    before = engine_bytes()
    server = start(service=model_service(tiny_checkpoint, tmp_path / "model"))
    server.settings = brief(server.settings)

    def answer() -> str:
        session, socket = server.visit()
        ask(socket, 1)
        wait(socket, "end", how="done")
        (record,) = server.service.transcript(session)
        socket.close()
        server.leave(session)
        return record.reply_text

    stop = threading.Event()

    def misbehave() -> None:
        """In the middle of what is said, of an answer on trial and of an answer; all that can be done to the door."""
        while not stop.is_set():
            for act in (*(act for act, _ in ABUSES[:-1]), lambda socket: None):
                session, socket = server.visit()
                with suppress(ConnectionClosed):
                    say(socket, np.concatenate([silence(0.4), voice(6, 2.4), silence(0.4)]))
                    act(socket)
                socket.close()
                server.leave(session)

    alone = answer()
    others = [threading.Thread(target=misbehave) for _ in range(2)]
    for other in others:
        other.start()
    answers = [answer() for _ in range(4)]
    stop.set()
    for other in others:
        other.join()
    assert alone and answers == [alone] * 4
    assert_nothing_is_left(server)
    gc.collect()
    assert engine_bytes() == before


def engine_bytes() -> int:
    """Of all conversations' caches in this process."""
    return sum(one.num_bytes for one in gc.get_objects() if type(one) is EngineState)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_only_a_page_of_this_very_server_has_its_origin():
    assert same_origin(None, "a.example") and same_origin("https://a.example", "a.example")
    assert same_origin("http://A.example:80", "a.example:80")
    for origin in ("https://b.example", "https://a.example.b", "null", "", "ws://a.example", "https://a.example:1"):
        assert not same_origin(origin, "a.example")
    assert not same_origin("https://a.example", None)
