"""A conversation as Chatbot messages: what was sent, shown literally, and each reply with its speech; knows no session.

What people typed is never read as Markdown or HTML. What a model wrote is Markdown without HTML and without pictures
(a picture's address would be fetched, and so could carry words out of the page).
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
from gradio.components.chatbot import ComponentMessage, Message, TextMessage

from app.service import StoredFile, TurnRecord
from components.deeds import message_buttons, reply_buttons
from components.texts import Texts
from components.view import View
from components.waterfall import summary_html

_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]*`)", re.DOTALL)


def file_url(path: Path) -> str:
    """Relative to the page, so that it holds behind any proxy."""
    return "gradio_api/file=" + quote(str(path.absolute()))


def download_html(path: Path, words: str) -> str:
    """A link to a file that may be written anew: a browser that has an older one would not ask again."""
    url = f"{html.escape(file_url(path))}?at={path.stat().st_mtime_ns}"
    return f'<a href="{url}" download="{path.name}">{html.escape(words)}</a>'


@dataclass(frozen=True)
class Conversation:
    """Draws turns in one language. Holds nothing of them. `can_speak`: the model has a voice."""

    texts: Texts
    can_speak: bool = True

    def of(self, records: Sequence[TurnRecord]) -> list[Message]:
        """Everything that is over."""
        over = [record for record in records if record.state not in ("running", "failed")]
        newest = over[-1] if over and over[-1] is records[-1] else None
        return [message for record in over for message in self.finished(record, is_newest=record is newest)]

    def finished(self, record: TurnRecord, is_newest: bool = False) -> list[Message]:
        """The messages of a turn that is over. A failed one left nothing in the conversation, so it has none."""
        if record.state == "failed":
            return []
        notes = self._notes(record)
        footer = "".join(f'<p class="reply-note">{html.escape(note)}</p>' for note in notes)
        if record.wav is not None:
            footer += self._speech(record)
        footer += reply_buttons(record, self.texts, self.can_speak, is_newest)
        footer += summary_html(record.timings, self.texts)
        sent = self._sent(record.user_text, record.files, message_buttons(record, self.texts))
        return [sent, _reply(record.reply_text, footer)]

    def _notes(self, record: TurnRecord) -> list[str]:
        """What is to be said of how a reply ended."""
        if record.state == "interrupted":
            return [self._stopped(record)]
        notes = [] if record.reply_text.strip() else [self.texts("reply_empty")]
        if record.timings.get("text_end") == "length":
            notes.append(self.texts("reply_length"))
        if record.timings.get("speech_end") == "bound":
            notes.append(self.texts("speech_bound"))
        return notes

    def _stopped(self, record: TurnRecord) -> str:
        """Where a reply ends that was stopped: where it was cut to what was heard, that is an estimate."""
        heard_s = record.timings.get("heard_s")
        if heard_s is None:
            return self.texts("reply_stopped")
        return self.texts("reply_heard" if heard_s > 0 else "reply_unheard")

    def running(self, user_text: str, files: Sequence[StoredFile], view: View) -> list[Message]:
        """The messages of the turn that is being answered."""
        return [self._sent(user_text, files), _reply(view.text, self._progress(view))]

    def status(self, view: View) -> str:
        if view.state == "queued":
            return self.texts("status_queued", num=view.num_ahead)
        return self.texts(f"status_{view.state}")

    def _progress(self, view: View) -> str:
        if view.is_over:
            return ""
        return f'<p class="reply-progress"><i></i><i></i><i></i><span>{html.escape(self.status(view))}</span></p>'

    def _sent(self, text: str, files: Sequence[StoredFile], buttons: str = "") -> Message:
        shown = "".join(self._media(file) for file in files)
        if shown:
            shown = f'<div class="sent-media">{shown}</div>'
        if text.strip():
            shown += f'<p class="sent-text" dir="auto">{html.escape(text)}</p>'
        return Message(role="user", content=[_html(f'<div class="sent">{shown}{buttons}</div>')])

    def _media(self, file: StoredFile) -> str:
        url = html.escape(file_url(file.path))
        if file.kind == "image":
            label = html.escape(self.texts("sent_image"))
            return f'<a href="{url}" target="_blank" rel="noopener"><img src="{url}" alt="{label}" loading="lazy"></a>'
        label = html.escape(self.texts(f"sent_{file.kind}"))
        tag = "audio" if file.kind == "audio" else "video"
        return f'<{tag} controls preload="metadata" playsinline src="{url}" aria-label="{label}"></{tag}>'

    def _speech(self, record: TurnRecord) -> str:
        url = html.escape(file_url(record.wav))
        if (heard_s := record.timings.get("heard_s")) is not None:
            # A browser that has the whole of it would not ask again for what is left.
            url += f"?heard_s={heard_s:.4f}"
        label, save = html.escape(self.texts("reply_audio")), html.escape(self.texts("download_audio"))
        name = html.escape(record.wav.name)
        return (
            f'<div class="reply-speech"><audio controls controlslist="nodownload" preload="metadata" src="{url}"'
            f' aria-label="{label}"></audio><a class="icon-button" href="{url}" download="{name}"'
            f' title="{save}" aria-label="{save}"><svg viewBox="0 0 24 24" aria-hidden="true">'
            f'<path d="M12 4v11m-5-5 5 5 5-5M5 19h14"/></svg></a></div>'
        )


def last_timings(records: Sequence[TurnRecord]) -> dict:
    """The waterfall of the newest turn that is in the conversation, {} when there is none."""
    return next((record.timings for record in reversed(records) if record.state in ("done", "interrupted")), {})


def status_html(words: str, is_busy: bool = False) -> str:
    """One line for eyes and screen readers; the style sheet shows Stop while there is a busy one."""
    return f'<p role="status" class="{"busy" if is_busy else ""}">{html.escape(words)}</p>'


def plain_markdown(text: str) -> str:
    """Model text whose HTML shows as typed and whose pictures are no pictures; code blocks stay as they are."""
    pieces = _CODE.split(text)
    return "".join(piece if index % 2 else _without_html(piece) for index, piece in enumerate(pieces))


def _without_html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("![", "!\\[")


def _reply(text: str, footer: str) -> Message:
    content: list[Any] = [TextMessage(text=plain_markdown(text))] if text.strip() else []
    content.append(_html(f'<div class="reply-foot">{footer}</div>'))
    return Message(role="assistant", content=content)


def _html(value: str) -> ComponentMessage:
    return ComponentMessage(component="html", value=value, constructor_args={}, props={**_HTML_PROPS, "value": value})


# A component in a message is drawn from its configuration. It is made once: a running reply is redrawn 15 times a
# second with everything before it.
_HTML_PROPS = gr.HTML(js_on_load=None, apply_default_css=False, render=False).get_config()
