"""The choice of a voice, with a button to hear each one; knows how to ask for a preview and not how it is made."""

import html
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from app.errors import DemoError
from components.conversation import file_url
from components.texts import Texts, i18n

SCRIPT = Path(__file__).resolve().parent.parent / "assets" / "js" / "voices.js"
ICON = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path class="play" d="M8 5.5v13l10.5-6.5z"/>'
    '<path class="pause" d="M8 6h3v12H8zM13 6h3v12h-3z"/></svg>'
)


@dataclass(frozen=True)
class VoicePicker:
    """`sentence`: words of one's own, which `say` has spoken by the chosen voice."""

    radio: gr.Radio
    listen: gr.HTML
    note: gr.HTML
    sentence: gr.Textbox
    say: gr.Button

    @property
    def outputs(self) -> list[gr.components.Component]:
        return [self.radio, self.listen, self.note, self.sentence, self.say]

    def update(self, voices: tuple[str, ...], is_loaded: bool, texts: Texts) -> list:
        """Values of `outputs` for a checkpoint's voices; the first one is chosen."""
        note = "" if voices else texts("voice_none" if is_loaded else "voice_wait")
        return [
            gr.update(choices=list(voices), value=voices[0] if voices else None, visible=bool(voices)),
            listen_html(voices, texts),
            f'<p class="voice-note">{html.escape(note)}</p>' if note else "",
            gr.update(visible=bool(voices)),
            gr.update(visible=bool(voices)),
        ]


def build_voices(preview: Callable[[str], Path]) -> VoicePicker:
    def ask(voice: str) -> dict:
        try:
            return {"url": file_url(preview(voice))}
        except DemoError as error:
            return {"message": error.message}

    ask.__name__ = "preview"
    with gr.Group(elem_id="voices"):
        radio = gr.Radio(choices=[], label=i18n("voice"), elem_id="voice", visible=False)
        listen = gr.HTML(
            "",
            elem_id="voice-listen",
            js_on_load=SCRIPT.read_text(encoding="utf-8"),
            server_functions=[ask],
            apply_default_css=False,
        )
        note = gr.HTML("", elem_id="voice-note", apply_default_css=False)
    sentence = gr.Textbox(
        label=i18n("voice_sentence"), placeholder=i18n("voice_sentence_hint"), max_length=400, max_lines=3,
        elem_id="voice-sentence", visible=False,
    )  # fmt: skip
    say = gr.Button(i18n("voice_say"), size="sm", elem_id="voice-say", visible=False)
    return VoicePicker(radio, listen, note, sentence, say)


def listen_html(voices: tuple[str, ...], texts: Texts) -> str:
    """One button per voice, in the order of the choices."""
    return "".join(
        _listen_button(html.escape(voice), html.escape(texts("voice_hear", voice=voice))) for voice in voices
    )


def _listen_button(voice: str, label: str) -> str:
    names = f'data-voice="{voice}" title="{label}" aria-label="{label}"'
    return f'<button type="button" aria-pressed="false" {names}>{ICON}</button>'
