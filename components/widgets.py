"""The widgets that handlers read and write, by name; knows neither where they stand nor what they do."""

from dataclasses import dataclass

import gradio as gr

from components.past import PastList
from components.settings import AnswerControls, PromptControls
from components.tabs import CaptureTabs
from components.voices import Showcase, VoicePicker


@dataclass(frozen=True)
class Page:
    """The widgets that handlers read and write."""

    state: gr.State
    secret: gr.Textbox
    told: gr.Textbox
    deeds: gr.HTML
    model: gr.HTML
    banner: gr.HTML
    chat: gr.Chatbot
    player: gr.HTML
    status: gr.HTML
    notice: gr.HTML
    forget: gr.Button
    tray: gr.HTML
    message: gr.Textbox
    send: gr.Button
    stop: gr.Button
    clear: gr.Button
    panel_buttons: list[gr.Button]
    examples: list[gr.Button]
    welcome: gr.HTML
    asking: gr.HTML
    examples_tab: gr.Tab
    capture: CaptureTabs
    timing: gr.HTML
    live: gr.HTML
    panel_tabs: gr.Tabs
    voices_tab: gr.Tab
    voices: VoicePicker
    showcase: Showcase
    video_sound: gr.Checkbox
    prompt: PromptControls
    answer: AnswerControls
    visitor: gr.Textbox
    past: PastList
    export: gr.Button
    taken_in: gr.UploadButton

    @property
    def composer(self) -> list[gr.components.Component]:
        """What holds the message while it is made: the text, then what was captured."""
        return [self.message, *self.capture.all]

    @property
    def asked(self) -> list[gr.components.Component]:
        """Inputs of a turn."""
        return [self.state, *self.composer, *self.chosen]

    @property
    def chosen(self) -> list[gr.components.Component]:
        """How a turn is answered."""
        return [self.video_sound, self.voices.radio, self.prompt.text, *self.answer.all]

    @property
    def deed_asked(self) -> list[gr.components.Component]:
        """Inputs of what is done to a turn."""
        return [self.showcase.compare.voices, self.showcase.compare.blind, *self.asked]

    @property
    def live_asked(self) -> list[gr.components.Component]:
        """Inputs of a turn that is spoken live, and of its settings when they change."""
        return [self.state, self.voices.radio, self.prompt.text, *self.answer.all]

    @property
    def answered(self) -> list[gr.components.Component]:
        """All that a turn may change."""
        around = [self.player, self.status, self.notice, self.forget, self.tray, self.capture.tabs, self.timing]
        around += [self.showcase.compare.shown, self.panel_tabs]
        return [self.state, self.secret, self.chat, *around, *self.composer]

    @property
    def opened(self) -> list[gr.components.Component]:
        """All that coming to the page, or the model, may change."""
        about = [self.model, self.banner, self.chat, self.status, self.timing]
        about += [self.welcome, self.asking, self.examples_tab]
        return [
            self.state,
            self.secret,
            *about,
            *self.voices.outputs,
            *self.showcase.outputs,
            *self.settings,
            self.answer.vocoder,
        ]

    @property
    def settings(self) -> list[gr.components.Component]:
        """What a conversation keeps besides what was said."""
        return [self.prompt.text, self.video_sound, *self.answer.outputs]

    @property
    def turned(self) -> list[gr.components.Component]:
        """All that another conversation may change."""
        return [*self.answered, self.voices.radio, *self.settings]
