"""Conversations besides the one on the page: begun, found, opened, named, deleted, carried; makes no turn."""

import html
from dataclasses import replace
from pathlib import Path

import gradio as gr

from app.errors import DemoError
from app.live.server import LiveServer
from app.service import Opened
from components.conversation import download_html, status_html
from components.pages import PageState
from components.past import past_html, read_pick
from components.player import stop_value
from components.showing import Showing
from components.voices import voice_among


class Recalling:
    def __init__(self, showing: Showing, live: LiveServer) -> None:
        self._showing, self._service, self._page = showing, showing.service, showing.page
        self._live = live

    def begin(self, state: PageState, prompt: str, request: gr.Request) -> dict:
        """A new conversation with the settings of this one, which stays in the list if anything was said."""
        service = self._service
        try:
            settings, use_video_sound = service.settings(state.session_id), service.use_video_sound(state.session_id)
            opened = service.open(None, request.username or "", state.visitor)
            service.note_settings(opened.session_id, settings, prompt, use_video_sound)
        except DemoError as error:
            return self._showing.failed(error, replace(state, generation=state.generation + 1, editing=0), request)
        return self._turned_to(opened, state, request)

    def look_back(self, state: PageState, words: str | None, request: gr.Request) -> str:
        """The list of conversations."""
        texts = self._showing.texts(request)
        try:
            listed = self._service.listed(request.username or "", state.visitor, words or "")
        except DemoError as error:
            return f'<p class="past-none" role="alert">{html.escape(texts.sentence(error.message))}</p>'
        return past_html(listed, state.session_id, texts)

    def pick(self, event: gr.EventData, state: PageState, words: str | None, request: gr.Request) -> dict:
        """Opens, renames or deletes one of them."""
        page, pick, owner = self._page, read_pick(event._data), request.username or ""
        if pick is None:
            return {page.timing: gr.skip()}
        news: dict = {}
        try:
            if pick.deed == "open":
                news = self._turned_to(self._service.choose(pick.session_id, owner, state.visitor), state, request)
            elif pick.deed == "rename":
                self._service.rename(pick.session_id, owner, state.visitor, pick.name)
            else:
                self._service.delete(pick.session_id, owner, state.visitor)
        except DemoError as error:
            news = self._showing.refused(error, request)
        return news | {page.past.shown: self.look_back(news.get(page.state, state), words, request)}

    def export(self, state: PageState, request: gr.Request) -> dict:
        """Offers the conversation as a zip."""
        texts = self._showing.texts(request)
        try:
            path = self._service.export(state.session_id)
        except DemoError as error:
            return self._showing.failed(error, state, request)
        words = texts("export_ready", size=texts.memory(path.stat().st_size))
        return {self._page.notice: f'<p role="status">{download_html(path, words)}</p>'}

    def take_in(self, path: str | None, state: PageState, request: gr.Request) -> dict:
        """Goes on with an exported conversation; the one that was on the page ends."""
        page, texts = self._page, self._showing.texts(request)
        if not path:
            return {page.notice: gr.skip()}
        try:
            opened = self._service.take_in(Path(path), request.username or "", state.visitor)
        except DemoError as error:
            return self._showing.refused(error, request)
        notice = f'<p role="status">{html.escape(texts("imported"))}</p>'
        return self._turned_to(opened, state, request) | {page.notice: notice}

    def _turned_to(self, opened: Opened, state: PageState, request: gr.Request) -> dict:
        """The page shows another conversation from now on; the one before is left."""
        page, texts = self._page, self._showing.texts(request)
        previous = self._showing.pages.hold(request.session_hash, opened.session_id)
        if previous is not None and previous != opened.session_id:
            self._live.leave(previous)
            self._service.leave(previous)
        voice = voice_among(self._service.info.voices, self._service.settings(opened.session_id).voice)
        now = replace(
            state,
            session_id=opened.session_id,
            generation=state.generation + 1,
            turns=(),
            editing=0,
            draft="",
            compared=None,
        )
        return (
            self._showing.drawn(now, texts)
            | self._showing.settings(opened.session_id)
            | {
                page.voices.radio: voice or gr.skip(),
                page.state: now,
                page.secret: opened.secret,
                page.player: stop_value(now.generation),
                page.status: status_html(texts("status_ready")),
                page.notice: "",
                page.forget: gr.update(visible=False),
                page.showcase.compare.shown: "",
            }
        )
