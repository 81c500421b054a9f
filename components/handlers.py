"""What happens when somebody comes, sends, stops, clears or leaves: calls the service and draws what it answers.

Holds no conversation: of each open page only which session it shows.
"""

import html
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from app.errors import DemoError, SessionGone
from app.live.server import PATH, LiveServer
from app.service import CheckpointInfo, Estimate, Opened, Service, TurnRecord
from app.types.turn import TurnInput
from components.comparing import Comparing
from components.conversation import Conversation, file_url, last_timings, status_html
from components.deeds import read_deed, word_button
from components.examples import Examples, chosen, examples_html
from components.following import Follower, Sent
from components.live import read_turn, refusal_value, ticket_value
from components.pages import OpenPages, PageState
from components.past import past_html, read_pick
from components.player import PlaybackReport, read_report, read_told, stop_value
from components.settings import settings_from
from components.tabs import turn_input, without
from components.texts import Texts, texts_for
from components.tray import Probe, read_place, tray_html
from components.voices import voice_among
from components.waterfall import waterfall_html
from components.widgets import Page

LOOK_S = 0.25


class Handlers:
    """The page's event handlers. Inputs come in the order of `Page.asked`; outputs are keyed by widget."""

    def __init__(self, service: Service, probe: Probe, live: LiveServer, page: Page, examples: Examples) -> None:
        self._service, self._probe, self._live, self._page, self._examples = service, probe, live, page, examples
        self._pages = OpenPages()
        self._comparing = Comparing(service, page)
        self._first_settings = service.default_settings

    # -- coming and leaving ------------------------------------------------------------------------------------------

    def open(self, secret: str | None, visitor: str | None, state: PageState, request: gr.Request) -> Iterator[dict]:
        """A page came: its old conversation or a new one, then the news of the model until it is there."""
        page, service, texts = self._page, self._service, _texts(request)
        try:
            news = self._opened(secret or None, replace(state, visitor=visitor or ""), request)
        except DemoError as error:
            yield {page.banner: bad_banner(error.message)}
            return
        session_id = news[page.state].session_id
        records = service.transcript(session_id)
        # Asked before the news is gathered: a model that is ready a moment later is told of in the next news.
        was_ready = service.ready.is_set()
        yield news | {
            page.chat: Conversation(texts).of(records),
            page.timing: waterfall_html(last_timings(records), texts),
            page.status: status_html(texts("status_ready")),
            **self._model_news(texts, session_id),
            **self._settings_news(session_id),
        }
        if was_ready:
            return
        shown: Any = None
        while not service.ready.wait(LOOK_S):
            if shown != (shown := service.loading()):
                yield {page.banner: self._banner(texts)}
        # Another conversation may have been opened meanwhile.
        with suppress(SessionGone):
            yield self._model_news(texts, self._pages.shown(request.session_hash) or session_id)

    def leave(self, request: gr.Request) -> None:
        session_id = self._pages.let_go(request.session_hash)
        if session_id is not None:
            self._live.leave(session_id)
            self._service.leave(session_id)

    def _opened(self, secret: str | None, state: PageState, request: gr.Request) -> dict:
        opened = self._service.open(secret, request.username or "", state.visitor)
        previous = self._pages.hold(request.session_hash, opened.session_id)
        if previous is not None and previous != opened.session_id:
            self._service.leave(previous)
        return {self._page.state: replace(state, session_id=opened.session_id), self._page.secret: opened.secret}

    def _settings_news(self, session_id: str) -> dict:
        """What the conversation keeps besides what was said; its voice is the model's news too."""
        page, service = self._page, self._service
        return page.answer.shown(service.settings(session_id)) | {page.prompt.text: service.system_prompt(session_id)}

    def _model_news(self, texts: Texts, session_id: str) -> dict:
        page, service = self._page, self._service
        is_loaded, info, settings = service.ready.is_set(), service.info, service.settings(session_id)
        voices = page.voices.update(info.voices if info.has_talker else (), settings.voice, is_loaded, texts)
        news = {page.model: model_html(info, texts), page.banner: self._banner(texts)}
        news |= dict(zip(page.voices.outputs, voices, strict=True))
        shown = page.showcase.update(info.voices if info.has_talker else (), settings.voice, is_loaded, texts)
        news |= dict(zip(page.showcase.outputs, shown, strict=True))
        shown = examples_html(self._examples, texts) if info.is_micro else ""
        news |= {page.welcome: shown, page.asking: shown, page.examples_tab: gr.Tab(visible=info.is_micro)}
        if service.default_settings != self._first_settings:
            news |= page.answer.shown_of_checkpoint(settings)
        return news

    def _banner(self, texts: Texts) -> str:
        service = self._service
        if not service.ready.is_set():
            stage, share = service.loading()
            percent = round(100 * share)
            words = html.escape(texts("loading", stage=stage, percent=percent))
            bar = f'<progress max="100" value="{percent}"></progress>'
            return f'<div class="banner loading" role="status"><span>{words}</span>{bar}</div>'
        if service.failure is not None:
            return bad_banner(texts("load_failed", message=service.failure.message))
        if service.info.is_random:
            words = texts("banner_random")
        elif service.info.is_micro:
            words = texts("banner_micro")
        else:
            return ""
        return f'<div class="banner" role="note"><span>{words}</span></div>'

    # -- a turn ------------------------------------------------------------------------------------------------------

    def submit(self, request: gr.Request, state: PageState, text: str | None, *values: Any) -> Iterator[dict]:
        """Sends the message and draws its answer while it is made."""
        page, texts = self._page, _texts(request)
        follower = Follower(self._service, page, texts)
        captured, rest = values[: len(page.capture.all)], values[len(page.capture.all) :]
        video_sound, voice, prompt, *answer = rest
        sent = Sent(turn_input(text or "", captured, video_sound), (text, *captured))
        try:
            settings = settings_from(voice, answer)
            self._service.note_settings(state.session_id, settings, prompt)
            if state.editing:
                stream = self._service.again(state.session_id, state.editing, settings, sent.message, prompt)
            else:
                stream = self._service.submit(state.session_id, sent.message, settings, prompt)
            past = self._before(state, stream.turn)
        except SessionGone:
            yield self._begun_anew(state, request)
        except DemoError as error:
            yield follower.refused(error.code, error.message)
        else:
            # A connection that broke and came back is known again, so that its leaving stops the reply.
            self._pages.hold(request.session_hash, state.session_id)
            yield from follower.follow(stream, state.begin(stream.turn), past, sent)

    def _before(self, state: PageState, turn: int) -> list[TurnRecord]:
        return [record for record in self._service.transcript(state.session_id) if record.turn < turn]

    # -- a turn that is there already --------------------------------------------------------------------------------

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
        """What a person does to a turn by the buttons in the conversation."""
        page, texts = self._page, _texts(request)
        found = read_deed(event._data)
        if found is None:
            yield {page.timing: gr.skip()}
            return
        deed, turn, take = found
        try:
            if deed == "again":
                yield from self._again(request, state, turn, values[len(page.capture.all) :])
            elif deed == "speak":
                yield from self._speak(request, state, turn, values[len(page.capture.all) :])
            elif deed == "compare":
                answer = values[len(page.capture.all) + 3 :]
                yield from self._comparing.compare(state, turn, compared, is_blind, answer, texts)
            elif deed == "take":
                self._service.choose_take(state.session_id, turn, take)
                yield self._drawn(state, texts)
            elif deed == "edit":
                yield self._edit(state, turn, texts)
            elif deed == "keep":
                yield {page.state: replace(state, editing=0), page.message: "", page.notice: ""}
            elif deed == "take_back":
                yield self._take_back(state, turn, text or "", texts)
            else:
                self._service.show_version(state.session_id, turn)
                yield self._drawn(state, texts) | {page.notice: "", page.state: replace(state, editing=0)}
        except SessionGone:
            yield self._begun_anew(state, request)
        except DemoError as error:
            yield Follower(self._service, page, texts).refused(error.code, error.message)

    def _again(self, request: gr.Request, state: PageState, turn: int, about: Sequence[Any]) -> Iterator[dict]:
        """Answers once more, with another seed; the words differ where the Thinker samples."""
        _, voice, prompt, *answer = about
        settings = replace(settings_from(voice, answer), seed=None)
        records = self._service.transcript(state.session_id)
        message = next((record.sent for record in records if record.turn == turn), None) or TurnInput(())
        stream = self._service.again(state.session_id, turn, settings, None, prompt)
        past = self._before(state, stream.turn)
        self._pages.hold(request.session_hash, state.session_id)
        follower = Follower(self._service, self._page, _texts(request))
        yield from follower.follow(stream, state.begin(stream.turn), past, Sent(message, None))

    def _speak(self, request: gr.Request, state: PageState, turn: int, about: Sequence[Any]) -> Iterator[dict]:
        """Speaks a reply again, in the voice and with the settings that are chosen now."""
        _, voice, _, *answer = about
        records = self._service.transcript(state.session_id)
        stream = self._service.speak_again(state.session_id, turn, settings_from(voice, answer))
        self._pages.hold(request.session_hash, state.session_id)
        follower = Follower(self._service, self._page, _texts(request))
        yield from follower.follow(stream, state.begin(turn), records, Sent(None, None))

    def say(self, request: gr.Request, state: PageState, text: str | None, voice: Any, *answer: Any) -> Iterator[dict]:
        """Speaks a sentence of one's own in the chosen voice."""
        follower = Follower(self._service, self._page, _texts(request))
        try:
            stream = self._service.speak_aside(state.session_id, text or "", settings_from(voice, answer))
            records = self._service.transcript(state.session_id)
        except SessionGone:
            yield self._begun_anew(state, request)
        except DemoError as error:
            yield follower.refused(error.code, error.message)
        else:
            self._pages.hold(request.session_hash, state.session_id)
            yield from follower.follow(stream, state.begin(stream.turn), records, Sent(None, None))

    # -- voices --------------------------------------------------------------------------------------------------------

    def use(self, event: gr.EventData) -> dict:
        return self._comparing.use(event._data)

    def cards(self, chosen: str | None, request: gr.Request) -> Any:
        return self._comparing.cards(chosen, _texts(request))

    def standings(self, state: PageState, request: gr.Request) -> Any:
        try:
            return self._comparing.standings(state, request.username or "", _texts(request))
        except DemoError:
            return gr.skip()

    def compare(
        self, request: gr.Request, state: PageState, voices: list[str], is_blind: bool, *answer: Any
    ) -> Iterator[dict]:
        """The newest reply in several voices."""
        texts = _texts(request)
        self._pages.hold(request.session_hash, state.session_id)
        try:
            yield from self._comparing.compare(state, 0, voices, is_blind, answer, texts)
        except SessionGone:
            yield self._begun_anew(state, request)
        except DemoError as error:
            yield Follower(self._service, self._page, texts).refused(error.code, error.message)

    def best(self, event: gr.EventData, state: PageState, request: gr.Request) -> dict:
        return self._voted(lambda owner, texts: self._comparing.best(event._data, state, owner, texts), state, request)

    def save(self, state: PageState, request: gr.Request) -> dict:
        return self._voted(lambda owner, texts: self._comparing.save(state, owner, texts), state, request)

    def _voted(self, do: Callable[[str, Texts], dict], state: PageState, request: gr.Request) -> dict:
        texts = _texts(request)
        try:
            return do(request.username or "", texts)
        except SessionGone:
            return self._begun_anew(state, request)
        except DemoError as error:
            return Follower(self._service, self._page, texts).refused(error.code, error.message)

    def _edit(self, state: PageState, turn: int, texts: Texts) -> dict:
        """Puts a message that was sent into the composer; it is sent in its own place."""
        page, records = self._page, self._service.transcript(state.session_id)
        record = next((record for record in records if record.turn == turn and record.state != "running"), None)
        if record is None:
            return {page.timing: gr.skip()}
        words = html.escape(texts("editing_files" if record.files else "editing"))
        notice = f'<p role="status">{words} {word_button("keep", turn, texts("editing_keep"))}</p>'
        return {
            page.state: replace(state, editing=turn),
            page.message: record.user_text,
            page.notice: notice,
            page.capture.tabs: gr.Tabs(selected="text"),
        }

    def _take_back(self, state: PageState, turn: int, text: str, texts: Texts) -> dict:
        """Takes the newest turn out of the conversation and puts its words into the composer, if that is empty."""
        page = self._page
        record = self._service.take_back(state.session_id, turn)
        news = self._drawn(state, texts) | {page.state: replace(state, editing=0)}
        if record is None:
            return news
        notice = html.escape(texts("taken_back"))
        news[page.notice] = f'<p role="status">{notice} {word_button("version", turn, texts("taken_back_undo"))}</p>'
        return news if text.strip() else news | {page.message: record.user_text}

    def stop(self, told: str, state: PageState, request: gr.Request) -> dict:
        """Ends what is being said, cut to what was heard of it. `told`: the player's last report."""
        texts, report = _texts(request), read_told(told)
        try:
            if report is None:
                # Nobody knows what was heard: what was made stays.
                self._service.interrupt(state.session_id)
            else:
                self._note_playback(state, report)
                turn = dict(state.turns).get(report.generation, 0)
                self._service.stop(state.session_id, turn, report.played_samples)
        except SessionGone:
            return {self._page.timing: gr.skip()}
        except DemoError as error:
            return Follower(self._service, self._page, texts).refused(error.code, error.message)
        return self._drawn(state, texts)

    def export(self, state: PageState, request: gr.Request) -> dict:
        """Offers the conversation as a zip."""
        page, texts = self._page, _texts(request)
        try:
            path = self._service.export(state.session_id)
        except SessionGone:
            return self._begun_anew(state, request)
        except DemoError as error:
            return Follower(self._service, page, texts).refused(error.code, error.message)
        url, size = html.escape(file_url(path)), texts.memory(path.stat().st_size)
        words = html.escape(texts("export_ready", size=size))
        # A browser that has an older one would not ask again.
        link = f'<a href="{url}?at={path.stat().st_mtime_ns}" download="{path.name}">{words}</a>'
        return {page.notice: f'<p role="status">{link}</p>'}

    def take_in(self, path: str | None, state: PageState, request: gr.Request) -> dict:
        """Goes on with an exported conversation; the one that was on the page ends."""
        page, texts = self._page, _texts(request)
        if not path:
            return {page.notice: gr.skip()}
        try:
            opened = self._service.take_in(Path(path), request.username or "", state.visitor)
        except DemoError as error:
            return Follower(self._service, page, texts).refused(error.code, error.message)
        notice = f'<p role="status">{html.escape(texts("imported"))}</p>'
        return self._turned_to(opened, state, request) | {page.notice: notice}

    def _turned_to(self, opened: Opened, state: PageState, request: gr.Request) -> dict:
        """The page shows another conversation from now on; the one before is left."""
        page, texts = self._page, _texts(request)
        previous = self._pages.hold(request.session_hash, opened.session_id)
        if previous is not None and previous != opened.session_id:
            self._live.leave(previous)
            self._service.leave(previous)
        voice = voice_among(self._service.info.voices, self._service.settings(opened.session_id).voice)
        now = replace(
            state, session_id=opened.session_id, generation=state.generation + 1, turns=(), editing=0, compared=None
        )
        return (
            self._drawn(now, texts)
            | self._settings_news(opened.session_id)
            | {
                page.voices.radio: voice or gr.skip(),
                page.state: now,
                page.secret: opened.secret,
                page.player: stop_value(now.generation),
                page.status: status_html(texts("status_ready")),
                page.notice: "",
                page.showcase.compare.shown: "",
            }
        )

    # -- conversations of another day --------------------------------------------------------------------------------

    def look_back(self, state: PageState, words: str | None, request: gr.Request) -> str:
        """The list of conversations."""
        texts = _texts(request)
        try:
            listed = self._service.listed(request.username or "", state.visitor, words or "")
        except DemoError as error:
            return f'<p class="past-none" role="alert">{html.escape(error.message)}</p>'
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
            news = Follower(self._service, page, _texts(request)).refused(error.code, error.message)
        return news | {page.past.shown: self.look_back(news.get(page.state, state), words, request)}

    def forget(self, state: PageState, request: gr.Request) -> dict:
        """Drops the older half of what the model remembers; the message is sent again after it."""
        page, texts = self._page, _texts(request)
        try:
            records = self._service.transcript(state.session_id)
            num_turns = sum(record.state == "done" or bool(record.reply_text) for record in records)
            self._service.drop_oldest(state.session_id, max(1, (num_turns + 1) // 2))
            records = self._service.transcript(state.session_id)
        except SessionGone:
            return self._begun_anew(state, request)
        except DemoError as error:
            return Follower(self._service, page, texts).refused(error.code, error.message)
        return {
            page.notice: f'<p role="status">{html.escape(texts("dropped"))}</p>',
            page.forget: gr.update(visible=False),
            page.chat: Conversation(texts).of(records),
        }

    def clear(self, state: PageState, prompt: str, request: gr.Request) -> dict:
        page, texts = self._page, _texts(request)
        silent = replace(state, generation=state.generation + 1, editing=0, compared=None)
        try:
            self._service.reset(state.session_id, prompt)
        except SessionGone:
            return self._begun_anew(silent, request)
        except DemoError as error:
            return Follower(self._service, page, texts).refused(error.code, error.message)
        return {
            page.state: silent,
            page.player: stop_value(silent.generation),
            page.chat: [],
            page.status: status_html(texts("status_ready")),
            page.timing: waterfall_html({}, texts),
            page.notice: "",
            page.showcase.compare.shown: "",
            page.forget: gr.update(visible=False),
        }

    def _begun_anew(self, state: PageState, request: gr.Request) -> dict:
        """The session expired: a new one takes its place, and what was typed is still there to be sent."""
        texts = _texts(request)
        refused = Follower(self._service, self._page, texts).refused("session_gone", texts("session_new"))
        return self._opened(None, state, request) | {self._page.chat: []} | refused

    def note_settings(self, state: PageState, voice: Any, prompt: str, *answer: Any) -> None:
        """What a person chose is kept with the conversation."""
        with suppress(DemoError):
            self._service.note_settings(state.session_id, settings_from(voice, answer), prompt)

    # -- a live conversation -------------------------------------------------------------------------------------------

    def ticket(self, request: gr.Request, state: PageState, voice: Any, prompt: str, *answer: Any) -> str:
        """Lets this page's browser in to the live socket."""
        try:
            self._service.transcript(state.session_id)
            settings = settings_from(voice, answer)
        except DemoError as error:
            return refusal_value(error.message)
        self._pages.hold(request.session_hash, state.session_id)
        return ticket_value(PATH, self._live.mint(state.session_id, settings, prompt))

    def live_settings(self, state: PageState, voice: Any, prompt: str, *answer: Any) -> None:
        """What was changed holds from the next live turn on."""
        with suppress(DemoError):
            self._live.update(state.session_id, settings_from(voice, answer), prompt)

    def live_turn(
        self, event: gr.EventData, request: gr.Request, state: PageState, voice: Any, prompt: str, *answer: Any
    ) -> Iterator[dict]:
        """Draws the answer to what was said live, while it is made."""
        turn = read_turn(event._data)
        stream = None if turn is None else self._live.take_stream(state.session_id, turn)
        if stream is None:
            yield {self._page.notice: gr.skip()}
            return
        self.live_settings(state, voice, prompt, *answer)
        self.note_settings(state, voice, prompt, *answer)
        past = [record for record in self._service.transcript(state.session_id) if record.turn < turn]
        follower = Follower(self._service, self._page, _texts(request))
        yield from follower.follow(stream, state.begin(turn), past, Sent(TurnInput(()), None), is_live=True)

    def live_cut(self, request: gr.Request, state: PageState) -> dict:
        """A finished reply was spoken over: its record is shorter now."""
        page, texts = self._page, _texts(request)
        try:
            records = self._service.transcript(state.session_id)
        except DemoError:
            return {page.timing: gr.skip()}
        return {page.chat: Conversation(texts).of(records), page.timing: waterfall_html(last_timings(records), texts)}

    # -- what is being composed ----------------------------------------------------------------------------------------

    def choose(self, event: gr.EventData, uploaded: list[str] | None) -> dict:
        """Puts an example into the composer, to be seen and sent by whoever clicked it."""
        page, example = self._page, self._examples.find(chosen(event._data))
        if example is None:
            return {page.message: gr.skip()}
        files = {page.capture.upload: self._examples.attached(example, uploaded)} if example.files else {}
        return {page.message: example.text} | files

    def take_out(self, event: gr.EventData, *captured: Any) -> dict:
        """Takes one file out of what is attached."""
        left = without(captured, read_place(event._data))
        changed = zip(self._page.capture.all, captured, left, strict=True)
        return {widget: value if value != before else gr.skip() for widget, before, value in changed}

    def look(self, request: gr.Request, state: PageState, *values: Any) -> str:
        """What is attached, and what it would cost."""
        *captured, video_sound = values
        message = turn_input("", captured, video_sound)

        def estimate() -> Estimate | None:
            return self._service.estimate(state.session_id, message) if self._service.ready.is_set() else None

        return tray_html(message, self._probe, estimate, _texts(request))

    # -- what the browser tells ----------------------------------------------------------------------------------------

    def report(self, event: gr.EventData, state: PageState, request: gr.Request) -> dict:
        """The browser tells what it played; it goes into the turn's waterfall."""
        report = read_report(event._data)
        try:
            if report is not None and self._note_playback(state, report):
                return self._drawn(state, _texts(request))
        except DemoError:
            pass
        return {self._page.timing: gr.skip()}

    def _note_playback(self, state: PageState, report: PlaybackReport) -> bool:
        """False where it is of no reply of this page."""
        turn = dict(state.turns).get(report.generation)
        if turn is None or report.first_packet_epoch_ms is None:
            return False
        first_sound_s = report.first_sound_after_submit_s
        self._service.report_playback(
            state.session_id, turn, first_sound_s, report.num_underruns, report.played_samples
        )
        return True

    def _drawn(self, state: PageState, texts: Texts) -> dict:
        """All that is over, unless a reply is being made: that draws itself."""
        page = self._page
        try:
            records = self._service.transcript(state.session_id)
        except SessionGone:
            return {page.timing: gr.skip()}
        if any(record.state == "running" for record in records):
            return {page.timing: gr.skip()}
        return {page.chat: Conversation(texts).of(records), page.timing: waterfall_html(last_timings(records), texts)}


def bad_banner(words: str) -> str:
    return f'<div class="banner bad" role="alert"><span>{html.escape(words)}</span></div>'


def model_html(info: CheckpointInfo, texts: Texts) -> str:
    """Checkpoint, device, dtype and attention in one line."""
    facts = [info.device, info.dtype, info.attention, "" if info.has_talker else texts("no_talker")]
    pills = "".join(f"<span>{html.escape(fact)}</span>" for fact in facts if fact and fact != "auto")
    name = html.escape(info.name)
    return f'<p aria-label="{html.escape(texts("model_line"))}" title="{name}"><b>{name}</b>{pills}</p>'


def _texts(request: gr.Request) -> Texts:
    return texts_for(request.headers.get("accept-language", ""))
