"""Opens sound and video containers with FFmpeg so that they can read nothing but the uploaded file itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition

from app.media.source import ByteReader, Source, unreadable

# Demuxers that may look at an upload. Those that open other files or addresses (hls, concat, dash, sdp, imf, ...) are
# not among them, and FFmpeg checks the list before a demuxer reads anything.
_FORMATS = "aac,ac3,aiff,amr,asf,au,avi,caf,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,w64,wav"
# Besides, no demuxer may open anything: the file itself comes through Python.
_NO_PROTOCOL = "none"
# FFmpeg's errors, what the file object raises when it is sent to places before its start, and what PyAV itself raises
# for values that no honest file has.
BROKEN = (av.FFmpegError, OSError, ValueError, TypeError, OverflowError, RuntimeError)


@contextmanager
def open_container(source: Source, max_pixels: int) -> Iterator[InputContainer]:
    """The source from its beginning; raises BadInput when it is no known container."""
    try:
        container = av.open(
            ByteReader(source.file),
            mode="r",
            options={
                "format_whitelist": _FORMATS,
                "protocol_whitelist": _NO_PROTOCOL,
                # Checked by every video decoder before it allocates a frame.
                "max_pixels": str(max_pixels),
            },
            metadata_errors="replace",
        )
    except (*BROKEN, UnicodeError):
        raise unreadable(source) from None
    with container:
        yield container


def video_stream(container: InputContainer) -> Any | None:
    """The first stream of moving pictures; the cover of a song is none."""
    for stream in container.streams.video:
        if not stream.disposition & (Disposition.attached_pic | Disposition.still_image):
            return stream
    return None


def audio_stream(container: InputContainer) -> Any | None:
    return next(iter(container.streams.audio), None)


def packets(container: InputContainer, *streams: Any) -> Iterator[av.Packet]:
    """Packets with content, up to the end or to where the file breaks off."""
    try:
        for packet in container.demux(*streams):
            if packet.size:
                yield packet
    except BROKEN:
        return


def frames(container: InputContainer, stream: Any) -> Iterator[Any]:
    """Decoded frames of one stream in the order of showing; packets that cannot be decoded are skipped."""
    for packet in packets(container, stream):
        yield from _decoded(stream, packet)
    yield from _decoded(stream, None)


def header_duration_s(container: InputContainer) -> float | None:
    """What the header says; it may be missing or wrong."""
    return container.duration / av.time_base if container.duration else None


def _decoded(stream: Any, packet: av.Packet | None) -> list[Any]:
    try:
        return stream.codec_context.decode(packet)
    except BROKEN:
        return []
