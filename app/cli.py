"""Runs the service over a file of ChatML messages, without a page; writes every event and the sound of each reply."""

import argparse
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from transformers.utils import logging as transformers_logging

from app.building import build_service
from app.config import Config
from app.door import door
from app.errors import BadConfig, DemoError
from app.flags import FlagParser, add_model_flags, config_from
from app.messages import Script, read_script
from app.service import Service
from app.session.folder import write_wav
from app.types.events import (
    AudioChunk,
    CodecDelta,
    Event,
    Prefilled,
    StageTimed,
    TextDelta,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    TurnQueued,
    TurnStarted,
)
from app.types.turn import TurnSettings

_RULES = """
The messages are a JSON list of {"role", "content"}; a content is a text or a list of {"type": "text", "text": ...},
{"type": "image", "image": PATH}, {"type": "audio", "audio": PATH}, {"type": "video", "video": PATH}. Relative paths
count from the file of messages. A system message may come first. The user messages are answered one after another
in one session. An assistant message behind a user message is that turn's reply as it stands: nothing is sampled,
and it is spoken only when it is the last message.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """0, 2 after one sentence on stderr, 130 when it was interrupted."""
    try:
        with door("the command line"):
            _run(_parser().parse_args(argv))
    except DemoError as error:
        print(error.message, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = FlagParser(
        prog="python -m app.cli",
        description="Answer ChatML messages with text and speech.",
        epilog=_RULES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--messages", type=Path, required=True, metavar="M.json", help="ChatML messages, see below")
    parser.add_argument("--voice", default="", help="name of a voice of the checkpoint (default: its first)")
    parser.add_argument("--seed", type=int, help="of all random choices (default: drawn anew for each turn)")
    parser.add_argument("--greedy", action="store_true", help="always take the likeliest token, of text and of speech")
    parser.add_argument("--max-new-tokens", type=int, metavar="N", help="end the text of a reply after so many tokens")
    parser.add_argument("--max-new-codes", type=int, metavar="N", help="end the speech of a reply after so many codes")
    parser.add_argument("--say", metavar="TEXT", help="speak this as the reply to the last user message")
    parser.add_argument("--no-video-sound", action="store_true", help="do not listen to the sound tracks of videos")
    parser.add_argument("--events", type=Path, metavar="E.jsonl", help="write every event as a line of JSON")
    parser.add_argument(
        "--wav", type=Path, metavar="R.wav", help="write the last reply's sound, each turn's to R.N.wav"
    )
    add_model_flags(parser)
    return parser


def _run(flags: argparse.Namespace) -> None:
    # Standard error holds one sentence or nothing.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    sys.stdout.reconfigure(errors="replace")
    # What is asked here is answered here, and nobody comes back for it.
    config = replace(config_from(flags), keep_days=0)
    if flags.wav is not None and flags.text_only:
        raise BadConfig("--wav needs speech: leave out --wav or --text-only.")
    script = read_script(flags.messages, not flags.no_video_sound)
    if flags.say is not None and script.turns[-1].reply is not None:
        raise BadConfig("--say and an assistant message at the end are two replies to one turn: leave one out.")
    with ExitStack() as stack:
        events = stack.enter_context(_written(flags.events)) if flags.events is not None else None
        if flags.wav is not None and not flags.wav.parent.is_dir():
            raise BadConfig("The folder of --wav does not exist: create it first.")
        service = stack.enter_context(_serving(config, script))
        _converse(service, script, flags, events)


@contextmanager
def _written(path: Path) -> Iterator[TextIO]:
    try:
        file = path.open("w", encoding="utf-8")
    except OSError:
        raise BadConfig(f"{path} cannot be written: choose another path for --events.") from None
    with file:
        yield file


@contextmanager
def _serving(config: Config, script: Script) -> Iterator[Service]:
    service = build_service(config, script.folders)
    try:
        service.ready.wait()
        if service.failure is not None:
            raise service.failure
        yield service
    finally:
        service.close()


def _converse(service: Service, script: Script, flags: argparse.Namespace, events: TextIO | None) -> None:
    if flags.wav is not None and not service.info.has_talker:
        raise BadConfig("This checkpoint has no speech: leave out --wav.")
    session_id = service.open(None, "").session_id
    service.reset(session_id, script.system_prompt)
    settings = _settings(flags, service.default_settings)
    for index, turn in enumerate(script.turns):
        is_last = index == len(script.turns) - 1
        say = flags.say if is_last and flags.say is not None else turn.reply
        # A reply that the messages give in the middle is history; nobody wants to hear it.
        speak = service.info.has_talker and (turn.reply is None or is_last)
        stream = service.submit(session_id, turn.turn_input, replace(settings, say=say, speak=speak))
        for event in stream:
            if events is not None:
                events.write(json.dumps(as_json(event), ensure_ascii=False) + "\n")
            if isinstance(event, TextDelta):
                print(event.text, end="", flush=True)
        print(flush=True)
        if isinstance(event, TurnFailed):
            raise DemoError(event.message)
        if flags.wav is not None and speak:
            _write_sound(service, session_id, event.turn, flags.wav, is_last)


def _settings(flags: argparse.Namespace, settings: TurnSettings) -> TurnSettings:
    thinker, talker = settings.thinker, settings.talker
    if flags.greedy:
        thinker, talker = thinker.greedy(), talker.greedy()
    if flags.max_new_tokens is not None:
        thinker = replace(thinker, max_new_tokens=flags.max_new_tokens)
    if flags.max_new_codes is not None:
        talker = replace(talker, max_new_tokens=flags.max_new_codes)
    return replace(settings, voice=flags.voice, seed=flags.seed, thinker=thinker, talker=talker)


def _write_sound(service: Service, session_id: str, turn: int, path: Path, is_last: bool) -> None:
    record = service.transcript(session_id)[-1]
    target = path.with_suffix(f".{turn}{path.suffix}")
    try:
        if record.wav is None:  # the reply was empty: a file without a sample says so
            write_wav(target, np.zeros(0, np.float32), service.output_sample_rate)
        else:
            shutil.copyfile(record.wav, target)
        if is_last:
            shutil.copyfile(target, path)
    except OSError:
        raise BadConfig(f"{path} cannot be written: choose another path for --wav.") from None


def as_json(event: Event) -> dict[str, Any]:
    """An event's facts as JSON values; samples are counted, not written."""
    facts: dict[str, Any] = {"turn": event.turn, "kind": type(event).__name__, "t_s": event.t_s}
    match event:
        case TextDelta(text=text, text_ids=text_ids):
            facts |= {"text": text, "text_ids": list(text_ids)}
        case CodecDelta(codec_ids=codec_ids):
            facts |= {"codec_ids": list(codec_ids)}
        case Prefilled(num_new=num_new, num_reused=num_reused):
            facts |= {"num_new": num_new, "num_reused": num_reused}
        case AudioChunk(start_sample=start_sample, samples=samples, sample_rate=sample_rate):
            facts |= {"start_sample": start_sample, "num_samples": len(samples), "sample_rate": sample_rate}
        case TurnQueued(num_ahead=num_ahead):
            facts |= {"num_ahead": num_ahead}
        case TurnStarted(voice=voice, seed=seed):
            facts |= {"voice": voice, "seed": seed}
        case StageTimed(stage=stage, start_s=start_s, duration_s=duration_s):
            facts |= {"stage": stage, "start_s": start_s, "duration_s": duration_s}
        case TurnFinished(metrics=metrics):
            facts |= {"metrics": asdict(metrics)}
        case TurnInterrupted(heard_text=heard_text, metrics=metrics):
            facts |= {"heard_text": heard_text, "metrics": asdict(metrics)}
        case TurnFailed(message=message, code=code):
            facts |= {"message": message, "code": code}
    return facts


if __name__ == "__main__":
    sys.exit(main())
