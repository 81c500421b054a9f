"""A conversation as plain values and back: what is exported and imported; touches no file and no engine."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from types import UnionType
from typing import Any

from app.errors import BadInput
from app.session.history import Shelved
from app.session.prompter import PastTurn
from app.session.record import StoredFile, Take, TurnRecord
from app.session.settings import check_ranges
from app.types.turn import FileInput, Sampling, TextInput, TurnInput, TurnSettings

FORMAT, VERSION = "talk-with-omni conversation", 1
MAX_TURNS = 10_000
_TURN = re.compile(r"turn_\d+\w*(\.wav)?", re.ASCII)
_NOT_IN_NAMES = frozenset('\\/:*?"<>|')
_KINDS = ("image", "audio", "video")
_STATES = ("done", "interrupted")
_BAD = BadInput("The file is no conversation that this program exported, or it was changed: export it again.")


@dataclass(frozen=True)
class Archive:
    """`turns` by number, those on the path and those on the shelf; `path`: the numbers on the page, in order.
    `settings`: of the next turn, None where nobody changed what the checkpoint says of itself; `use_video_sound`: of
    its message."""

    system_prompt: str
    turns: Mapping[int, Shelved]
    path: tuple[int, ...]
    settings: TurnSettings | None = None
    use_video_sound: bool = True

    @property
    def files(self) -> set[Path]:
        """All that the turns' messages and takes consist of."""
        found: set[Path] = set()
        for shelved in self.turns.values():
            record = shelved.record
            found |= {file.path for file in record.files}
            found |= {content.path for content in _contents(record.sent) if isinstance(content, FileInput)}
            found |= {take.wav for take in (record.take, *record.takes) if take.wav is not None}
        return found


def to_json(archive: Archive, folder: Path) -> dict:
    """JSON values; files by their paths below `folder`."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "system_prompt": archive.system_prompt,
        "settings": _settings_to_json(archive.settings),
        "use_video_sound": archive.use_video_sound,
        "path": list(archive.path),
        "turns": [_turn_to_json(shelved, folder) for _, shelved in sorted(archive.turns.items())],
    }


def _turn_to_json(shelved: Shelved, folder: Path) -> dict:
    record, past = shelved.record, shelved.past

    def name(path: Path | None) -> str | None:
        return None if path is None else path.relative_to(folder).as_posix()

    takes = record.takes or (record.take,)
    sent = record.sent or TurnInput(())
    return {
        "number": record.turn,
        "parent": shelved.parent,
        "state": record.state,
        "message": record.message,
        "text": record.user_text,
        "files": [{"file": name(file.path), "kind": file.kind} for file in record.files],
        "sent": [
            {"text": content.text}
            if isinstance(content, TextInput)
            else {"file": name(content.path), "kind": content.kind}
            for content in sent.contents
        ],
        "use_video_sound": sent.use_video_sound,
        "reply": record.reply_text,
        "reply_ids": None if past is None else list(past.reply_ids),
        "num_states": 0 if past is None else past.num_states,
        "num_tokens": 0 if past is None else past.num_tokens,
        "takes": [
            {"voice": take.voice, "seed": take.seed, "file": name(take.wav), "timings": take.timings} for take in takes
        ],
        "chosen": next((place for place, take in enumerate(takes) if take.wav == record.wav), 0),
    }


def from_json(content: Any, folder: Path, known: Callable[[Sequence[int], str], Sequence[int]]) -> Archive:
    """What `to_json` gave, its files below `folder`. `known(ids, text)`: the reply's ids as this checkpoint has them.

    Raises `BadInput` for anything else, whatever it is; of another version with a sentence of its own.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _BAD
    if content.get("version") != VERSION:
        raise BadInput(
            f"The conversation was exported by another version of this program ({str(content.get('version'))[:20]}) and"
            f" this one reads version {VERSION}: export it again with this one."
        )
    turns: dict[int, Shelved] = {}
    for one in _list(content, "turns", dict, MAX_TURNS):
        shelved = _turn_from_json(one, folder, known)
        number, parent = shelved.record.turn, shelved.parent
        # A parent comes before its children, so there is no circle.
        if number in turns or not (parent == 0 or parent in turns and parent < number):
            raise _BAD
        turns[number] = shelved
    path = tuple(_list(content, "path", int, MAX_TURNS))
    if any(number not in turns or turns[number].parent != before for before, number in zip((0, *path), path)):
        raise _BAD
    # Earlier programs kept none.
    use_video_sound = _get({"use_video_sound": True} | content, "use_video_sound", bool)
    return Archive(_get(content, "system_prompt", str), turns, path, _settings_from_json(content), use_video_sound)


def _turn_from_json(one: dict, folder: Path, known: Callable[[Sequence[int], str], Sequence[int]]) -> Shelved:
    number, reply = _get(one, "number", int), _get(one, "reply", str)
    if not 0 < number < 1 << 31 or _get(one, "state", str) not in _STATES:
        raise _BAD
    sent: list[TextInput | FileInput] = []
    for part in _list(one, "sent", dict, 1000):
        if "text" in part:
            sent.append(TextInput(_get(part, "text", str)))
        else:
            sent.append(FileInput(_path(part, folder), _kind(part, optional=True)))
    turn_input = TurnInput(tuple(sent), _get(one, "use_video_sound", bool))
    files = tuple(StoredFile(_path(part, folder), _kind(part)) for part in _list(one, "files", dict, 1000))
    takes = tuple(
        Take(
            _get(take, "voice", str),
            None if take.get("seed") is None else _get(take, "seed", int),
            None if take.get("file") is None else _path(take, folder),
            _get(take, "timings", dict),
        )
        for take in _list(one, "takes", dict, 1000)
    )
    chosen = _get(one, "chosen", int)
    if not 0 <= chosen < len(takes):
        raise _BAD
    take = takes[chosen]
    record = TurnRecord(
        turn=number,
        user_text=_get(one, "text", str),
        files=files,
        reply_text=reply,
        wav=take.wav,
        state=one["state"],
        voice=take.voice,
        message=_get(one, "message", str),
        timings=take.timings,
        sent=turn_input,
        takes=takes if len(takes) > 1 else (),
    )
    past = None
    if one.get("reply_ids") is not None:
        given = _list(one, "reply_ids", int, 1 << 20)
        ids = tuple(known(given, reply))
        num_states = _get(one, "num_states", int) if ids == tuple(given) else max(0, len(ids) - 1)
        if not 0 <= num_states <= len(ids):
            raise _BAD
        past = PastTurn(number, turn_input, ids, max(0, _get(one, "num_tokens", int)), None, num_states)
    return Shelved(record, past, _get(one, "parent", int))


def _settings_to_json(settings: TurnSettings | None) -> dict | None:
    """All but `say`, which is of one turn alone."""
    if settings is None:
        return None
    return {key: value for key, value in asdict(settings).items() if key != "say"}


def _settings_from_json(content: dict) -> TurnSettings | None:
    # Earlier programs kept none.
    if content.get("settings") is None:
        return None
    given = _get(content, "settings", dict)
    settings = TurnSettings(
        voice=_get(given, "voice", str),
        speak=_get(given, "speak", bool),
        thinker=_sampling(_get(given, "thinker", dict)),
        talker=_sampling(_get(given, "talker", dict)),
        seed=None if given.get("seed") is None else _get(given, "seed", int),
        ode_points=_get(given, "ode_points", int),
        guidance=_number(given, "guidance"),
    )
    try:
        check_ranges(settings)
    except BadInput:
        raise _BAD from None
    return settings


def _sampling(given: dict) -> Sampling:
    return Sampling(
        do_sample=_get(given, "do_sample", bool),
        temperature=_number(given, "temperature"),
        top_k=_get(given, "top_k", int),
        top_p=_number(given, "top_p"),
        repetition_penalty=_number(given, "repetition_penalty"),
        max_new_tokens=_get(given, "max_new_tokens", int),
    )


def _number(content: dict, key: str) -> float:
    try:
        return float(_get(content, key, int | float))
    except OverflowError:
        raise _BAD from None


def _get(content: dict, key: str, kind: type | UnionType) -> Any:
    value = content.get(key)
    if not isinstance(value, kind) or isinstance(value, bool) and kind is not bool:
        raise _BAD
    return value


def _list(content: dict, key: str, kind: type, most: int) -> list:
    values = _get(content, key, list)
    if len(values) > most or any(not isinstance(value, kind) or isinstance(value, bool) for value in values):
        raise _BAD
    return values


def _kind(part: dict, optional: bool = False) -> str | None:
    kind = part.get("kind")
    if kind is None and optional:
        return None
    if kind not in _KINDS:
        raise _BAD
    return kind


def _path(part: dict, folder: Path) -> Path:
    return folder / checked_name(_get(part, "file", str))


def checked_name(name: str) -> PurePosixPath:
    """A path below a conversation's folder: `turn_3.wav` or `turn_3/photo.png`; raises `BadInput` for all else."""
    path = PurePosixPath(name)
    parts = path.parts
    if not 0 < len(parts) <= 2 or str(path) != name or len(name) > 200 or not _TURN.fullmatch(parts[0]):
        raise _BAD
    if any(part in (".", "..") or not part.isprintable() or set(part) & _NOT_IN_NAMES for part in parts):
        raise _BAD
    return path


def _contents(turn_input: TurnInput | None) -> tuple:
    return () if turn_input is None else turn_input.contents
