"""A session's folder on disk: copies of the user's files, the replies' sound, the waterfalls; knows no model."""

import json
import os
import re
import shutil
import stat
import unicodedata
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from app.errors import BadInput, DemoError
from app.media.limits import MediaLimits
from app.media.source import shown_name
from app.types.turn import FileInput, TurnInput

_COPY_BYTES = 1 << 20
LEFTOVER_S = 24 * 3600.0


class StorageFailed(DemoError):
    """The server's disk did not take what had to be written."""

    code = "storage_failed"


class UploadGate:
    """Decides which files may be opened at all: regular ones below the upload folders, within the size limits."""

    def __init__(self, upload_dirs: tuple[Path, ...], limits: MediaLimits) -> None:
        self._upload_dirs = tuple(Path(folder).resolve() for folder in upload_dirs)
        self._limits = limits

    def check(self, turn_input: TurnInput) -> TurnInput:
        """The same turn with resolved paths; raises `BadInput` for the first file that may not be opened."""
        limits = self._limits
        num_files = sum(isinstance(content, FileInput) for content in turn_input.contents)
        if num_files > limits.max_files:
            raise BadInput(
                f"At most {limits.max_files} files can be sent at once and these are {num_files}; send fewer."
            )
        admitted = replace(
            turn_input,
            contents=tuple(
                replace(content, path=self._admit(content.path)) if isinstance(content, FileInput) else content
                for content in turn_input.contents
            ),
        )
        total_mb = (
            sum(content.path.stat().st_size for content in admitted.contents if isinstance(content, FileInput)) / 1e6
        )
        if total_mb > limits.max_total_mb:
            raise BadInput(
                f"The files have {total_mb:.0f} MB and {limits.max_total_mb:g} MB can be sent at once; send fewer."
            )
        return admitted

    def _admit(self, path: Path) -> Path:
        try:
            resolved = Path(path).resolve(strict=True)
            status = resolved.stat()
        except (OSError, ValueError, RuntimeError):  # missing, unreadable, a NUL in the name, a loop of links
            raise BadInput("The file is not there any more: upload it again.") from None
        if not any(resolved.is_relative_to(folder) for folder in self._upload_dirs):
            raise BadInput("Only uploaded files can be opened: upload the file instead of giving its path.")
        if not stat.S_ISREG(status.st_mode):
            raise BadInput("Only files can be sent: upload the files one by one instead of their folder.")
        if status.st_size > self._limits.max_file_mb * 1e6:
            raise self._too_large(path, status.st_size)
        return resolved

    def copy(self, source: Path, target: Path) -> None:
        """Copies an admitted file; looks again at what it really opened, since the name may point elsewhere by now."""
        try:
            descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        except OSError:
            raise BadInput("The file is not there any more: upload it again.") from None
        with open(descriptor, "rb") as reader:
            if not stat.S_ISREG(os.fstat(reader.fileno()).st_mode):
                raise BadInput("Only files can be sent: upload the files one by one instead of their folder.")
            with disk(), open(target, "xb") as writer:
                os.fchmod(writer.fileno(), 0o600)
                num_bytes = 0
                while block := reader.read(_COPY_BYTES):
                    num_bytes += len(block)
                    if num_bytes > self._limits.max_file_mb * 1e6:
                        raise self._too_large(source, num_bytes)
                    writer.write(block)

    def _too_large(self, path: Path, num_bytes: int) -> BadInput:
        return BadInput(
            f"{shown_name(path)} has {num_bytes / 1e6:.0f} MB and at most {self._limits.max_file_mb:g} MB can be sent; "
            "cut or compress it first."
        )


class SessionFolder:
    """Owns `data_dir/sessions/<id>/`, readable by the server's user alone."""

    def __init__(self, path: Path, gate: UploadGate, is_kept: bool = False) -> None:
        """`is_kept`: it is there from another day."""
        self.path = path
        self._gate = gate
        with disk():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.mkdir(mode=0o700, exist_ok=is_kept)

    def admit(self, turn: int, turn_input: TurnInput) -> TurnInput:
        """Copies the turn's files here; the result names the copies. Leaves nothing behind when it raises."""
        admitted = self._gate.check(turn_input)
        if not any(isinstance(content, FileInput) for content in admitted.contents):
            return admitted
        folder = self.path / f"turn_{turn}"
        with disk():
            folder.mkdir(mode=0o700)
        contents: list = []
        try:
            for content in admitted.contents:
                if isinstance(content, FileInput):
                    target = _free_name(folder / safe_name(content.path.name))
                    self._gate.copy(content.path, target)
                    content = replace(content, path=target)
                contents.append(content)
        except DemoError:
            self.forget({turn})
            raise
        return replace(admitted, contents=tuple(contents))

    def check(self, turn_input: TurnInput) -> TurnInput:
        """The turn with resolved paths and no copies, for looking at it before it is sent."""
        return self._gate.check(turn_input)

    def write_said(
        self, turn: int, samples: np.ndarray, sample_rate: int, write_clip: Callable[..., None] | None = None
    ) -> Path:
        """What a person said, with `write_clip` also what was shown, as a file of the turn's own."""
        folder = self.path / f"turn_{turn}"
        path = folder / ("said.wav" if write_clip is None else "said.mp4")
        with disk():
            folder.mkdir(mode=0o700, exist_ok=True)
            if write_clip is None:
                write_wav(path, samples, sample_rate)
            else:
                write_clip(path, samples=samples, sample_rate=sample_rate)
        return path

    def write_wav(self, turn: int, samples: np.ndarray, sample_rate: int) -> Path:
        path = self.path / f"turn_{turn}.wav"
        with disk():
            write_wav(path, samples, sample_rate)
        return path

    def cut_wav(self, turn: int, samples: np.ndarray, sample_rate: int) -> Path | None:
        """Puts what was heard in the place of a turn's speech; None, and no file, where that is nothing."""
        if len(samples):
            return self.write_wav(turn, samples, sample_rate)
        with disk():
            (self.path / f"turn_{turn}.wav").unlink(missing_ok=True)
        return None

    def write_take(self, turn: int, samples: np.ndarray, sample_rate: int) -> Path:
        """A turn's speech once more, beside what it was before."""
        path = _free_name(self.path / f"turn_{turn}_take.wav")
        with disk():
            write_wav(path, samples, sample_rate)
        return path

    def write_timings(self, turn: int, timings: dict) -> None:
        with disk():
            _replace_text(self.path / f"turn_{turn}.json", json.dumps(timings, indent=1))

    def forget(self, turns: set[int]) -> None:
        """Deletes all that belongs to these turns. What cannot be deleted now, such as a file that is being sent on
        Windows, goes with the folder."""
        for turn in turns:
            shutil.rmtree(self.path / f"turn_{turn}", ignore_errors=True)
            takes = self.path.glob(f"turn_{turn}_take*.wav")
            for path in (self.path / f"turn_{turn}.wav", self.path / f"turn_{turn}.json", *takes):
                with suppress(OSError):
                    path.unlink()

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def remove_leftovers(sessions: Path, now_s: float, kept: Collection[str] = ()) -> None:
    """Deletes conversations that a program which was killed left behind, apart from those named in `kept`; young ones
    may belong to one that still runs.

    `now_s`: seconds since the epoch, as file times are.
    """
    for folder in sessions.glob("*"):
        with suppress(OSError):  # another program may be deleting it too
            if folder.name not in kept and now_s - folder.stat().st_mtime > LEFTOVER_S:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def disk() -> Iterator[None]:
    """A disk that does not take what is written becomes one sentence."""
    try:
        yield
    except (OSError, soundfile.SoundFileError) as error:
        raise StorageFailed(
            "The server could not write to its data folder: free some disk space and try again."
        ) from error


def safe_name(name: str) -> str:
    """A short name of letters, digits, - and _ with the same suffix: the copy never carries what a stranger typed."""
    stem, dot, suffix = unicodedata.normalize("NFC", name).rpartition(".")
    if not dot:
        stem, suffix = suffix, ""
    stem = re.sub(r"[^\w-]+", "_", stem).strip("_-")[:40] or "file"
    suffix = re.sub(r"[^A-Za-z0-9]+", "", suffix).lower()[:8]
    return f"{stem}.{suffix}" if suffix else stem


def _free_name(path: Path) -> Path:
    """The path itself, or with the first number behind its stem that no file has yet."""
    candidate, count = path, 1
    while candidate.exists():
        count += 1
        candidate = path.with_stem(f"{path.stem}_{count}")
    return candidate


def write_wav(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """float32 mono in [-1, 1] as 16-bit PCM; complete or not at all."""
    partial = path.with_name(path.name + ".part")
    soundfile.write(partial, np.clip(samples, -1.0, 1.0), sample_rate, subtype="PCM_16", format="WAV")
    partial.replace(path)


def read_wav(path: Path) -> tuple[np.ndarray, int]:
    """float32 mono in [-1, 1] and its rate, of a file that `write_wav` wrote."""
    with disk():
        return soundfile.read(path, dtype="float32")


def _replace_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
