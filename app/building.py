"""From the configuration to the service over the real engine: which checkpoint, how it is loaded and warmed up."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from app.chatml.render import DEFAULT_SYSTEM_PROMPT
from app.config import MICRO_CHECKPOINT, Config
from app.engine.loader import EngineOptions, load_engine
from app.engine.tiny import BRIEF, write_tiny_checkpoint
from app.service import Service
from app.session.loading import Progress
from app.session.pipeline import REAL_PIPELINE
from app.session.warming import warm_up


def build_service(config: Config, upload_dirs: tuple[Path, ...] = ()) -> Service:
    """The service over the real engine; loading goes on in the background when this returns."""
    resolved = replace(config, checkpoint=_resolve_checkpoint(config))

    def load(progress: Progress) -> Any:
        checkpoint = Path(resolved.checkpoint)
        if not config.checkpoint and not (checkpoint / "config.json").is_file():
            progress("tiny", 0.0)
            write_tiny_checkpoint(checkpoint, end_gain=BRIEF)
        options = EngineOptions(
            resolved.checkpoint,
            config.device,
            config.dtype,
            config.attention,
            config.engine,
            config.text_only,
            config.max_turns,
            config.voices,
            config.quantize,
        )
        engine = load_engine(options, progress)
        try:
            warm_up(engine, REAL_PIPELINE, DEFAULT_SYSTEM_PROMPT, progress)
        except BaseException:
            engine.close()
            raise
        return engine

    return Service(resolved, load, upload_dirs=upload_dirs)


def _resolve_checkpoint(config: Config) -> str:
    """What to load: what was asked for, else the shipped checkpoint, else a tiny random one in the data folder."""
    if config.checkpoint:
        return config.checkpoint
    if (MICRO_CHECKPOINT / "config.json").is_file():
        return str(MICRO_CHECKPOINT)
    return str(config.data_dir / "tiny")
