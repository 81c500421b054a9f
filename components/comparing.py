"""What the Voices tab does: cards that choose a voice, and one reply spoken by several; draws what the service says."""

import html
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from app.errors import BadInput, DemoError, SessionGone
from app.service import Service, TurnRecord
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
from components.conversation import Conversation, file_url, status_html
from components.following import Follower
from components.pages import PageState
from components.player import PlayerFeed, stop_value
from components.settings import settings_from
from components.texts import Texts
from components.voices import cards_html
from components.widgets import Page


class Comparing:
    """Outputs are keyed by widget, as in `Handlers`."""

    def __init__(self, service: Service, page: Page) -> None:
        self._service, self._page = service, page

    def use(self, data: Any) -> dict:
        """A card's voice is the one that answers from now on."""
        voice = data.get("voice") if isinstance(data, dict) else None
        radio = self._page.voices.radio
        return {radio: voice if voice in self._service.info.voices else gr.skip()}

    def cards(self, chosen: str | None, texts: Texts) -> str:
        info = self._service.info
        return cards_html(info.voices, chosen, texts) if info.has_talker and info.voices else gr.skip()

    def standings(self, state: PageState, owner: str, texts: Texts) -> str:
        """How the votes stand, for a comparison that is not there yet."""
        if state.compared is not None:
            return gr.skip()
        return standings_html(self._service.standings(owner, state.visitor), texts)

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
                    yield Follower(service, page, texts).refused(event.code, event.message)
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

    def best(self, data: Any, state: PageState, owner: str, texts: Texts) -> dict:
        """Counts the vote, keeps that take and shows the names."""
        page, compared = self._page, state.compared
        column = None if compared is None else read_best(data, len(compared.places))
        if column is None:
            return {page.notice: gr.skip()}
        place = compared.places[column]
        record = self._service.vote(
            state.session_id, compared.turn, compared.places, place, compared.is_blind, owner, state.visitor
        )
        found = self._service.standings(owner, state.visitor)
        shown = verdict_html(record, compared, column, texts) + standings_html(found, texts)
        records = self._service.transcript(state.session_id)
        return {
            page.state: replace(state, compared=None),
            page.showcase.compare.shown: shown,
            page.chat: Conversation(texts).of(records),
            page.notice: "",
        }

    def save(self, state: PageState, owner: str, texts: Texts) -> dict:
        """Offers the votes as a table."""
        path = self._service.votes_csv(state.session_id, owner, state.visitor)
        words = html.escape(texts("compare_csv_ready"))
        link = (
            f'<a href="{html.escape(file_url(path))}?at={path.stat().st_mtime_ns}" download="{path.name}">{words}</a>'
        )
        return {self._page.notice: f'<p role="status">{link}</p>'}

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
        return {page.chat: Conversation(texts).of(records), page.status: status_html(texts("status_ready"))}


def _newest_take(record: TurnRecord, voice: str) -> int | None:
    """Where the last sound of the reply in this voice is among its takes."""
    found = [i for i, take in enumerate(record.takes or (record.take,)) if take.voice == voice and take.wav is not None]
    return found[-1] if found else None
