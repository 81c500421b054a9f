"""What a user asks for: a turn's contents and settings, before and after decoding."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from app.types.media import Audio, Image, Video


@dataclass(frozen=True)
class TextInput:
    text: str


@dataclass(frozen=True)
class FileInput:
    """An uploaded file. `kind`: "image", "audio" or "video" when the sender insists, else found from the content."""

    path: Path
    kind: str | None = None


@dataclass(frozen=True)
class TurnInput:
    """One user message as it comes from the page or the command line, in order. `use_video_sound`: hear videos too."""

    contents: tuple[TextInput | FileInput, ...]
    use_video_sound: bool = True


@dataclass(frozen=True)
class TextPart:
    text: str


@dataclass(frozen=True, eq=False)
class ImagePart:
    image: Image


@dataclass(frozen=True, eq=False)
class AudioPart:
    audio: Audio


@dataclass(frozen=True, eq=False)
class VideoPart:
    video: Video


Part = TextPart | ImagePart | AudioPart | VideoPart


@dataclass(frozen=True)
class Sampling:
    """How one stage picks its next token; same meaning and order of processors as transformers' `generate()`.

    `top_k` 0 and `top_p` 1.0 mean off; `max_new_tokens` counts the end token too.
    """

    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    max_new_tokens: int

    def greedy(self) -> "Sampling":
        return replace(self, do_sample=False)


# The defaults are those of `Qwen2_5OmniForConditionalGeneration.generate` (transformers 5.17.0).
THINKER_SAMPLING = Sampling(
    do_sample=False, temperature=1.0, top_k=50, top_p=1.0, repetition_penalty=1.0, max_new_tokens=1024
)
TALKER_SAMPLING = Sampling(
    do_sample=True, temperature=0.9, top_k=40, top_p=0.8, repetition_penalty=1.05, max_new_tokens=4096
)


@dataclass(frozen=True)
class TurnSettings:
    """How one turn is answered.

    `voice`: a name from the checkpoint's speaker map, or "" for its first one. `seed`: None draws one. `ode_points`:
    time points of the vocoder's solver; `guidance`: its classifier-free guidance. `say`: when given, this is the reply;
    the Thinker samples nothing and the Talker speaks it.
    """

    voice: str = ""
    speak: bool = True
    thinker: Sampling = field(default=THINKER_SAMPLING)
    talker: Sampling = field(default=TALKER_SAMPLING)
    seed: int | None = None
    ode_points: int = 10
    guidance: float = 0.5
    say: str | None = None
