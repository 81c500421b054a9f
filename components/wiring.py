"""What the events of the page call, with which widgets in and out; knows neither where they stand nor what is done."""

import gradio as gr

from app.live.server import LiveServer
from app.service import Service
from components.choosing import Choosing
from components.coming import Coming
from components.comparing import Comparing
from components.composing import Composing
from components.examples import Examples
from components.hearing import Hearing
from components.live_talk import LiveTalk
from components.recalling import Recalling
from components.revising import Revising
from components.sending import Sending
from components.showing import Showing
from components.tray import Probe
from components.widgets import Page

MARK_SUBMIT_JS = "(...values) => { window.omniPlayer && window.omniPlayer.markSubmit(); return values; }"
SUBMIT_JS = """(...values) => {
    window.omniPage.toEnd();
    window.omniPlayer && window.omniPlayer.markSubmit();
    return values;
}"""
SILENCE_JS = "(...values) => { window.omniPlayer && window.omniPlayer.stop(); return values; }"
STOP_JS = """async (...values) => {
    values[0] = window.omniPlayer ? JSON.stringify(await window.omniPlayer.halt()) : '';
    return values;
}"""
READ_SECRET_JS = """(...values) => {
    values[0] = window.omniPage.secret();
    values[1] = window.omniPage.visitor();
    window.omniPage.meet();
    return values;
}"""
KEEP_SECRET_JS = "(secret) => { window.omniPage.keepSecret(secret); }"
TOGGLE_PANEL_JS = "() => { window.omniPage.togglePanel(); }"

# The events are the page's own business. The engine schedules itself, so none of them waits for another tab's.
CALM = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
QUICK = {"show_progress": "hidden", "api_visibility": "private", "queue": False}


def wire(demo: gr.Blocks, page: Page, service: Service, probe: Probe, live: LiveServer, examples: Examples) -> None:
    showing = Showing(service, page)
    comparing = Comparing(showing)
    _wire_coming(demo, page, Coming(showing, live, examples))
    recalling = Recalling(showing, live)
    _wire_sending(page, Sending(showing), recalling)
    _wire_hearing(page, Hearing(showing))
    _wire_live(page, LiveTalk(showing, live))
    _wire_choosing(page, Choosing(showing))
    _wire_composing(page, Composing(showing, probe, examples))
    _wire_recalling(page, recalling)
    _wire_comparing(page, comparing)
    page.deeds.deed(Revising(showing, comparing).deed, page.deed_asked, page.answered, trigger_mode="multiple", **CALM)
    gr.on([button.click for button in page.panel_buttons], None, None, None, js=TOGGLE_PANEL_JS, **QUICK)


def _wire_coming(demo: gr.Blocks, page: Page, coming: Coming) -> None:
    demo.load(coming.open, [page.secret, page.visitor, page.state], page.opened, js=READ_SECRET_JS, **CALM)
    demo.unload(coming.leave)
    page.secret.change(None, page.secret, None, js=KEEP_SECRET_JS, **QUICK)


def _wire_sending(page: Page, sending: Sending, recalling: Recalling) -> None:
    """A second message during a reply must reach the service, which refuses it with a sentence: hence "multiple"."""
    submitting = {
        "fn": sending.submit, "inputs": page.asked, "outputs": page.answered, "js": SUBMIT_JS,
        "trigger_mode": "multiple", **CALM,
    }  # fmt: skip
    gr.on([page.message.submit, page.send.click], **submitting)
    for example in page.examples:
        fill = f"() => document.querySelector('#{example.elem_id}').innerText.trim()"
        example.click(None, None, page.message, js=fill, **QUICK).then(**submitting)
    page.forget.click(sending.forget, page.state, page.answered, **CALM).success(**submitting)
    about = [page.state, page.prompt.text]
    begun = page.clear.click(recalling.begin, about, page.turned, js=SILENCE_JS, **CALM)
    begun.then(recalling.look_back, [page.state, page.past.search], page.past.shown, **CALM)


def _wire_hearing(page: Page, hearing: Hearing) -> None:
    stopped = [page.chat, page.timing, page.notice, page.forget]
    page.stop.click(hearing.stop, [page.told, page.state], stopped, js=STOP_JS, trigger_mode="multiple", **QUICK)
    page.player.report(hearing.report, page.state, [page.chat, page.timing], trigger_mode="multiple", **CALM)


def _wire_live(page: Page, talk: LiveTalk) -> None:
    """Each live turn is drawn by its own event, which runs as long as the turn."""
    asked = page.live_asked
    page.live.ticket(talk.ticket, asked, page.live, trigger_mode="multiple", **CALM)
    page.live.turn(talk.turn, asked, page.answered, trigger_mode="multiple", **CALM)
    page.live.cut(talk.cut, page.state, [page.chat, page.timing], trigger_mode="multiple", **CALM)
    changes = [widget.change for widget in asked[1:]]
    gr.on(changes, talk.change_settings, asked, None, trigger_mode="always_last", **CALM)


def _wire_choosing(page: Page, choosing: Choosing) -> None:
    """Only what a person does is noted: when the page shows the settings of a conversation, its widgets change one by
    one, and what they are together in the meantime was nobody's choice."""
    chosen, showcase = page.chosen, page.showcase
    noting = {"fn": choosing.note_settings, "inputs": [page.state, *chosen], "outputs": None, **CALM}
    # A number that is typed, and the way back to the default, are told when they are done.
    told = [widget.input for widget in chosen]
    told += [widget.release for widget in chosen if isinstance(widget, gr.Slider)]
    gr.on(told, trigger_mode="always_last", **noting)
    used = showcase.cards.use(choosing.use, None, page.voices.radio, **CALM)
    for moved in (page.answer.sound_taken, page.prompt.taken_back, used):
        moved.then(**noting)
    page.voices.radio.change(choosing.cards, page.voices.radio, showcase.cards, **CALM)
    aside = [page.state, showcase.sentence, page.voices.radio, *page.answer.all]
    saying = {"fn": choosing.say, "inputs": aside, "outputs": page.answered, "js": MARK_SUBMIT_JS, **CALM}
    gr.on([showcase.say.click, showcase.sentence.submit], trigger_mode="multiple", **saying)


def _wire_composing(page: Page, composing: Composing) -> None:
    captured, composed = page.capture.all, [page.message, page.capture.upload]
    for listed in (page.welcome, page.asking):
        listed.choose(composing.choose, composed, [*composed, page.notice], trigger_mode="multiple", **CALM)
    left = [*captured, page.notice]
    page.tray.take_out(composing.take_out, [page.notice, *captured], left, trigger_mode="multiple", **CALM)
    upload = page.capture.upload
    mending = [upload.upload, upload.clear, upload.delete]
    gr.on(mending, composing.drop_complaint, page.notice, page.notice, trigger_mode="multiple", **CALM)
    changes = [widget.change for widget in [*captured, page.video_sound]]
    looked_at = [page.state, *captured, page.video_sound]
    gr.on(changes, composing.look, looked_at, page.tray, trigger_mode="always_last", **CALM)


def _wire_recalling(page: Page, recalling: Recalling) -> None:
    past, looking = page.past, [page.state, page.past.search]
    gr.on([past.tab.select, past.search.change], recalling.look_back, looking, past.shown, **CALM)
    past.shown.pick(recalling.pick, looking, [*page.turned, past.shown], trigger_mode="multiple", **CALM)
    page.export.click(recalling.export, page.state, page.answered, **CALM)
    page.taken_in.upload(recalling.take_in, [page.taken_in, page.state], page.turned, js=SILENCE_JS, **CALM)


def _wire_comparing(page: Page, comparing: Comparing) -> None:
    compare = page.showcase.compare
    page.voices_tab.select(comparing.standings, page.state, compare.shown, **CALM)
    asked = [page.state, compare.voices, compare.blind, *page.answer.all]
    started = {"js": SILENCE_JS, "trigger_mode": "multiple", **CALM}
    compare.start.click(comparing.compare_newest, asked, page.answered, **started)
    compare.shown.best(comparing.best, page.state, page.answered, trigger_mode="multiple", **CALM)
    compare.shown.save(comparing.save, page.state, page.answered, **CALM)
