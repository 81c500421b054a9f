"""A live conversation as the page sees it: a ticket to the socket, then each turn drawn; hears and speaks nothing."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import gradio as gr

from app.errors import DemoError
from app.live.server import PATH, LiveServer
from app.types.turn import TurnInput
from components.conversation import last_timings
from components.following import Follower, Sent
from components.live import read_turn, refusal_value, ticket_value
from components.pages import PageState
from components.settings import settings_from
from components.showing import Showing
from components.waterfall import waterfall_html


class LiveTalk:
    """Inputs come in the order of `Page.live_asked`."""

    def __init__(self, showing: Showing, live: LiveServer) -> None:
        self._showing, self._service, self._page = showing, showing.service, showing.page
        self._live = live

    def ticket(self, request: gr.Request, state: PageState, voice: Any, prompt: str, *answer: Any) -> str:
        """Lets this page's browser in to the live socket."""
        try:
            self._service.transcript(state.session_id)
            settings = settings_from(voice, answer)
        except DemoError as error:
            return refusal_value(self._showing.texts(request).sentence(error.message))
        self._showing.pages.hold(request.session_hash, state.session_id)
        return ticket_value(PATH, self._live.mint(state.session_id, settings, prompt))

    def change_settings(self, state: PageState, voice: Any, prompt: str, *answer: Any) -> None:
        """What was changed holds from the next live turn on."""
        with suppress(DemoError):
            self._live.update(state.session_id, settings_from(voice, answer), prompt)

    def turn(
        self, event: gr.EventData, request: gr.Request, state: PageState, voice: Any, prompt: str, *answer: Any
    ) -> Iterator[dict]:
        """Draws the answer to what was said live, while it is made."""
        turn = read_turn(event._data)
        stream = None if turn is None else self._live.take_stream(state.session_id, turn)
        if stream is None:
            yield {self._page.notice: gr.skip()}
            return
        with suppress(DemoError):
            settings = settings_from(voice, answer)
            self._live.update(state.session_id, settings, prompt)
            self._service.note_settings(state.session_id, settings, prompt)
        past = self._showing.before(state, turn)
        follower = Follower(self._service, self._page, self._showing.texts(request))
        news = follower.follow(stream, state.begin(turn), past, Sent(TurnInput(()), None), is_live=True)
        yield from self._showing.while_shown(request, state.session_id, news)

    def cut(self, request: gr.Request, state: PageState) -> dict:
        """A finished reply was spoken over: its record is shorter now."""
        page, texts = self._page, self._showing.texts(request)
        try:
            records = self._service.transcript(state.session_id)
        except DemoError:
            return {page.timing: gr.skip()}
        return {
            page.chat: self._showing.conversation(texts).of(records),
            page.timing: waterfall_html(last_timings(records), texts),
        }
