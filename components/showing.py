"""Which conversation each open page has, and how what is over of it is drawn; starts no turn and ends none.

What every group of handlers is given. Outputs are keyed by widget.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import gradio as gr

from app.errors import DemoError, SessionGone
from app.service import Service, TurnRecord, TurnStream
from components.conversation import Conversation, last_timings, status_html
from components.following import Follower, Sent
from components.pages import OpenPages, PageState
from components.refusal import refused
from components.texts import Texts, texts_for
from components.waterfall import waterfall_html
from components.widgets import Page


class Showing:
    """Owns which session each open page has."""

    def __init__(self, service: Service, page: Page) -> None:
        self.service, self.page = service, page
        self.pages = OpenPages()

    def texts(self, request: gr.Request) -> Texts:
        return texts_for(request.headers.get("accept-language", ""))

    def opened(self, secret: str | None, state: PageState, request: gr.Request) -> dict:
        """The page has the session of this secret from now on, or a new one; the one before is left."""
        opened = self.service.open(secret, request.username or "", state.visitor)
        previous = self.pages.hold(request.session_hash, opened.session_id)
        if previous is not None and previous != opened.session_id:
            self.service.leave(previous)
        return {self.page.state: replace(state, session_id=opened.session_id), self.page.secret: opened.secret}

    def settings(self, session_id: str) -> dict:
        """What the conversation keeps besides what was said; its voice is drawn with the model's voices."""
        page, service = self.page, self.service
        return page.answer.shown(service.settings(session_id)) | {
            page.prompt.text: service.system_prompt(session_id),
            page.video_sound: service.use_video_sound(session_id),
        }

    def conversation(self, texts: Texts) -> Conversation:
        return Conversation(texts, self.service.info.has_talker)

    def before(self, state: PageState, turn: int) -> list[TurnRecord]:
        return [record for record in self.service.transcript(state.session_id) if record.turn < turn]

    def drawn(self, state: PageState, texts: Texts) -> dict:
        """All that is over, unless a reply is being made: that draws itself."""
        page = self.page
        try:
            records = self.service.transcript(state.session_id)
        except SessionGone:
            return {page.timing: gr.skip()}
        if any(record.state == "running" for record in records):
            return {page.timing: gr.skip()}
        return {
            page.chat: self.conversation(texts).of(records),
            page.timing: waterfall_html(last_timings(records), texts),
        }

    def follow(
        self, request: gr.Request, stream: TurnStream, state: PageState, past: Sequence[TurnRecord], sent: Sent
    ) -> Iterator[dict]:
        """Draws a turn that has begun until it is over."""
        # A connection that broke and came back is known again, so that its leaving stops the reply.
        self.pages.hold(request.session_hash, state.session_id)
        follower = Follower(self.service, self.page, self.texts(request))
        yield from self.while_shown(request, state.session_id, follower.follow(stream, state, past, sent))

    def while_shown(self, request: gr.Request, session_id: str, news: Iterator[dict]) -> Iterator[dict]:
        """Ends when the page has turned to another conversation. What was told of this one before may arrive behind
        that and be drawn over it, so the other one is drawn once more, unless it draws itself."""
        for one in news:
            shown = self.pages.shown(request.session_hash)
            if shown != session_id:
                texts = self.texts(request)
                again = self.drawn(PageState(shown or ""), texts)
                if self.page.chat in again:
                    yield again | {self.page.status: status_html(texts("status_ready"))}
                return
            yield one

    def refused(self, error: DemoError, request: gr.Request) -> dict:
        return refused(self.page, self.texts(request), error.code, error.message)

    def failed(self, error: DemoError, state: PageState, request: gr.Request) -> dict:
        """Says why. An expired session has a new one in its place, and what was typed is still there to be sent."""
        if not isinstance(error, SessionGone):
            return self.refused(error, request)
        texts = self.texts(request)
        words = refused(self.page, texts, error.code, texts("session_new"))
        return self.opened(None, state, request) | {self.page.chat: []} | words
