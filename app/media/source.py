"""Opens an uploaded file safely and says what its first bytes are; decodes nothing and never follows a link inside."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.errors import BadInput
from app.media.limits import MediaLimits

ACCEPTED = "a picture (PNG, JPEG, WebP, GIF, BMP), a sound (WAV, MP3, FLAC, OGG, M4A) or a video (MP4, WebM, MOV)"
HEAD_BYTES = 4096
_MAX_NAME_CHARS = 60
_PLAYLISTS = (b"#extm3u", b"ffconcat", b"[playlist]", b"[reference]", b"<asx", b"<mpd", b"<smil", b"v=0\r", b"v=0\n")


@dataclass(frozen=True)
class Source:
    """An open regular file. `name` is safe to show; `head` are its first bytes; `file` is positioned at any place."""

    file: BinaryIO
    name: str
    head: bytes
    num_bytes: int


class ByteReader:
    """The file's bytes and nothing else.

    Decoders guess formats from the names of file objects; this has none, so that only the content decides. It leaves
    closing to the owner of the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        file.seek(0)
        self.read = file.read
        self.readinto = file.readinto
        self.seek = file.seek
        self.tell = file.tell


def shown_name(path: Path) -> str:
    """The file's own name without its folder, printable and short: it goes into sentences for people."""
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in path.name) or "file"
    name = name.encode("utf-8", "replace").decode("utf-8")
    return f'"{name}"' if len(name) <= _MAX_NAME_CHARS else f'"{name[: _MAX_NAME_CHARS - 10]}…{name[-9:]}"'


@contextmanager
def open_source(path: Path, limits: MediaLimits) -> Iterator[Source]:
    """Open a regular file within the size limit; raises BadInput for everything else."""
    name = shown_name(path)
    try:
        # Looked at before opening: opening a pipe can wait for ever, opening a device can act on it.
        _check_regular(os.stat(path).st_mode, name)
        file = open(path, "rb", opener=_open_at_once)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a zero byte in the path
        raise BadInput(f"{name} was not found; upload it again.") from None
    except OSError:
        raise BadInput(f"{name} cannot be opened; upload it again.") from None
    with file:
        opened = os.fstat(file.fileno())
        _check_regular(opened.st_mode, name)
        if opened.st_size == 0:
            raise BadInput(f"{name} is empty; record or export it again.")
        size_mb = opened.st_size / 1e6
        if size_mb > limits.max_file_mb:
            raise BadInput(
                f"{name} has {size_mb:.0f} MB and at most {limits.max_file_mb:g} MB can be sent; "
                "cut or compress it first."
            )
        head = file.read(HEAD_BYTES)
        yield Source(file, name, head, opened.st_size)


def refuse_text(source: Source) -> None:
    """Raise BadInput for text of any sort: playlists and drawings that point elsewhere, web pages, notes."""
    if any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in source.head):
        return
    text = source.head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_PLAYLISTS):
        raise BadInput(f"{source.name} is a playlist that points to other files; upload the sound or the video itself.")
    if b"<svg" in text:
        raise BadInput(f"{source.name} is a vector drawing; export it as PNG and upload that.")
    if text.startswith((b"<!doctype html", b"<html")):
        raise BadInput(f"{source.name} is a web page, not a media file; save the picture, sound or video itself.")
    raise BadInput(f"{source.name} is a text file; paste its text into the message instead.")


def unreadable(source: Source) -> BadInput:
    return BadInput(f"{source.name} cannot be read, it is damaged or of an unknown kind; upload {ACCEPTED}.")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_regular(mode: int, name: str) -> None:
    if stat.S_ISDIR(mode):
        raise BadInput(f"{name} is a folder; upload the files in it one by one.")
    if not stat.S_ISREG(mode):
        raise BadInput(f"{name} is not an ordinary file; upload {ACCEPTED}.")
