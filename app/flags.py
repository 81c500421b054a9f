"""Command lines to options: the flags of the page and those that every program of ours shares; opens nothing."""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

from app.config import ATTENTIONS, DEVICES, DTYPES, ENGINES, QUANTIZATIONS, Config
from app.errors import BadConfig
from app.media.limits import MediaLimits

_LIMIT_TEXTS = {
    "max_file_mb": "megabytes of one file",
    "max_audio_s": "seconds of sound in one message",
    "max_video_s": "seconds of video in one message",
    "max_pixels": "pixels of a picture before it is resized",
    "max_text_chars": "characters of text in one message",
    "max_files": "files in one message",
    "max_total_mb": "megabytes of all files of one message",
}


class FlagParser(argparse.ArgumentParser):
    """argparse that raises `BadConfig` instead of ending the process, and knows no abbreviations."""

    def __init__(self, **options) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise BadConfig(f"{message[:1].upper()}{message[1:]}: see --help.")


def parse_flags(argv: Sequence[str], prog: str | None = None) -> Config:
    """The configuration that these flags ask for; raises `BadConfig` for unknown or impossible ones."""
    parser = FlagParser(prog=prog, description="Talk to a Qwen2.5-Omni or Qwen3-Omni checkpoint in the browser.")
    add_model_flags(parser)
    add_page_flags(parser)
    return config_from(parser.parse_args(list(argv)))


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model")
    model.add_argument(
        "--checkpoint",
        default=Config.checkpoint,
        help="folder or hub id (default: the one in assets/micro, else a tiny random one that babbles)",
    )
    model.add_argument("--device", default=Config.device, help=_choice(DEVICES))
    model.add_argument("--dtype", default=Config.dtype, help=_choice(DTYPES))
    model.add_argument("--attention", default=Config.attention, help=_choice(ATTENTIONS))
    model.add_argument("--engine", default=Config.engine, help=_choice(ENGINES))
    model.add_argument("--quantize", default=Config.quantize, help=f"{_choice(QUANTIZATIONS)}: the Thinker's weights")
    model.add_argument("--text-only", action="store_true", help="do not load the Talker; replies are not spoken")
    model.add_argument(
        "--voices",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="more voices, from a file in the layout of a checkpoint's spk_dict.pt; may be repeated",
    )
    model.add_argument(
        "--data-dir",
        type=Path,
        default=Config.data_dir,
        help=f"folder for conversations and voice previews (default: {Config.data_dir})",
    )
    limits = parser.add_argument_group("limits")
    for limit in fields(MediaLimits):
        what = _LIMIT_TEXTS.get(limit.name, limit.name.removeprefix("max_").replace("_", " "))
        limits.add_argument(
            _flag(limit.name),
            type=type(limit.default),
            default=limit.default,
            metavar="N",
            help=f"at most so many {what} (default: {limit.default:,})",
        )


def add_page_flags(parser: argparse.ArgumentParser) -> None:
    page = parser.add_argument_group("page")

    def add(name: str, text: str, **options) -> None:
        default = getattr(Config, name)
        shown = f" (default: {default})" if default not in ("", ()) else ""
        page.add_argument(_flag(name), default=default, help=text + shown, **options)

    add("keep_s", "seconds that a conversation stays in memory after its page left", type=float)
    add("keep_days", "days that conversations are kept on disk, 0 for none beyond its page", type=float)
    add("keep_gb", "gigabytes of kept conversations; the longest unused go first", type=float)
    add("max_turns", "replies made side by side; more wait in a queue", type=int)
    add("cache_gb", "memory of all conversations, 0 for half of what is free", type=float)
    page.add_argument(
        "--auth", action="append", default=[], metavar="USER:PASSWORD", help="ask for a login; may be repeated"
    )
    add("root_path", "path under which a proxy serves the page")
    add("server_name", "address to listen on, 0.0.0.0 for all")
    add("server_port", "port to listen on, 0 for the first free one from 7860", type=int)
    page.add_argument("--share", action="store_true", help="open a public link through Gradio's servers")
    page.add_argument("--inbrowser", action="store_true", help="open the page in the default browser")


def config_from(flags: argparse.Namespace) -> Config:
    """A `Config` of those flags that are options; flags of the caller's own are left alone."""
    values = {one.name: getattr(flags, one.name) for one in fields(Config) if hasattr(flags, one.name)}
    values["limits"] = MediaLimits(**{one.name: getattr(flags, one.name) for one in fields(MediaLimits)})
    values["voices"] = tuple(values.get("voices", ()))
    if "auth" in values:
        values["auth"] = tuple(tuple(pair.split(":", 1)) if ":" in pair else (pair, "") for pair in values["auth"])
    return Config(**values)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _choice(values: tuple[str, ...]) -> str:
    return f"{', '.join(values[1:])} or {values[0]} (default)"
