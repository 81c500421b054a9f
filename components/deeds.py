"""What can be done to a turn in the conversation: its buttons and the event that they send; knows no session."""

import html
from typing import Any

import gradio as gr

from app.service import TurnRecord
from components.texts import Texts

DEEDS = ("again", "edit", "take_back", "version", "keep", "speak", "take", "compare")
# A reply that makes way for another must not go on sounding. The time to the first sound counts from the click.
DEED_JS = """document.addEventListener('click', (event) => {
  const button = event.target.closest(':is(#chat, #notice) button[data-deed]');
  if (!button) return;
  const deed = button.dataset.deed;
  if (window.omniPlayer && !['edit', 'keep'].includes(deed)) window.omniPlayer.stop();
  if (window.omniPlayer && ['again', 'speak'].includes(deed)) window.omniPlayer.markSubmit();
  if (deed === 'compare') window.omniPage.showPanel(true);
  trigger('deed', { deed, turn: Number(button.dataset.turn), take: Number(button.dataset.take || 0) });
});"""
_PICTURES = {
    "again": '<path d="M4 12a8 8 0 1 0 2.5-5.8M4 4v5h5"/>',
    "edit": '<path d="m4 20 1-4L16 5l3 3L8 19l-4 1z"/>',
    "take_back": '<path d="M9 14 4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3"/>',
    "speak": '<path d="M5 10v4h3l4 4V6l-4 4zM16 9a4 4 0 0 1 0 6m2.5-8.5a8 8 0 0 1 0 11"/>',
    "compare": '<path d="M4 9v6M8 6v12M12 10v4M16 4v16M20 8v8"/>',
    "back": '<path d="m14 6-6 6 6 6"/>',
    "on": '<path d="m10 6 6 6-6 6"/>',
}


def build_deeds() -> gr.HTML:
    """Nothing to be seen; its event `deed` carries what to do and to which turn (and take of it)."""
    return gr.HTML("", elem_id="deeds", js_on_load=DEED_JS, apply_default_css=False)


def read_deed(data: Any) -> tuple[str, int, int] | None:
    """What to do, one of DEEDS, the turn and the take; None where the event does not carry them."""
    if not isinstance(data, dict):
        return None
    deed, turn, take = data.get("deed"), data.get("turn"), data.get("take", 0)
    are_numbers = all(isinstance(number, int) and not isinstance(number, bool) for number in (turn, take))
    return (deed, turn, take) if deed in DEEDS and are_numbers else None


def message_buttons(record: TurnRecord, texts: Texts) -> str:
    """Under what was sent: to change it, and to choose among its versions."""
    place = record.versions.index(record.turn) if record.turn in record.versions else 0
    buttons = _icon("edit", "edit", record.turn, texts("deed_edit"))
    if len(record.versions) > 1:
        count = texts("deed_version", number=place + 1, total=len(record.versions))
        back = record.versions[place - 1] if place else None
        on = record.versions[place + 1] if place + 1 < len(record.versions) else None
        buttons += (
            _icon("version", "back", back, texts("deed_version_back"))
            + f'<span class="version" aria-label="{html.escape(count)}">{place + 1}/{len(record.versions)}</span>'
            + _icon("version", "on", on, texts("deed_version_on"))
        )
    return f'<div class="deeds">{buttons}</div>'


def reply_buttons(record: TurnRecord, texts: Texts, can_speak: bool, is_newest: bool) -> str:
    """Under a reply: to have it spoken in the voice that is chosen now, or by several, and its takes where it has more
    than one; of the newest to have another one, and to take the turn back."""
    buttons = _speech_buttons(record, texts) if can_speak and record.reply_text.strip() else ""
    if is_newest:
        buttons += _icon("again", "again", record.turn, texts("deed_again"))
        buttons += _icon("take_back", "take_back", record.turn, texts("deed_take_back"))
    return f'<div class="deeds">{buttons}</div>' if buttons else ""


def _speech_buttons(record: TurnRecord, texts: Texts) -> str:
    buttons = _icon("speak", "speak", record.turn, texts("deed_speak"))
    buttons += _icon("compare", "compare", record.turn, texts("deed_compare"))
    for place, take in enumerate(record.takes):
        is_chosen = take.wav == record.wav
        label = html.escape(texts("deed_take", number=place + 1, voice=take.voice))
        buttons += (
            f'<button type="button" class="take" data-deed="take" data-turn="{record.turn}" data-take="{place}"'
            f' aria-pressed="{str(is_chosen).lower()}" title="{label}" aria-label="{label}">'
            f"{html.escape(take.voice)}</button>"
        )
    return buttons


def word_button(deed: str, turn: int, label: str) -> str:
    return (
        f'<button type="button" class="word-button" data-deed="{deed}" data-turn="{turn}">{html.escape(label)}</button>'
    )


def _icon(deed: str, picture: str, turn: int | None, label: str) -> str:
    """`turn` None: there is nothing to be done."""
    label = html.escape(label)
    state = "disabled" if turn is None else f'data-deed="{deed}" data-turn="{turn}"'
    return (
        f'<button type="button" class="icon-button" {state} title="{label}" aria-label="{label}">'
        f'<svg viewBox="0 0 24 24" aria-hidden="true">{_PICTURES[picture]}</svg></button>'
    )
