"""One reply is spoken by several voices and one of them is liked best; knows not how the columns look."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from app.errors import BadInput, DemoError, SessionGone
from app.service import TurnRecord
from app.types.events import TERMINAL, TurnFailed, TurnFinished
from components.compare import (
    FEWEST,
    MOST,
    Compared,
    compare_html,
    making_html,
    read_best,
    standings_html,
    verdict_html,
)
from components.conversation import download_html, status_html
from components.pages import PageState
from components.player import PlayerFeed, stop_value
from components.refusal import refused
from components.settings import settings_from
from components.showing import Showing
from components.texts import Texts


class Comparing:
    def __init__(self, showing: Showing) -> None:
        self._showing, self._service, self._page = showing, showing.service, showing.page

    def standings(self, state: PageState, request: gr.Request) -> Any:
        """How the votes stand, for a comparison that is not there yet."""
        if state.compared is not None:
            return gr.skip()
        try:
            found = self._service.standings(request.username or "", state.visitor)
        except DemoError:
            return gr.skip()
        return standings_html(found, self._showing.texts(request))

    def compare_newest(
        self, request: gr.Request, state: PageState, voices: list[str], is_blind: bool, *answer: Any
    ) -> Iterator[dict]:
        """The newest reply in several voices."""
        self._showing.pages.hold(request.session_hash, state.session_id)
        try:
            yield from self.compare(state, 0, voices, is_blind, answer, self._showing.texts(request))
        except DemoError as error:
            yield self._showing.failed(error, state, request)

    def compare(
        self, state: PageState, turn: int, voices: Sequence[str], is_blind: bool, answer: Sequence[Any], texts: Texts
    ) -> Iterator[dict]:
        """Has a reply spoken by those of `voices` that have not spoken it yet, then shows them side by side. `turn` 0:
        the newest one. Raises `DemoError`."""
        page, service = self._page, self._service
        if not FEWEST <= len(voices) <= MOST:
            raise BadInput(texts("compare_few"))
        record = self._record(state, turn)
        if record is None:
            raise BadInput(texts("compare_none"))
        was_kept = record.wav
        missing = [voice for voice in voices if _newest_take(record, voice) is None]
        for number, voice in enumerate(missing, 1):
            stream = service.speak_again(state.session_id, record.turn, settings_from(voice, answer))
            # A Stop must know which turn it stops, as when a reply is heard while it is made.
            state = replace(state.begin(record.turn), compared=None)
            feed = PlayerFeed(state.generation)
            yield {
                page.state: state,
                page.player: feed.begin(),
                page.notice: "",
                page.panel_tabs: gr.Tabs(selected="voices"),
                page.showcase.compare.shown: making_html(voice, number, len(missing), texts),
                page.status: status_html(texts("status_speaking"), is_busy=True),
            }
            event = stream.get(None)
            while not isinstance(event, TERMINAL):
                event = stream.get(None)
            yield {page.player: feed.end() if isinstance(event, TurnFinished) else stop_value(state.generation)}
            if not isinstance(event, TurnFinished):
                yield self._settled(state, record.turn, was_kept, texts) | {page.showcase.compare.shown: ""}
                if isinstance(event, TurnFailed):
                    yield refused(page, texts, event.code, event.message)
                return
        news = self._settled(state, record.turn, was_kept, texts)
        record = self._record(state, record.turn)
        if record is None:
            yield news | {page.showcase.compare.shown: ""}
            return
        # One that has only its first sound has no takes; the two that are compared are there by now.
        places = [_newest_take(record, voice) for voice in voices]
        if None in places:
            raise BadInput(texts("compare_gone"))
        if is_blind:
            random.shuffle(places)
        compared = Compared(record.turn, tuple(places), is_blind)
        yield news | {
            page.state: replace(state, compared=compared),
            page.panel_tabs: gr.Tabs(selected="voices"),
            page.showcase.compare.shown: compare_html(record, compared, texts),
        }

    def best(self, event: gr.EventData, state: PageState, request: gr.Request) -> dict:
        """Counts the vote, keeps that take and shows the names."""
        page, compared, owner = self._page, state.compared, request.username or ""
        column = None if compared is None else read_best(event._data, len(compared.places))
        if column is None:
            return {page.notice: gr.skip()}
        place = compared.places[column]
        try:
            record = self._service.vote(
                state.session_id, compared.turn, compared.places, place, compared.is_blind, owner, state.visitor
            )
            found = self._service.standings(owner, state.visitor)
            records = self._service.transcript(state.session_id)
        except DemoError as error:
            return self._showing.failed(error, state, request)
        texts = self._showing.texts(request)
        return {
            page.state: replace(state, compared=None),
            page.showcase.compare.shown: verdict_html(record, compared, column, texts) + standings_html(found, texts),
            page.chat: self._showing.conversation(texts).of(records),
            page.notice: "",
        }

    def save(self, state: PageState, request: gr.Request) -> dict:
        """Offers the votes as a table."""
        try:
            path = self._service.votes_csv(state.session_id, request.username or "", state.visitor)
        except DemoError as error:
            return self._showing.failed(error, state, request)
        words = self._showing.texts(request)("compare_csv_ready")
        return {self._page.notice: f'<p role="status">{download_html(path, words)}</p>'}

    def _record(self, state: PageState, turn: int) -> TurnRecord | None:
        records = [record for record in self._service.transcript(state.session_id) if record.reply_text.strip()]
        return next((record for record in reversed(records) if turn in (0, record.turn)), None)

    def _settled(self, state: PageState, turn: int, was_kept: Any, texts: Texts) -> dict:
        """The conversation keeps the sound that it had."""
        page, service = self._page, self._service
        try:
            record = self._record(state, turn)
            place = next((i for i, take in enumerate(record.takes if record else ()) if take.wav == was_kept), None)
            if place is not None:
                service.choose_take(state.session_id, turn, place)
            records = service.transcript(state.session_id)
        except SessionGone:
            records = ()
        except DemoError:
            # Something else is being said by now, and that draws itself.
            return {page.timing: gr.skip()}
        return {
            page.chat: self._showing.conversation(texts).of(records),
            page.status: status_html(texts("status_ready")),
        }


def _newest_take(record: TurnRecord, voice: str) -> int | None:
    """Where the last sound of the reply in this voice is among its takes."""
    found = [i for i, take in enumerate(record.takes or (record.take,)) if take.voice == voice and take.wav is not None]
    return found[-1] if found else None
