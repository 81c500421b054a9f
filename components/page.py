"""The page: where the widgets stand and what their events call; knows no conversation."""

import gradio as gr

from app.live.server import LiveServer
from app.service import Service
from components.deeds import build_deeds
from components.examples import Examples, build_examples, load_examples
from components.handlers import Handlers
from components.pages import PageState
from components.past import build_past
from components.player import build_player
from components.settings import build_advanced, build_sound, build_speak, build_system_prompt, build_video_sound
from components.tabs import build_tabs
from components.texts import i18n
from components.tray import Probe, build_tray
from components.uploads import UploadsOnly
from components.voices import build_showcase, build_voices
from components.widgets import Page

EXAMPLES = ("example_hello", "example_story", "example_recipe", "example_poem")
MARK_SUBMIT_JS = "(...values) => { window.omniPlayer && window.omniPlayer.markSubmit(); return values; }"
SILENCE_JS = "(...values) => { window.omniPlayer && window.omniPlayer.stop(); return values; }"
STOP_JS = """async (...values) => {
    values[0] = window.omniPlayer ? JSON.stringify(await window.omniPlayer.halt()) : '';
    return values;
}"""
READ_SECRET_JS = """(...values) => {
    values[0] = window.omniPage.secret();
    values[1] = window.omniPage.visitor();
    window.omniPage.tellPanel();
    return values;
}"""
KEEP_SECRET_JS = "(secret) => { window.omniPage.keepSecret(secret); }"
TOGGLE_PANEL_JS = "() => { window.omniPage.togglePanel(); }"

# The events are the page's own business. The engine schedules itself, so none of them waits for another tab's.
# Looked through once an hour, kept for a day: a session has its own copies, but a message may wait to be sent.
UPLOADS_KEPT_S = (3600, 86400)
CALM = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
QUICK = {"show_progress": "hidden", "api_visibility": "private", "queue": False}


def build_page(service: Service, probe: Probe, live: LiveServer, examples: Examples | None = None) -> gr.Blocks:
    """All of the page. Theme, style and scripts belong to `launch()`: see `components.style`.

    `live`: whose route the server serves too. `examples`: what is offered of a micro checkpoint; the shipped ones by
    default.
    """
    with UploadsOnly(
        title="Talk with Qwen2.5-Omni",
        fill_height=True,
        fill_width=True,
        analytics_enabled=False,
        delete_cache=UPLOADS_KEPT_S,
    ) as demo:
        page = build_widgets(service)
        wire(demo, page, Handlers(service, probe, live, page, examples or load_examples()))
    return demo


def build_widgets(service: Service) -> Page:
    state = gr.State(PageState())
    secret = gr.Textbox(visible="hidden", elem_id="secret")
    visitor = gr.Textbox(visible="hidden", elem_id="visitor")
    told = gr.Textbox(visible="hidden", elem_id="told")
    with gr.Row(elem_id="top"):
        gr.HTML(i18n("title"), elem_id="title", html_template="<h1>${value}</h1>", apply_default_css=False)
        model = _line("model")
        clear = gr.Button(i18n("clear"), size="sm", elem_id="clear")
        panel_button = gr.Button(i18n("tab_settings"), size="sm", elem_id="panel-button")
    banner = _line("banner")
    with gr.Row(elem_id="body"):
        with gr.Column(elem_id="talk", scale=1):
            with gr.Column(elem_id="stage"):
                chat = _build_chat()
                deeds = build_deeds()
                with gr.Row(elem_id="examples"):
                    examples = [gr.Button(i18n(key), size="sm", elem_id=key.replace("_", "-")) for key in EXAMPLES]
                welcome = build_examples("welcome")
            with gr.Row(elem_id="strip"):
                status = _line("status")
                player = build_player()
            with gr.Row(elem_id="complaint"):
                notice = _line("notice")
                forget = gr.Button(i18n("forget"), size="sm", variant="primary", visible=False, elem_id="forget")
            with gr.Column(elem_id="composer"):
                capture = build_tabs()
                tray = build_tray()
                with gr.Row(elem_id="line"):
                    message = _build_message()
                    send = gr.Button(i18n("send"), variant="primary", elem_id="send", min_width=92, scale=0)
                    stop = gr.Button(i18n("stop"), variant="stop", elem_id="stop", min_width=92, scale=0)
        with gr.Column(elem_id="panel", scale=0, min_width=320), gr.Tabs(elem_id="panel-tabs") as panel_tabs:
            with gr.Tab(i18n("tab_settings"), id="settings", elem_id="panel-settings"):
                voices = build_voices(service.preview)
                speak = build_speak()
                sound = build_sound(service.default_settings)
                video_sound = build_video_sound()
                prompt = build_system_prompt(service.default_system_prompt)
                answer = build_advanced(speak, sound, service.default_settings)
                with gr.Row(elem_id="carry"):
                    export = gr.Button(i18n("export"), size="sm", elem_id="export")
                    taken_in = gr.UploadButton(
                        i18n("import"), size="sm", file_types=[".zip"], type="filepath", elem_id="import"
                    )
            with gr.Tab(i18n("tab_voices"), id="voices", elem_id="panel-voices", render_children=True) as voices_tab:
                showcase = build_showcase(service.preview)
            with gr.Tab(
                i18n("tab_examples"), id="examples", elem_id="panel-examples", visible=False, render_children=True
            ) as examples_tab:
                asking = build_examples("asking")
            past = build_past()
            with gr.Tab(i18n("tab_timing"), id="timing", elem_id="panel-timing", render_children=True):
                timing = gr.HTML(i18n("timing_empty"), elem_id="timing", apply_default_css=False)
    return Page(
        state=state, secret=secret, told=told, deeds=deeds, model=model, banner=banner, chat=chat, player=player,
        status=status, notice=notice, forget=forget, tray=tray, message=message, send=send, stop=stop, clear=clear,
        panel_button=panel_button, examples=examples, welcome=welcome, asking=asking, examples_tab=examples_tab,
        capture=capture, timing=timing, live=capture.live, panel_tabs=panel_tabs, voices_tab=voices_tab, voices=voices,
        showcase=showcase, video_sound=video_sound, prompt=prompt,
        answer=answer, export=export, taken_in=taken_in, visitor=visitor, past=past,
    )  # fmt: skip


def _line(elem_id: str) -> gr.HTML:
    return gr.HTML("", elem_id=elem_id, apply_default_css=False)


def _build_chat() -> gr.Chatbot:
    return gr.Chatbot(
        label=i18n("chat_label"),
        show_label=False,
        elem_id="chat",
        height="100%",
        layout="bubble",
        buttons=[],
        placeholder=i18n("empty_html"),
        sanitize_html=True,
        allow_tags=False,
        feedback_options=None,
        group_consecutive_messages=False,
        latex_delimiters=[{"left": "$$", "right": "$$", "display": True}],
    )


def _build_message() -> gr.Textbox:
    """One line that grows: Enter sends, Shift+Enter begins a new line."""
    return gr.Textbox(
        label=i18n("message_label"),
        show_label=False,
        placeholder=i18n("message_placeholder"),
        lines=1,
        max_lines=8,
        container=False,
        autofocus=True,
        elem_id="message",
        scale=1,
        html_attributes=gr.InputHTMLAttributes(enterkeyhint="send", autocapitalize="sentences"),
    )


def wire(demo: gr.Blocks, page: Page, handlers: Handlers) -> None:
    demo.load(handlers.open, [page.secret, page.visitor, page.state], page.opened, js=READ_SECRET_JS, **CALM)
    demo.unload(handlers.leave)
    page.secret.change(None, page.secret, None, js=KEEP_SECRET_JS, **QUICK)
    _wire_turn(page, handlers)
    _wire_live(page, handlers)
    _wire_settings(page, handlers)
    composed = [page.message, page.capture.upload]
    for listed in (page.welcome, page.asking):
        listed.choose(handlers.choose, page.capture.upload, composed, trigger_mode="multiple", **CALM)
    page.tray.take_out(handlers.take_out, page.capture.all, page.capture.all, trigger_mode="multiple", **CALM)
    looking = [page.state, page.past.search]
    gr.on([page.past.tab.select, page.past.search.change], handlers.look_back, looking, page.past.shown, **CALM)
    picked = [*page.turned, page.past.shown]
    page.past.shown.pick(handlers.pick, looking, picked, trigger_mode="multiple", **CALM)
    page.export.click(handlers.export, page.state, page.answered, **CALM)
    page.taken_in.upload(handlers.take_in, [page.taken_in, page.state], page.turned, js=SILENCE_JS, **CALM)
    _wire_voices(page, handlers)
    aside = [page.state, page.showcase.sentence, page.voices.radio, *page.answer.all]
    saying = {"fn": handlers.say, "inputs": aside, "outputs": page.answered, "js": MARK_SUBMIT_JS, **CALM}
    gr.on([page.showcase.say.click, page.showcase.sentence.submit], trigger_mode="multiple", **saying)
    deeds = {"trigger_mode": "multiple", **CALM}
    page.deeds.deed(handlers.deed, page.deed_asked, page.answered, **deeds)
    page.panel_button.click(None, None, None, js=TOGGLE_PANEL_JS, **QUICK)
    reported = [page.chat, page.timing]
    page.player.report(handlers.report, [page.state], reported, trigger_mode="multiple", **CALM)
    looked_at = [page.state, *page.capture.all, page.video_sound]
    changes = [widget.change for widget in [*page.capture.all, page.video_sound]]
    gr.on(changes, handlers.look, looked_at, page.tray, trigger_mode="always_last", **CALM)


def _wire_voices(page: Page, handlers: Handlers) -> None:
    showcase, compare = page.showcase, page.showcase.compare
    used = showcase.cards.use(handlers.use, None, page.voices.radio, **CALM)
    used.then(handlers.note_settings, page.live_asked, None, **CALM)
    page.voices.radio.change(handlers.cards, page.voices.radio, showcase.cards, **CALM)
    page.voices_tab.select(handlers.standings, page.state, compare.shown, **CALM)
    asked = [page.state, compare.voices, compare.blind, *page.answer.all]
    comparing = {"js": SILENCE_JS, "trigger_mode": "multiple", **CALM}
    compare.start.click(handlers.compare, asked, page.answered, **comparing)
    compare.shown.best(handlers.best, page.state, page.answered, trigger_mode="multiple", **CALM)
    compare.shown.save(handlers.save, page.state, page.answered, **CALM)


def _wire_live(page: Page, handlers: Handlers) -> None:
    """Each live turn is drawn by its own event, which runs as long as the turn."""
    asked = page.live_asked
    page.live.ticket(handlers.ticket, asked, page.live, trigger_mode="multiple", **CALM)
    page.live.turn(handlers.live_turn, asked, page.answered, trigger_mode="multiple", **CALM)
    page.live.cut(handlers.live_cut, page.state, [page.chat, page.timing], trigger_mode="multiple", **CALM)
    changes = [widget.change for widget in asked[1:]]
    gr.on(changes, handlers.live_settings, asked, None, trigger_mode="always_last", **CALM)


def _wire_settings(page: Page, handlers: Handlers) -> None:
    """Only what a person does is noted: when the page shows the settings of a conversation, its widgets change one by
    one, and what they are together in the meantime was nobody's choice."""
    asked = page.live_asked
    noting = {"fn": handlers.note_settings, "inputs": asked, "outputs": None, **CALM}
    # A number that is typed, and the way back to the default, are told when they are done.
    told = [widget.input for widget in asked[1:]]
    told += [widget.release for widget in asked if isinstance(widget, gr.Slider)]
    gr.on(told, trigger_mode="always_last", **noting)
    for moved in (page.answer.sound_taken, page.prompt.taken_back):
        moved.then(**noting)


def _wire_turn(page: Page, handlers: Handlers) -> None:
    """A second message during a reply must reach the service, which refuses it with a sentence: hence "multiple"."""
    submitting = {
        "fn": handlers.submit, "inputs": page.asked, "outputs": page.answered, "js": MARK_SUBMIT_JS,
        "trigger_mode": "multiple", **CALM,
    }  # fmt: skip
    running = [gr.on([page.message.submit, page.send.click], **submitting)]
    for example in page.examples:
        fill = f"() => document.querySelector('#{example.elem_id}').innerText.trim()"
        running.append(example.click(None, None, page.message, js=fill, **QUICK).then(**submitting))
    forgetting = page.forget.click(handlers.forget, page.state, page.answered, **CALM)
    running.append(forgetting.success(**submitting))
    stopped = [page.chat, page.timing, page.notice, page.forget]
    page.stop.click(handlers.stop, [page.told, page.state], stopped, js=STOP_JS, trigger_mode="multiple", **QUICK)
    cleared = [page.state, page.prompt.text]
    page.clear.click(handlers.clear, cleared, page.answered, js=SILENCE_JS, cancels=running, **CALM)
