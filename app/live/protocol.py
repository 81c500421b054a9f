"""The messages of the live socket, parsed and written; knows no session. `docs/live-protocol.md` tells them to people.

Upwards a binary message is one kind byte, three zero bytes, the time in milliseconds since the socket opened as uint32,
then the payload: `SOUND` int16 mono at 16 kHz, `PICTURE` a JPEG. Downwards `SPEECH`: the kind byte, a zero byte, how
long these samples are to wait in milliseconds as uint16, turn, first sample and sample rate as uint32, then int16 mono.
All little-endian. Everything else is JSON with a `type`.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.errors import BadInput
from app.types.events import AudioChunk

SOUND, PICTURE, SPEECH = 1, 2, 3
SAMPLE_RATE = 16_000
_UP = struct.Struct("<BxxxI")
_DOWN = struct.Struct("<BxHIII")
# A quarter of a second in one message; browsers send 40 ms.
MAX_SOUND_BYTES = SAMPLE_RATE // 4 * 2
MAX_PICTURE_BYTES = 1 << 20
MAX_JSON_BYTES = 8192
MAX_MESSAGE_BYTES = MAX_PICTURE_BYTES + _UP.size


@dataclass(frozen=True, eq=False)
class Sound:
    """`samples`: float32 `[num_samples]` in [-1, 1] at 16 kHz."""

    at_ms: int
    samples: np.ndarray


@dataclass(frozen=True, eq=False)
class Picture:
    at_ms: int
    jpeg: bytes


@dataclass(frozen=True)
class Command:
    """`kind`: the message's `type`, one of COMMANDS; `fields`: its other values, checked."""

    kind: str
    fields: dict[str, Any]


# Command -> its fields with their types and ranges; all may be left out but those that are required.
COMMANDS: dict[str, dict[str, tuple[type, float, float]]] = {
    "talk": {},
    "talk_end": {},
    "played": {"turn": (int, 0, 2**31), "samples": (int, 0, 2**31), "is_playing": (bool, 0, 1)},
    "hushed": {"turn": (int, 0, 2**31), "samples": (int, 0, 2**31)},
    "stop": {"turn": (int, 0, 2**31), "samples": (int, 0, 2**31)},
    "options": {"hands_free": (bool, 0, 1), "silence_ms": (int, 200, 3000), "interruptible": (bool, 0, 1)},
    "ping": {"at_ms": (int, 0, 2**32 - 1)},
}
REQUIRED = {"played": ("turn", "samples"), "hushed": ("turn", "samples"), "stop": ("turn", "samples")}


def parse_binary(message: bytes) -> Sound | Picture:
    """Raises BadInput with what is wrong."""
    if len(message) <= _UP.size:
        raise BadInput(
            f"A binary message has a header of {_UP.size} bytes and a payload; this has {len(message)} bytes."
        )
    kind, at_ms = _UP.unpack_from(message)
    payload = message[_UP.size :]
    if kind == SOUND:
        if len(payload) % 2 or len(payload) > MAX_SOUND_BYTES:
            raise BadInput(f"Sound is 16-bit samples, at most {MAX_SOUND_BYTES} bytes at once: send smaller pieces.")
        return Sound(at_ms, np.frombuffer(payload, "<i2").astype(np.float32) / 32768)
    if kind == PICTURE:
        if len(payload) > MAX_PICTURE_BYTES:
            raise BadInput(f"A picture has at most {MAX_PICTURE_BYTES} bytes: send a smaller one.")
        if not payload.startswith(b"\xff\xd8\xff"):
            raise BadInput("Pictures are JPEG: send the bytes of a JPEG file.")
        return Picture(at_ms, payload)
    raise BadInput(f"Binary messages begin with {SOUND} (sound) or {PICTURE} (picture), not with {kind}.")


def parse_text(message: str) -> Command:
    """Raises BadInput with what is wrong."""
    if len(message) > MAX_JSON_BYTES:
        raise BadInput(f"A command has at most {MAX_JSON_BYTES} characters.")
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):
        raise BadInput("A command is one JSON object: this is none.") from None
    kind = fields.pop("type", None) if isinstance(fields, dict) else None
    if not isinstance(kind, str) or kind not in COMMANDS:
        raise BadInput(f"A command's type is one of {', '.join(COMMANDS)}.")
    known = COMMANDS[kind]
    for name in REQUIRED.get(kind, ()):
        if name not in fields:
            raise BadInput(f"The command {kind} needs {name}.")
    for name, value in fields.items():
        if name not in known:
            raise BadInput(f"The command {kind} knows {', '.join(known) or 'no fields'}.")
        wanted, least, most = known[name]
        if type(value) is not wanted or not least <= value <= most:
            raise BadInput(f"{name} of {kind} is a {wanted.__name__} from {least} to {most}.")
    return Command(kind, fields)


def write_speech(chunk: AudioChunk) -> bytes:
    hold_ms = min(round(chunk.hold_s * 1000), 0xFFFF)
    header = _DOWN.pack(SPEECH, hold_ms, chunk.turn, chunk.start_sample, chunk.sample_rate)
    return header + (chunk.samples.clip(-1.0, 1.0) * 32767).astype("<i2").tobytes()


def write_json(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields}, ensure_ascii=False)
