"""The voices: the choice of one in the settings, and a tab that shows them all; knows no way to make a preview."""

import html
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from app.errors import DemoError
from components.compare import CompareView, build_compare
from components.conversation import file_url
from components.texts import Texts, i18n, texts_for

SCRIPT = Path(__file__).resolve().parent.parent / "assets" / "js" / "voices.js"
ICON = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path class="play" d="M8 5.5v13l10.5-6.5z"/>'
    '<path class="pause" d="M8 6h3v12H8zM13 6h3v12h-3z"/></svg>'
)


# What the model cards say of their voices; of the micro checkpoint's, whom they imitate.
DESCRIBED = ("Chelsie", "Ethan", "Aiden", "Stella", "Ross", "Angus")
USE_JS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-use]');
  if (button) trigger('use', { voice: button.dataset.use });
});"""


@dataclass(frozen=True)
class VoicePicker:
    """The choice of a voice, with a button to hear each one."""

    radio: gr.Radio
    listen: gr.HTML
    note: gr.HTML

    @property
    def outputs(self) -> list[gr.components.Component]:
        return [self.radio, self.listen, self.note]

    def update(self, voices: tuple[str, ...], chosen: str, missing: str, texts: Texts) -> list:
        """Values of `outputs` for a checkpoint's voices; the first one where there is no such as `chosen`. `missing`:
        why there are none."""
        note = "" if voices else missing
        return [
            gr.update(choices=list(voices), value=voice_among(voices, chosen), visible=bool(voices)),
            listen_html(voices, texts),
            f'<p class="voice-note">{html.escape(note)}</p>' if note else "",
        ]


@dataclass(frozen=True)
class Showcase:
    """`cards`: the voices, with the event `use`; `sentence`: words of one's own, which `say` has spoken by the chosen
    voice; `compare`: a reply in several voices."""

    cards: gr.HTML
    sentence: gr.Textbox
    say: gr.Button
    compare: CompareView

    @property
    def outputs(self) -> list[gr.components.Component]:
        return [self.cards, self.sentence, self.say, *self.compare.outputs]

    def update(self, voices: tuple[str, ...], chosen: str, missing: str, texts: Texts) -> list:
        """Values of `outputs` for a checkpoint's voices; the first one where there is no such as `chosen`. `missing`:
        why there are none."""
        cards = cards_html(voices, voice_among(voices, chosen), texts) if voices else ""
        return [
            cards or f'<p class="voice-note">{html.escape(missing)}</p>',
            gr.update(visible=bool(voices)),
            gr.update(visible=bool(voices)),
            *self.compare.update(voices),
        ]


def voice_among(voices: tuple[str, ...], chosen: str) -> str | None:
    """`chosen` if it is one of them, else the first; None where there is none."""
    return chosen if chosen in voices else next(iter(voices), None)


def build_voices(preview: Callable[[str], Path]) -> VoicePicker:
    with gr.Group(elem_id="voices"):
        radio = gr.Radio(choices=[], label=i18n("voice"), elem_id="voice", visible=False)
        listen = _heard("voice-listen", preview)
        note = gr.HTML("", elem_id="voice-note", apply_default_css=False)
    return VoicePicker(radio, listen, note)


def build_showcase(preview: Callable[[str], Path]) -> Showcase:
    cards = _heard("voice-cards", preview, USE_JS)
    sentence = gr.Textbox(
        label=i18n("voice_sentence"), placeholder=i18n("voice_sentence_hint"), max_length=400, max_lines=3,
        elem_id="voice-sentence", visible=False,
    )  # fmt: skip
    say = gr.Button(i18n("voice_say"), size="sm", elem_id="voice-say", visible=False)
    return Showcase(cards, sentence, say, build_compare())


def _heard(elem_id: str, preview: Callable[[str], Path], more_js: str = "") -> gr.HTML:
    """Markup whose buttons with `data-voice` let one hear that voice."""

    def ask(voice: str, request: gr.Request) -> dict:
        try:
            return {"url": file_url(preview(voice))}
        except DemoError as error:
            return {"message": texts_for(request.headers.get("accept-language", "")).sentence(error.message)}

    ask.__name__ = "preview"
    script = SCRIPT.read_text(encoding="utf-8")
    return gr.HTML(
        "", elem_id=elem_id, js_on_load=f"{script}\n{more_js}", server_functions=[ask], apply_default_css=False
    )


def listen_html(voices: tuple[str, ...], texts: Texts) -> str:
    """One button per voice, in the order of the choices."""
    return "".join(_listen_button(voice, texts) for voice in voices)


def cards_html(voices: tuple[str, ...], chosen: str | None, texts: Texts) -> str:
    """What is known of each voice, and buttons to hear and to use it."""
    return f'<ul class="voice-cards">{"".join(_card(voice, voice == chosen, texts) for voice in voices)}</ul>'


def _card(voice: str, is_chosen: bool, texts: Texts) -> str:
    name = html.escape(voice)
    about = f"<p>{html.escape(texts(f'voice_about_{voice.lower()}'))}</p>" if voice in DESCRIBED else ""
    use = html.escape(texts("voice_used" if is_chosen else "voice_use"))
    label = html.escape(texts("voice_use_label", voice=voice))
    return (
        f'<li class="voice-card" aria-current="{str(is_chosen).lower()}">{_listen_button(voice, texts)}'
        f'<div><h2>{name}</h2>{about}</div><button type="button" class="use" data-use="{name}"'
        f' aria-pressed="{str(is_chosen).lower()}" aria-label="{label}">{use}</button></li>'
    )


def _listen_button(voice: str, texts: Texts) -> str:
    name, label = html.escape(voice), html.escape(texts("voice_hear", voice=voice))
    names = f'data-voice="{name}" title="{label}" aria-label="{label}"'
    return f'<button type="button" class="hear-voice" aria-pressed="false" {names}>{ICON}</button>'
