"""Follows one turn from its first event to its last and draws it; knows no other turn and starts none."""

import mimetypes
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.errors import SessionGone
from app.service import Service, StoredFile, TurnRecord, TurnStream
from app.types.events import AudioChunk
from app.types.turn import FileInput, TextInput, TurnInput
from components.conversation import Conversation, last_timings, status_html
from components.pages import PageState
from components.player import PlayerFeed, stop_value
from components.refusal import refused
from components.texts import Texts
from components.view import View, fold, timings_of
from components.waterfall import waterfall_html
from components.widgets import Page

REDRAW_S = 1 / 15


@dataclass(frozen=True)
class Sent:
    """A message, None where a reply that is there is spoken again. `typed`: values of the composer's widgets, to be put
    back if it is refused; None where it did not come from there. `draft`: what the composer has when it is sent."""

    message: TurnInput | None
    typed: Sequence[Any] | None
    draft: str = ""

    @property
    def text(self) -> str:
        return "".join(content.text for content in self._contents if isinstance(content, TextInput))

    @property
    def uploads(self) -> tuple[StoredFile, ...]:
        """What is shown until the session has its own copies."""
        files = (content for content in self._contents if isinstance(content, FileInput))
        return tuple(StoredFile(file.path, file.kind or _guess_kind(file.path.name)) for file in files)

    @property
    def shows_something(self) -> bool:
        return any(isinstance(content, FileInput) and content.kind != "audio" for content in self._contents)

    @property
    def _contents(self) -> tuple[TextInput | FileInput, ...]:
        return () if self.message is None else self.message.contents


def _guess_kind(name: str) -> str:
    return (mimetypes.guess_type(name)[0] or "image").partition("/")[0]


class Follower:
    """Draws the running turn of one page, in one language."""

    def __init__(self, service: Service, page: Page, texts: Texts) -> None:
        self._service, self._page, self._texts = service, page, texts
        self._conversation = Conversation(texts, service.info.has_talker)

    def follow(
        self, stream: TurnStream, state: PageState, past: Sequence[TurnRecord], sent: Sent, is_live: bool = False
    ) -> Iterator[dict]:
        """Values of the page's widgets: sound as soon as it is there, everything else some 15 times a second.

        `is_live`: the turn was spoken live; its speech comes over the live socket, and the composer is not its own.
        """
        page, feed, view = self._page, PlayerFeed(state.generation), View()
        before, files = self._conversation.of(past), sent.uploads
        drawn, drawn_at, is_in_composer = None, 0.0, True
        yield {
            page.state: state,
            page.player: feed.begin(stream.turn, is_live),
            page.notice: "",
            page.forget: gr.update(visible=False),
            page.status: self._status(view),
        }
        while not view.is_over:
            event = stream.get(REDRAW_S if view == drawn else max(0.0, drawn_at + REDRAW_S - time.monotonic()))
            while event is not None:
                view = fold(view, event)
                if isinstance(event, AudioChunk) and not is_live:
                    feed.push(event)
                event = stream.get(0)
            if view.is_over:
                break
            news: dict = {}
            if (packet := feed.take()) is not None:
                news[page.player] = packet
            if view.is_accepted and is_in_composer:
                is_in_composer = False
                news |= self._emptied(sent)
                files = self._stored(state.session_id, stream.turn) or files
            if view != drawn and time.monotonic() - drawn_at >= REDRAW_S:
                drawn, drawn_at = view, time.monotonic()
                if sent.message is not None:
                    news[page.chat] = [*before, *self._conversation.running(sent.text, files, view)]
                news[page.status] = self._status(view)
                news[page.timing] = waterfall_html(timings_of(view, stream.turn), self._texts)
            if news:
                yield news
        ended = self._ended(view, state, feed)
        if is_live:
            if view.state == "done":
                del ended[page.player]  # the socket says when the last sample has come
            yield ended | (self._refused(view) if view.state == "failed" else {})
        else:
            yield ended | self._aftermath(view, sent, is_in_composer)

    def _status(self, view: View) -> str:
        is_loading = view.state == "reading" and not self._service.ready.is_set()
        words = self._texts("status_loading") if is_loading else self._conversation.status(view)
        return status_html(words, is_busy=True)

    def _ended(self, view: View, state: PageState, feed: PlayerFeed) -> dict:
        page, records = self._page, self._transcript(state.session_id)
        return {
            page.player: feed.end() if view.state == "done" else stop_value(state.generation),
            page.chat: self._conversation.of(records),
            page.status: status_html(self._conversation.status(view)),
            page.timing: waterfall_html(last_timings(records), self._texts),
        }

    def _aftermath(self, view: View, sent: Sent, is_in_composer: bool) -> dict:
        """The composer when the turn is over: emptied, or as it was if nothing of the turn stays."""
        if view.state == "failed":
            page = self._page
            given_back = {}
            if not is_in_composer and sent.typed is not None:
                given_back = dict(zip(page.composer, sent.typed, strict=True))
            return given_back | self._refused(view)
        return self._emptied(sent) if is_in_composer else {}

    def _refused(self, view: View) -> dict:
        return refused(self._page, self._texts, view.code, view.message)

    def _emptied(self, sent: Sent) -> dict:
        """A recorder stays at hand for the next turn, the other ways in are closed."""
        if sent.typed is None:
            return {}
        page = self._page
        news: dict = dict.fromkeys(page.composer) | {page.message: sent.draft, page.tray: ""}
        if sent.shows_something:
            news[page.capture.tabs] = gr.Tabs(selected="text")
        return news

    def _stored(self, session_id: str, turn: int) -> tuple[StoredFile, ...]:
        return next((record.files for record in self._transcript(session_id) if record.turn == turn), ())

    def _transcript(self, session_id: str) -> tuple[TurnRecord, ...]:
        try:
            return self._service.transcript(session_id)
        except SessionGone:
            return ()
