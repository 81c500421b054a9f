"""Who may come in to the live socket: tickets, origins, rates; and which rooms there are. Knows no Gradio."""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from app.errors import BadInput
from app.live.protocol import (
    MAX_MESSAGE_BYTES,
    SAMPLE_RATE,
    Command,
    Picture,
    Sound,
    parse_binary,
    parse_text,
    write_json,
)
from app.live.room import Room
from app.live.talk import Talk, TalkOptions
from app.session.stream import TurnStream
from app.types.turn import TurnSettings

PATH = "/live"
TICKET_S = 30.0
KEPT_S = 60.0
SWEEP_LATE_S = 0.05
# Without a message for so long a browser is taken for dead; it sends sound all the time, or a ping.
SILENT_S = 30.0
# Sound may come so much faster than it is spoken, after so much of a lead; messages and their lead likewise.
SOUND_RATE, SOUND_LEAD_S = 1.5, 4.0
MESSAGES_PER_S, MESSAGE_LEAD = 80.0, 200.0
MAX_PICTURES_PER_S, PICTURE_LEAD = 8.0, 16.0
MAX_ERRORS = 20
# A message that is not taken off the line for so long is never read.
SEND_S = 10.0
MAX_BACKLOG = 2000

# Why a socket is closed, as its code and reason.
TOO_LARGE = (1009, "A message is too large.")
REPLACED = (4001, "Another page took this conversation over.")
TOO_FAST = (4008, "Too much came at once: send sound as it is spoken.")
TOO_SLOW = (4009, "What was sent was not read.")
SILENT = (4010, "Nothing came for a while.")
BAD = (4400, "Too many messages made no sense.")


@dataclass
class _Seat:
    """What the holder of a ticket, or of a room, talks with."""

    session_id: str
    settings: TurnSettings
    system_prompt: str | None
    options: TalkOptions


class Bucket:
    """Lets through `rate` a second, and `lead` at once."""

    def __init__(self, rate: float, lead: float, clock: Callable[[], float]) -> None:
        self._rate, self._lead, self._clock = rate, lead, clock
        self._level, self._at = lead, clock()

    def take(self, amount: float) -> bool:
        now = self._clock()
        self._level = min(self._lead, self._level + (now - self._at) * self._rate)
        self._at = now
        self._level -= amount
        return self._level >= 0


class LiveServer:
    """Owns all rooms. `route` is the socket; all else may be called from any thread."""

    def __init__(
        self,
        service: Any,
        kept_s: float = KEPT_S,
        silent_s: float = SILENT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._kept_s = kept_s
        self._silent_s = silent_s
        self._clock = clock
        self._lock = threading.Lock()
        self._tickets: dict[str, tuple[float, _Seat]] = {}
        self._rooms: dict[str, Room] = {}
        self._seats: dict[str, _Seat] = {}
        self.route = WebSocketRoute(PATH, self._serve)

    # -- who may come in ---------------------------------------------------------------------------------------------

    def mint(
        self,
        session_id: str,
        settings: TurnSettings,
        system_prompt: str | None = None,
        options: TalkOptions | None = None,
    ) -> str:
        """A ticket for one connection to this session within `TICKET_S`. Whoever calls has looked at who asks."""
        ticket = secrets.token_urlsafe(32)
        seat = _Seat(session_id, settings, system_prompt, options or TalkOptions())
        with self._lock:
            now = self._clock()
            self._tickets = {key: entry for key, entry in self._tickets.items() if now - entry[0] < TICKET_S}
            self._tickets[ticket] = (now, seat)
        self._sweep()
        return ticket

    def update(self, session_id: str, settings: TurnSettings, system_prompt: str | None = None) -> None:
        """The settings of the next live turns of a session."""
        with self._lock:
            seat = self._seats.get(session_id)
            if seat is not None:
                seat.settings, seat.system_prompt = settings, system_prompt

    def take_stream(self, session_id: str, turn: int) -> TurnStream | None:
        """See `Talk.take_stream`."""
        with self._lock:
            room = self._rooms.get(session_id)
        return None if room is None else room.talk.take_stream(turn)

    def leave(self, session_id: str) -> None:
        """The page is gone for good."""
        with self._lock:
            room = self._rooms.pop(session_id, None)
            self._seats.pop(session_id, None)
        if room is not None:
            room.talk.close()

    def close(self) -> None:
        for session_id in list(self._rooms):
            self.leave(session_id)

    @property
    def num_rooms(self) -> int:
        with self._lock:
            return len(self._rooms)

    def _sweep(self) -> None:
        with self._lock:
            left = [session_id for session_id, room in self._rooms.items() if room.left_s() > self._kept_s]
            rooms = [self._rooms.pop(session_id) for session_id in left]
            for session_id in left:
                self._seats.pop(session_id, None)
        for room in rooms:
            room.talk.close()

    def _admit(self, ticket: str) -> Room | None:
        with self._lock:
            entry = self._tickets.pop(ticket, None)
            if entry is None or self._clock() - entry[0] >= TICKET_S:
                return None
            seat = entry[1]
            known = self._seats.get(seat.session_id)
            if known is not None and seat.session_id in self._rooms:
                known.settings, known.system_prompt = seat.settings, seat.system_prompt
                room = self._rooms[seat.session_id]
                room.expect()
                return room
            self._seats[seat.session_id] = seat

            def make_talk(send: Callable[[str | bytes], None]) -> Talk:
                return Talk(
                    self._service, seat.session_id, lambda: (seat.settings, seat.system_prompt), send, seat.options
                )

            room = self._rooms[seat.session_id] = Room(make_talk, self._clock)
            return room

    # -- the socket --------------------------------------------------------------------------------------------------

    async def _serve(self, socket: WebSocket) -> None:
        if not same_origin(socket.headers.get("origin"), socket.headers.get("host")):
            await socket.close(4403)
            return
        room = self._admit(socket.query_params.get("ticket", ""))
        if room is None:
            await socket.close(4403)
            return
        await socket.accept()
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(news.set)

        room.attach(wake)
        room.send(write_json("ready"))
        tasks = [
            asyncio.create_task(self._read(socket, room)),
            asyncio.create_task(_write(socket, room, news, wake)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            why = next((task.result() for task in done if task.exception() is None), None)
            if why is not None and socket.client_state is WebSocketState.CONNECTED:
                code, reason = why
                await _quietly(socket.close(code, reason))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await loop.run_in_executor(None, room.detach, wake)
            # Else the last one to go would be kept until somebody comes. To free a room can take a while.
            loop.call_later(self._kept_s + SWEEP_LATE_S, loop.run_in_executor, None, self._sweep)

    async def _read(self, socket: WebSocket, room: Room) -> tuple[int, str] | None:
        """Until the connection ends; why it has to be closed, None where it is."""
        sound = Bucket(SOUND_RATE, SOUND_LEAD_S, self._clock)
        messages = Bucket(MESSAGES_PER_S, MESSAGE_LEAD, self._clock)
        pictures = Bucket(MAX_PICTURES_PER_S, PICTURE_LEAD, self._clock)
        num_errors = 0
        while True:
            try:
                message = await asyncio.wait_for(socket.receive(), self._silent_s)
            except TimeoutError:
                return SILENT
            except WebSocketDisconnect:
                return None
            if message["type"] == "websocket.disconnect":
                return None
            content = message.get("bytes") if message.get("bytes") is not None else message.get("text", "")
            if len(content) > MAX_MESSAGE_BYTES:
                return TOO_LARGE
            if not messages.take(1) or room.talk.backlog > MAX_BACKLOG:
                return TOO_FAST
            try:
                parsed = parse_binary(content) if isinstance(content, bytes) else parse_text(content)
            except BadInput as error:
                num_errors += 1
                if num_errors >= MAX_ERRORS:
                    return BAD
                room.send(write_json("error", code=error.code, message=error.message))
                continue
            if not _is_in_time(parsed, sound, pictures):
                return TOO_FAST
            room.talk.put(parsed)


def _is_in_time(parsed: Sound | Picture | Command, sound: Bucket, pictures: Bucket) -> bool:
    match parsed:
        case Sound(_, samples):
            return sound.take(len(samples) / SAMPLE_RATE)
        case Picture():
            return pictures.take(1)
    return True


async def _write(
    socket: WebSocket, room: Room, news: asyncio.Event, wake: Callable[[], None]
) -> tuple[int, str] | None:
    """Sends what waits, until another socket takes the room over or nobody reads."""
    while True:
        await news.wait()
        news.clear()
        if not room.is_held_by(wake):
            return REPLACED
        if room.is_overfull:
            return TOO_SLOW
        while room.is_held_by(wake) and (message := room.take()) is not None:
            sending = socket.send_bytes(message) if isinstance(message, bytes) else socket.send_text(message)
            try:
                await asyncio.wait_for(sending, SEND_S)
            except TimeoutError:
                return TOO_SLOW


async def _quietly(closing: Any) -> None:
    """Closed by the other side in the same moment, or full to the brim: then the server ends it."""
    with suppress(RuntimeError, TimeoutError):
        await asyncio.wait_for(closing, SEND_S)


def same_origin(origin: str | None, host: str | None) -> bool:
    """Whether a page of this very server asks. A program sends no origin, and needs a ticket all the same."""
    if origin is None:
        return True
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()
