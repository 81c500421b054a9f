"""The message is sent, and room is made for it: the model forgets a part; knows no turn that is over."""

import html
from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.errors import DemoError
from components.following import Sent
from components.pages import PageState
from components.settings import settings_from
from components.showing import Showing
from components.tabs import turn_input


class Sending:
    """Inputs of a message come in the order of `Page.asked`."""

    def __init__(self, showing: Showing) -> None:
        self._showing, self._service, self._page = showing, showing.service, showing.page

    def submit(self, request: gr.Request, state: PageState, text: str | None, *values: Any) -> Iterator[dict]:
        """Sends the message and draws its answer while it is made."""
        num_captured = len(self._page.capture.all)
        captured, (video_sound, voice, prompt, *answer) = values[:num_captured], values[num_captured:]
        sent = Sent(turn_input(text or "", captured, video_sound), (text, *captured), state.draft)
        try:
            settings = settings_from(voice, answer)
            self._service.note_settings(state.session_id, settings, prompt, bool(video_sound))
            if state.editing:
                stream = self._service.again(state.session_id, state.editing, settings, sent.message, prompt)
            else:
                stream = self._service.submit(state.session_id, sent.message, settings, prompt)
            past = self._showing.before(state, stream.turn)
        except DemoError as error:
            yield self._showing.failed(error, state, request)
        else:
            yield from self._showing.follow(request, stream, state.begin(stream.turn), past, sent)

    def forget(self, state: PageState, request: gr.Request) -> dict:
        """Drops the older half of what the model remembers; the message is sent again after it."""
        page, texts = self._page, self._showing.texts(request)
        try:
            records = self._service.transcript(state.session_id)
            num_turns = sum(record.state == "done" or bool(record.reply_text) for record in records)
            self._service.drop_oldest(state.session_id, max(1, (num_turns + 1) // 2))
            records = self._service.transcript(state.session_id)
        except DemoError as error:
            return self._showing.failed(error, state, request)
        return {
            page.notice: f'<p role="status">{html.escape(texts("dropped"))}</p>',
            page.forget: gr.update(visible=False),
            page.chat: self._showing.conversation(texts).of(records),
        }
