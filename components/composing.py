"""What is in the composer before it is sent: an example, files, and what they would cost; sends nothing."""

import html
from typing import Any

import gradio as gr

from app.service import Estimate
from components.examples import Examples, chosen
from components.pages import PageState
from components.refusal import is_complaint
from components.showing import Showing
from components.tabs import turn_input, without
from components.tray import Probe, read_place, tray_html


class Composing:
    def __init__(self, showing: Showing, probe: Probe, examples: Examples) -> None:
        self._showing, self._service, self._page = showing, showing.service, showing.page
        self._probe, self._examples = probe, examples

    def choose(self, event: gr.EventData, request: gr.Request, text: str | None, uploaded: list[str] | None) -> dict:
        """Puts an example into the composer, to be seen and sent by whoever clicked it. A message of one's own that is
        there already stays."""
        page, example = self._page, self._examples.find(chosen(event._data))
        if example is None:
            return {page.message: gr.skip()}
        if text and text.strip() and not self._examples.has(text):
            words = html.escape(self._showing.texts(request)("examples_draft"))
            return {page.notice: f'<p role="status">{words}</p>'}
        files = {page.capture.upload: self._examples.attached(example, uploaded)} if example.files else {}
        return {page.message: example.text} | files

    def take_out(self, event: gr.EventData, notice: str | None, *captured: Any) -> dict:
        """Takes one file out of what is attached."""
        left = without(captured, read_place(event._data))
        changed = zip(self._page.capture.all, captured, left, strict=True)
        news: dict = {widget: value if value != before else gr.skip() for widget, before, value in changed}
        return news | {self._page.notice: self.drop_complaint(notice)}

    def drop_complaint(self, notice: str | None) -> Any:
        """Somebody changed what is attached: what was wrong with it is wrong no more, or is said again."""
        return "" if is_complaint(notice) else gr.skip()

    def look(self, request: gr.Request, state: PageState, *values: Any) -> str:
        """What is attached, and what it would cost."""
        *captured, video_sound = values
        message = turn_input("", captured, video_sound)

        def estimate() -> Estimate | None:
            return self._service.estimate(state.session_id, message) if self._service.ready.is_set() else None

        return tray_html(message, self._probe, estimate, self._showing.texts(request))
