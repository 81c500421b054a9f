"""What a person does to a turn that is there, by the buttons in the conversation; knows no message that is new."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from app.errors import DemoError
from app.types.turn import TurnInput
from components.comparing import Comparing
from components.deeds import read_deed, word_button
from components.following import Sent
from components.pages import PageState
from components.settings import settings_from
from components.showing import Showing
from components.texts import Texts


class Revising:
    """Inputs come in the order of `Page.deed_asked`."""

    def __init__(self, showing: Showing, comparing: Comparing) -> None:
        self._showing, self._service, self._page = showing, showing.service, showing.page
        self._comparing = comparing

    def deed(
        self,
        event: gr.EventData,
        request: gr.Request,
        compared: list[str],
        is_blind: bool,
        state: PageState,
        text: str | None,
        *values: Any,
    ) -> Iterator[dict]:
        """Does one of `deeds.DEEDS`."""
        page, texts = self._page, self._showing.texts(request)
        found = read_deed(event._data)
        if found is None:
            yield {page.timing: gr.skip()}
            return
        deed, turn, take = found
        _, voice, prompt, *answer = values[len(page.capture.all) :]
        try:
            if deed == "again":
                yield from self._again(request, state, turn, voice, prompt, answer)
            elif deed == "speak":
                yield from self._speak(request, state, turn, voice, answer)
            elif deed == "compare":
                yield from self._comparing.compare(state, turn, compared, is_blind, answer, texts)
            elif deed == "take":
                self._service.choose_take(state.session_id, turn, take)
                yield self._showing.drawn(state, texts)
            elif deed == "edit":
                yield self._edit(state, turn, text or "", texts)
            elif deed == "keep":
                yield {page.state: replace(state, editing=0, draft=""), page.message: state.draft, page.notice: ""}
            elif deed == "take_back":
                yield self._take_back(state, turn, text or "", texts)
            else:
                self._service.show_version(state.session_id, turn)
                yield self._showing.drawn(state, texts) | {page.notice: "", page.state: replace(state, editing=0)}
        except DemoError as error:
            yield self._showing.failed(error, state, request)

    def _again(
        self, request: gr.Request, state: PageState, turn: int, voice: Any, prompt: str, answer: Sequence[Any]
    ) -> Iterator[dict]:
        """Answers once more, with another seed; the words differ where the Thinker samples."""
        settings = replace(settings_from(voice, answer), seed=None)
        records = self._service.transcript(state.session_id)
        message = next((record.sent for record in records if record.turn == turn), None) or TurnInput(())
        stream = self._service.again(state.session_id, turn, settings, None, prompt)
        past = self._showing.before(state, stream.turn)
        yield from self._showing.follow(request, stream, state.begin(stream.turn), past, Sent(message, None))

    def _speak(
        self, request: gr.Request, state: PageState, turn: int, voice: Any, answer: Sequence[Any]
    ) -> Iterator[dict]:
        """Speaks a reply again, in the voice and with the settings that are chosen now."""
        records = self._service.transcript(state.session_id)
        stream = self._service.speak_again(state.session_id, turn, settings_from(voice, answer))
        yield from self._showing.follow(request, stream, state.begin(turn), records, Sent(None, None))

    def _edit(self, state: PageState, turn: int, text: str, texts: Texts) -> dict:
        """Puts a message that was sent into the composer; it is sent in its own place. `text`: what stands there."""
        page, records = self._page, self._service.transcript(state.session_id)
        record = next((record for record in records if record.turn == turn and record.state != "running"), None)
        if record is None:
            return {page.timing: gr.skip()}
        words = html.escape(texts("editing_files" if record.files else "editing"))
        notice = f'<p role="status">{words} {word_button("keep", turn, texts("editing_keep"))}</p>'
        return {
            page.state: replace(state, editing=turn, draft=state.draft if state.editing else text),
            page.message: record.user_text,
            page.notice: notice,
            page.capture.tabs: gr.Tabs(selected="text"),
        }

    def _take_back(self, state: PageState, turn: int, text: str, texts: Texts) -> dict:
        """Takes the newest turn out of the conversation and puts its words into the composer, if that is empty."""
        page = self._page
        record = self._service.take_back(state.session_id, turn)
        news = self._showing.drawn(state, texts) | {page.state: replace(state, editing=0)}
        if record is None:
            return news
        notice = html.escape(texts("taken_back"))
        news[page.notice] = f'<p role="status">{notice} {word_button("version", turn, texts("taken_back_undo"))}</p>'
        return news if text.strip() else news | {page.message: record.user_text}
