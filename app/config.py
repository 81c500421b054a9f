"""Every option of the program, its default and its check; knows nothing of what the options do."""

from dataclasses import dataclass, field, fields
from pathlib import Path

from app.errors import BadConfig
from app.media.limits import MediaLimits

MICRO_CHECKPOINT = Path(__file__).resolve().parent.parent / "assets" / "micro"

DEVICES = ("auto", "cuda", "mps", "cpu")
DTYPES = ("auto", "float32", "bfloat16", "float16")
ATTENTIONS = ("auto", "flash_attention_2", "sdpa", "eager")
ENGINES = ("auto", "eager", "graphs")
QUANTIZATIONS = ("none", "int8", "int4")


@dataclass(frozen=True)
class Config:
    """All options. `checkpoint`: a folder or hub id, "" for the one that is shipped (else a tiny random one).

    `keep_s`: seconds that a left page's conversation stays in memory; `keep_days`, `keep_gb`: how long and how much of
    conversations stays on disk, 0 days for nothing. `max_turns`: replies that are made side by side.
    `auth`: pairs of user and password. `server_port` 0 lets Gradio look for a free one. `cache_gb`: all conversations'
    caches together, 0 for half of what is free once the model is loaded. `voices`: files of more speakers.
    """

    checkpoint: str = ""
    device: str = "auto"
    dtype: str = "auto"
    attention: str = "auto"
    engine: str = "auto"
    quantize: str = "none"
    text_only: bool = False
    voices: tuple[Path, ...] = ()
    data_dir: Path = Path(".data")
    keep_s: float = 60.0
    keep_days: float = 30.0
    keep_gb: float = 10.0
    max_turns: int = 4
    cache_gb: float = 0.0
    limits: MediaLimits = field(default_factory=MediaLimits)
    auth: tuple[tuple[str, str], ...] = ()
    root_path: str = ""
    server_name: str = "127.0.0.1"
    server_port: int = 0
    share: bool = False
    inbrowser: bool = False

    def __post_init__(self) -> None:
        _require(self.dtype in DTYPES, f"--dtype must be one of {', '.join(DTYPES)}.")
        _require(self.attention in ATTENTIONS, f"--attention must be one of {', '.join(ATTENTIONS)}.")
        _require(self.engine in ENGINES, f"--engine must be one of {', '.join(ENGINES)}.")
        _require(self.quantize in QUANTIZATIONS, f"--quantize must be one of {', '.join(QUANTIZATIONS)}.")
        _require(self.device in DEVICES, f"--device must be one of {', '.join(DEVICES)}.")
        _require(self.keep_s >= 0, "--keep-s must be 0 or more seconds.")
        _require(self.keep_days >= 0, "--keep-days must be 0 or more days.")
        _require(self.keep_gb > 0, "--keep-gb must be more than 0; to keep nothing choose --keep-days 0.")
        _require(1 <= self.max_turns <= 64, "--max-turns must be from 1 to 64.")
        _require(self.cache_gb >= 0, "--cache-gb must be 0 or more.")
        _require(0 <= self.server_port <= 65535, "--server-port must be from 1 to 65535, or 0 for any free one.")
        _require(
            not self.root_path or self.root_path.startswith(("/", "http://", "https://")),
            "--root-path must begin with /.",
        )
        _require(all(user and password for user, password in self.auth), "--auth must be given as user:password.")
        _require(
            len({user for user, _ in self.auth}) == len(self.auth),
            "--auth names a user twice: give each user one password.",
        )
        for limit in fields(self.limits):
            value = getattr(self.limits, limit.name)
            _require(value > 0, f"--{limit.name.replace('_', '-')} must be more than 0.")


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise BadConfig(sentence)
