"""A conversation in one zip, out and in again; knows no session and no engine.

In the zip: `conversation.json`, all that is needed to go on; the files that it names; and for people `messages.json`,
`chatml.txt`, `conversation.md` and captions of each reply.
"""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from app.errors import BadInput, DemoError
from app.media.limits import MediaLimits
from app.session.archive import Archive, checked_name, from_json, to_json
from app.session.captions import captions, to_srt, to_vtt
from app.session.folder import disk
from app.session.record import TurnRecord
from app.types.turn import TextInput

MAIN = "conversation.json"
MAX_MAIN_BYTES = 64 << 20
MAX_ENTRIES = 20_000
# All files of an import together, in what one message may have.
MAX_MESSAGES = 8
_BLOCK = 1 << 20
_PLACEHOLDERS = {
    "image": "<|vision_bos|><|IMAGE|><|vision_eos|>",
    "audio": "<|audio_bos|><|AUDIO|><|audio_eos|>",
    "video": "<|vision_bos|><|VIDEO|><|vision_eos|>",
}


def write_zip(path: Path, archive: Archive, folder: Path) -> Path:
    """Complete or not at all."""
    records = [archive.turns[number].record for number in archive.path]
    files = sorted(archive.files)
    main = to_json(archive, folder)
    partial = path.with_name(path.name + ".part")
    with disk(), zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as target:
        hashes = {}
        for file in files:
            name = file.relative_to(folder).as_posix()
            with file.open("rb") as source:
                hashes[name] = hashlib.file_digest(source, "sha256").hexdigest()
            target.write(file, name)
        target.writestr(MAIN, json.dumps(main | {"sha256": hashes}, ensure_ascii=False, indent=1))
        messages = messages_of(archive.system_prompt, records, folder)
        target.writestr("messages.json", json.dumps(messages, ensure_ascii=False, indent=1))
        target.writestr("chatml.txt", chatml_of(messages))
        target.writestr("conversation.md", markdown_of(records, folder))
        for record in records:
            found = captions(record.reply_text, record.timings.get("audio_s") or 0.0)
            if record.wav is not None and found:
                target.writestr(f"captions/{record.wav.stem}.srt", to_srt(found))
                target.writestr(f"captions/{record.wav.stem}.vtt", to_vtt(found))
    with disk():
        partial.replace(path)
    return path


def messages_of(system_prompt: str, records: Sequence[TurnRecord], folder: Path) -> list[dict]:
    """ChatML messages as `app.cli --messages` reads them, with the replies."""
    found: list[dict] = [{"role": "system", "content": [{"type": "text", "text": system_prompt}]}]
    for record in records:
        kinds = {file.path: file.kind for file in record.files}
        content = []
        for part in record.sent.contents if record.sent is not None else ():
            if isinstance(part, TextInput):
                content.append({"type": "text", "text": part.text})
            else:
                kind = kinds.get(part.path, part.kind or "image")
                content.append({"type": kind, kind: part.path.relative_to(folder).as_posix()})
        found.append({"role": "user", "content": content})
        found.append({"role": "assistant", "content": [{"type": "text", "text": record.reply_text}]})
    return found


def chatml_of(messages: Sequence[dict]) -> str:
    """As the model reads it, media as their placeholders; for people, so nothing of it is escaped."""
    lines = []
    for message in messages:
        body = "".join(part.get("text", _PLACEHOLDERS.get(part["type"], "")) for part in message["content"])
        lines.append(f"<|im_start|>{message['role']}\n{body}<|im_end|>\n")
    return "".join(lines)


def markdown_of(records: Sequence[TurnRecord], folder: Path) -> str:
    """What was sent as quotes, so that nothing in it becomes a heading; files as links."""
    blocks = ["# Conversation"]
    for record in records:
        links = (file.path.relative_to(folder).as_posix() for file in record.files)
        said = [f"[{Path(link).name}](<{link}>)" for link in links] + record.user_text.splitlines()
        blocks.append("\n".join(f"> {line}" for line in said) or "> ")
        blocks.append(record.reply_text.strip() or "*(no words)*")
        if record.wav is not None:
            blocks.append(f"*{record.voice}: [{record.wav.name}](<{record.wav.relative_to(folder).as_posix()}>)*")
    return "\n\n".join(blocks) + "\n"


def read_zip(
    path: Path, folder: Path, limits: MediaLimits, known: Callable[[Sequence[int], str], Sequence[int]]
) -> Archive:
    """Takes a conversation in: its files into `folder`, which must hold none of them. Raises `BadInput`, and then
    leaves nothing behind. `known`: see `app.session.archive`."""
    made: list[Path] = []
    try:
        with _opened(path) as source:
            content = _main(source)
            archive = from_json(content, folder, known)
            _take_files(source, archive, content.get("sha256"), folder, limits, made)
            return archive
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        _remove(made)
        raise BadInput("The file is no zip that this program exported, or it is damaged: export it again.") from error
    except DemoError:
        _remove(made)
        raise


def _opened(path: Path) -> zipfile.ZipFile:
    source = zipfile.ZipFile(path)
    if len(source.infolist()) > MAX_ENTRIES:
        source.close()
        raise BadInput(f"The zip has more than {MAX_ENTRIES:,} files: send one that this program exported.")
    return source


def _main(source: zipfile.ZipFile) -> Any:
    info = source.getinfo(MAIN)
    if info.file_size > MAX_MAIN_BYTES:
        raise BadInput("The conversation in the zip is too long to be read: send one that this program exported.")
    with source.open(info) as reader:
        # What an entry says of its size need not be true.
        content = reader.read(MAX_MAIN_BYTES + 1)
    if len(content) > MAX_MAIN_BYTES:
        raise BadInput("The conversation in the zip is too long to be read: send one that this program exported.")
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _take_files(
    source: zipfile.ZipFile, archive: Archive, hashes: Any, folder: Path, limits: MediaLimits, made: list[Path]
) -> None:
    """Only what the conversation names is unpacked, each file no longer than it may be."""
    if not isinstance(hashes, dict):
        raise BadInput("The zip does not say what its files must be: export the conversation again.")
    left = int(MAX_MESSAGES * limits.max_total_mb * 1e6)
    for file in sorted(archive.files):
        name = file.relative_to(folder).as_posix()
        checked_name(name)
        most = min(left, int(limits.max_file_mb * 1e6))
        info = source.getinfo(name)
        if info.file_size > most:
            raise BadInput(
                f"{file.name} has {info.file_size / 1e6:.0f} MB and at most {most / 1e6:.0f} MB can be taken in: start"
                " the program with larger limits."
            )
        with disk():
            file.parent.mkdir(mode=0o700, exist_ok=True)
        made.append(file)
        digest, num_bytes = hashlib.sha256(), 0
        with source.open(info) as reader, file.open("xb") as writer:
            while block := reader.read(_BLOCK):
                num_bytes += len(block)
                if num_bytes > info.file_size:
                    raise BadInput(f"{file.name} in the zip is longer than it says: export the conversation again.")
                digest.update(block)
                with disk():
                    writer.write(block)
        left -= num_bytes
        if hashes.get(name) != digest.hexdigest():
            raise BadInput(f"{file.name} in the zip is not what was exported: export the conversation again.")


def _remove(made: Sequence[Path]) -> None:
    for file in made:
        file.unlink(missing_ok=True)
        if file.parent.name.startswith("turn_"):
            shutil.rmtree(file.parent, ignore_errors=True)
