"""A page comes and goes: it gets its conversation and is told of the model; knows nothing of turns."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import gradio as gr

from app.errors import DemoError, SessionGone
from app.live.server import LiveServer
from components.banner import bad_banner, banner_html, model_html
from components.conversation import last_timings, status_html
from components.examples import Examples, examples_html
from components.pages import PageState
from components.showing import Showing
from components.texts import Texts
from components.waterfall import waterfall_html

LOOK_S = 0.25


class Coming:
    """Outputs are those of `Page.opened`."""

    def __init__(self, showing: Showing, live: LiveServer, examples: Examples) -> None:
        self._showing, self._live, self._examples = showing, live, examples
        self._service, self._page = showing.service, showing.page
        self._first_settings = showing.service.default_settings

    def open(self, secret: str | None, visitor: str | None, state: PageState, request: gr.Request) -> Iterator[dict]:
        """Its old conversation or a new one, then the news of the model until it is there."""
        page, service, texts = self._page, self._service, self._showing.texts(request)
        try:
            news = self._showing.opened(secret or None, replace(state, visitor=visitor or ""), request)
        except DemoError as error:
            yield {page.banner: bad_banner(texts.sentence(error.message))}
            return
        session_id = news[page.state].session_id
        records = service.transcript(session_id)
        # Asked before the news is gathered: a model that is ready a moment later is told of in the next news.
        was_ready = service.ready.is_set()
        yield news | {
            page.chat: self._showing.conversation(texts).of(records),
            page.timing: waterfall_html(last_timings(records), texts),
            page.status: status_html(texts("status_ready")),
            **self._showing.settings(session_id),
            **self._model_news(texts, session_id),
        }
        if was_ready:
            return
        shown: Any = None
        while not service.ready.wait(LOOK_S):
            if shown != (shown := service.loading()):
                yield {page.banner: banner_html(service, texts)}
        # Another conversation may have been opened meanwhile.
        with suppress(SessionGone):
            yield self._model_news(texts, self._showing.pages.shown(request.session_hash) or session_id)

    def leave(self, request: gr.Request) -> None:
        session_id = self._showing.pages.let_go(request.session_hash)
        if session_id is not None:
            self._live.leave(session_id)
            self._service.leave(session_id)

    def _model_news(self, texts: Texts, session_id: str) -> dict:
        page, service = self._page, self._service
        info, settings = service.info, service.settings(session_id)
        names, missing = info.voices if info.has_talker else (), self._why_no_voices(texts)
        voices = page.voices.update(names, settings.voice, missing, texts)
        news = {page.model: model_html(info, texts), page.banner: banner_html(service, texts)}
        news |= dict(zip(page.voices.outputs, voices, strict=True))
        shown = page.showcase.update(names, settings.voice, missing, texts)
        news |= dict(zip(page.showcase.outputs, shown, strict=True))
        shown = examples_html(self._examples, texts) if info.is_micro else ""
        news |= {page.welcome: shown, page.asking: shown, page.examples_tab: gr.Tab(visible=info.is_micro)}
        if service.default_settings != self._first_settings:
            news |= page.answer.shown_of_checkpoint(settings)
        if not info.has_solver:
            news |= page.answer.without_solver()
        return news

    def _why_no_voices(self, texts: Texts) -> str:
        if not self._service.ready.is_set():
            return texts("voice_wait")
        return texts("voice_none" if self._service.failure is None else "voice_failed")
