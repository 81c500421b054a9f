"""What the rest of the program must know of a checkpoint, read once from its own configuration; holds no weights."""

from dataclasses import dataclass, field

from app.types.media import MediaRules
from app.types.turn import TurnSettings

# Neither the published configuration nor the model classes name the rate of the wave that token2wav makes; the
# model card does: 24 kHz. A checkpoint may say otherwise with `sample_rate` in its bigvgan_config.
TOKEN2WAV_SAMPLE_RATE = 24_000

# What a configuration calls its family (`model_type`).
QWEN2_5 = "qwen2_5_omni"
QWEN3 = "qwen3_omni_moe"


@dataclass(frozen=True)
class TokenIds:
    """Control token ids: ChatML's from the tokenizer, the media ones from the Thinker's configuration."""

    im_start: int
    im_end: int
    audio: int
    audio_start: int
    audio_end: int
    image: int
    video: int
    vision_start: int
    vision_end: int
    ends_of_text: tuple[int, ...]


@dataclass(frozen=True)
class MelRules:
    """The log-mel that the sound tower was trained on. `block_frames`: frames that the tower sees as one unit;
    `conv_frames`: those that its convolutions see as one, 0 where they see the whole block."""

    num_mel_bins: int
    sample_rate: int
    n_fft: int
    hop: int
    block_frames: int
    conv_frames: int = 0

    @property
    def block_s(self) -> float:
        return self.block_frames * self.hop / self.sample_rate


@dataclass(frozen=True)
class PixelRules:
    """How pixels become patches: mean and deviation per RGB channel, of values in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class ModelSpec:
    """Numbers and names of one loaded checkpoint.

    `voices` is empty without a Talker. `context_length` in tokens. `position_ids_per_s` and `s_per_chunk`: TMRoPE's
    time scale and the length of its interleaved chunks (Qwen3 has none). `codec_frame_s`: speech per codec
    frame. `bytes_per_token`: Thinker KV, states and Talker KV of one token in the cache. `quantize`: what the Thinker's
    weights became, and `wide_bytes` what a pass takes to widen one of them. `is_random`: it babbles. `is_micro`: it
    says of itself that it knows a small world only. `defaults`: the checkpoint's own settings of a turn.
    """

    family: str
    name: str
    device: str
    dtype: str
    attention: str
    has_talker: bool
    voices: tuple[str, ...]
    context_length: int
    ids: TokenIds
    media: MediaRules
    mel: MelRules
    pixels: PixelRules
    position_ids_per_s: float
    s_per_chunk: float
    output_sample_rate: int
    codec_frame_s: float
    bytes_per_token: int
    is_random: bool
    is_micro: bool = False
    quantize: str = "none"
    wide_bytes: int = 0
    defaults: TurnSettings = field(default_factory=TurnSettings)

    @property
    def has_solver(self) -> bool:
        """Its vocoder solves an equation, more finely or less (`ode_points`, `guidance`)."""
        return self.family == QWEN2_5
