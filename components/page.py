"""The page: where the widgets stand; knows no conversation and not what their events call."""

import gradio as gr

from app.live.server import LiveServer
from app.service import Service
from components.deeds import build_deeds
from components.examples import Examples, build_examples, load_examples
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
from components.wiring import wire

EXAMPLES = ("example_hello", "example_story", "example_recipe", "example_poem")
# Looked through once an hour, kept for a day: a session has its own copies, but a message may wait to be sent.
UPLOADS_KEPT_S = (3600, 86400)


def build_page(service: Service, probe: Probe, live: LiveServer, examples: Examples | None = None) -> gr.Blocks:
    """All of the page. Theme, style and scripts belong to `launch()`: see `components.style`.

    `live`: whose route the server serves too. `examples`: what is offered of a micro checkpoint; the shipped ones by
    default.
    """
    with UploadsOnly(
        title="Talk with Qwen-Omni",
        fill_height=True,
        fill_width=True,
        analytics_enabled=False,
        delete_cache=UPLOADS_KEPT_S,
    ) as demo:
        page = build_widgets(service)
        wire(demo, page, service, probe, live, examples or load_examples())
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
        with gr.Column(elem_id="panel", scale=0, min_width=320):
            panel_close = gr.Button(i18n("panel_close"), size="sm", elem_id="panel-close")
            with gr.Tabs(elem_id="panel-tabs") as panel_tabs:
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
                with gr.Tab(
                    i18n("tab_voices"), id="voices", elem_id="panel-voices", render_children=True
                ) as voices_tab:
                    showcase = build_showcase(service.preview)
                past = build_past()
                with gr.Tab(
                    i18n("tab_examples"), id="examples", elem_id="panel-examples", visible=False, render_children=True
                ) as examples_tab:
                    asking = build_examples("asking")
                with gr.Tab(i18n("tab_timing"), id="timing", elem_id="panel-timing", render_children=True):
                    timing = gr.HTML(i18n("timing_empty"), elem_id="timing", apply_default_css=False)
    return Page(
        state=state, secret=secret, told=told, deeds=deeds, model=model, banner=banner, chat=chat, player=player,
        status=status, notice=notice, forget=forget, tray=tray, message=message, send=send, stop=stop, clear=clear,
        panel_buttons=[panel_button, panel_close], examples=examples, welcome=welcome, asking=asking,
        examples_tab=examples_tab,
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
