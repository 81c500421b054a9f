"""How much media one turn may bring, and what is known of a file before it is decoded; knows no file format."""

from dataclasses import dataclass

# A recorder that is told to stop at the limit stops a little after it.
GRACE_S = 1.0


@dataclass(frozen=True)
class MediaLimits:
    """Limits of one turn. `max_audio_s` and `max_video_s` hold for each file and for all files of the turn together."""

    max_file_mb: float = 200
    max_audio_s: float = 300
    max_video_s: float = 120
    max_pixels: int = 50_000_000
    """Of a still or of one video frame, before resizing."""
    max_text_chars: int = 20_000
    max_files: int = 10
    max_total_mb: float = 500

    @property
    def max_video_frames(self) -> int:
        """Bounds the work for files whose time stamps lie; 240 per second is a phone's slow motion."""
        return int((self.max_video_s + GRACE_S) * 240)


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds. `kind`: "image", "audio" or "video"; sizes are those that a viewer shows (rotation applied).

    `num_frames` and `fps` count the frames of the file itself, not those picked for the model.
    """

    kind: str
    duration_s: float | None
    has_sound: bool
    width: int | None
    height: int | None
    num_frames: int | None = None
    fps: float | None = None
