"""Which voice answers and how: the cards, a sentence to try a voice with, what is kept of it all; knows no message."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import gradio as gr

from app.errors import DemoError
from components.following import Sent
from components.pages import PageState
from components.settings import settings_from
from components.showing import Showing
from components.voices import cards_html


class Choosing:
    def __init__(self, showing: Showing) -> None:
        self._showing, self._service, self._page = showing, showing.service, showing.page

    def use(self, event: gr.EventData) -> dict:
        """A card's voice is the one that answers from now on."""
        voice = event._data.get("voice") if isinstance(event._data, dict) else None
        return {self._page.voices.radio: voice if voice in self._service.info.voices else gr.skip()}

    def cards(self, chosen: str | None, request: gr.Request) -> Any:
        info = self._service.info
        has_cards = info.has_talker and info.voices
        return cards_html(info.voices, chosen, self._showing.texts(request)) if has_cards else gr.skip()

    def say(self, request: gr.Request, state: PageState, text: str | None, voice: Any, *answer: Any) -> Iterator[dict]:
        """Speaks a sentence of one's own in the chosen voice."""
        try:
            stream = self._service.speak_aside(state.session_id, text or "", settings_from(voice, answer))
            records = self._service.transcript(state.session_id)
        except DemoError as error:
            yield self._showing.failed(error, state, request)
        else:
            yield from self._showing.follow(request, stream, state.begin(stream.turn), records, Sent(None, None))

    def note_settings(self, state: PageState, video_sound: bool, voice: Any, prompt: str, *answer: Any) -> None:
        """What a person chose is kept with the conversation. Inputs come in the order of `Page.chosen`."""
        with suppress(DemoError):
            settings = settings_from(voice, answer)
            self._service.note_settings(state.session_id, settings, prompt, bool(video_sound))
