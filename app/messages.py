"""Reads a file of ChatML messages into turns; opens none of the media that they name."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import BadInput
from app.types.turn import FileInput, TextInput, TurnInput

_KINDS = ("image", "audio", "video")


@dataclass(frozen=True)
class ScriptedTurn:
    """A user's message, and the reply when the file gives one."""

    turn_input: TurnInput
    reply: str | None = None


@dataclass(frozen=True)
class Script:
    """`system_prompt`: None when the file has none."""

    system_prompt: str | None
    turns: tuple[ScriptedTurn, ...]

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where the named files really lie."""
        contents = (content for turn in self.turns for content in turn.turn_input.contents)
        return tuple({content.path.resolve().parent for content in contents if isinstance(content, FileInput)})


def read_script(path: Path, use_video_sound: bool = True) -> Script:
    """Relative media paths count from the file's folder. Raises `BadInput` with one sentence."""
    try:
        messages = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise BadInput("The file of messages was not found: give the path of a JSON file.") from None
    except (OSError, UnicodeDecodeError):
        raise BadInput("The file of messages cannot be read: give the path of a JSON file in UTF-8.") from None
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise BadInput(f"The file of messages is not valid JSON{where}: correct it.") from None
    if not isinstance(messages, list) or not messages:
        raise BadInput('The file of messages must hold a list such as [{"role": "user", "content": "Hello"}].')
    return _script([_message(message, number) for number, message in enumerate(messages, 1)], path, use_video_sound)


def _message(message: Any, number: int) -> tuple[str, list[dict]]:
    """(role, contents), with a plain string as one text."""
    if not isinstance(message, dict) or set(message) != {"role", "content"}:
        raise BadInput(f'Message {number} must have exactly the keys "role" and "content".')
    role, content = message["role"], message["content"]
    if role not in ("system", "user", "assistant"):
        raise BadInput(f"The role of message {number} must be system, user or assistant.")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list) or not content:
        raise BadInput(f"The content of message {number} must be a text or a list that is not empty.")
    for item in content:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind not in ("text", *_KINDS) or set(item) != {"type", kind} or not isinstance(item[kind], str):
            raise BadInput(
                f'Each content of message {number} must look like {{"type": "text", "text": "Hello"}} or '
                '{"type": "image", "image": "a.png"}; the types are text, image, audio and video.'
            )
        if role != "user" and kind != "text":
            raise BadInput(f"Message {number} is of role {role} and can hold nothing but text.")
    return role, content


def _script(messages: list[tuple[str, list[dict]]], path: Path, use_video_sound: bool) -> Script:
    system_prompt = None
    if messages[0][0] == "system":
        system_prompt = _text(messages[0][1])
        messages = messages[1:]
    turns: list[ScriptedTurn] = []
    last = "system"
    for role, content in messages:
        if role == "system":
            raise BadInput("A system message can only be the first one: move it there.")
        if role == "assistant" and last != "user":
            raise BadInput("An assistant message must follow a user message: move or remove it.")
        if role == "user":
            contents = tuple(_content(item, path) for item in content)
            turns.append(ScriptedTurn(TurnInput(contents, use_video_sound)))
        else:
            turns[-1] = ScriptedTurn(turns[-1].turn_input, _text(content))
        last = role
    if not turns:
        raise BadInput("There is no user message to answer: add one.")
    return Script(system_prompt, tuple(turns))


def _content(item: dict, messages_path: Path) -> TextInput | FileInput:
    kind = item["type"]
    if kind == "text":
        return TextInput(item["text"])
    name = item[kind]
    if "://" in name or name.startswith("data:"):
        raise BadInput("Media are read from local files only: download the file and give its path.")
    if not name or "\0" in name:
        raise BadInput(f"A path of type {kind} is empty or not a path: give the path of a file.")
    return FileInput(messages_path.parent / name, kind)


def _text(content: list[dict]) -> str:
    return "\n".join(item["text"] for item in content)
