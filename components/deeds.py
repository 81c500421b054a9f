"""What can be done to a turn in the conversation: its buttons and the event that they send; knows no session."""

import html
from typing import Any

import gradio as gr

from app.service import TurnRecord
from components.texts import Texts

DEEDS = ("again", "edit", "take_back", "version", "keep")
# A reply that makes way for another must not go on sounding. The time to the first sound counts from the click.
DEED_JS = """document.addEventListener('click', (event) => {
  const button = event.target.closest(':is(#chat, #notice) button[data-deed]');
  if (!button) return;
  const deed = button.dataset.deed;
  if (window.omniPlayer && ['again', 'take_back', 'version'].includes(deed)) window.omniPlayer.stop();
  if (window.omniPlayer && deed === 'again') window.omniPlayer.markSubmit();
  trigger('deed', { deed, turn: Number(button.dataset.turn) });
});"""
_PICTURES = {
    "again": '<path d="M4 12a8 8 0 1 0 2.5-5.8M4 4v5h5"/>',
    "edit": '<path d="m4 20 1-4L16 5l3 3L8 19l-4 1z"/>',
    "take_back": '<path d="M9 14 4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3"/>',
    "back": '<path d="m14 6-6 6 6 6"/>',
    "on": '<path d="m10 6 6 6-6 6"/>',
}


def build_deeds() -> gr.HTML:
    """Nothing to be seen; its event `deed` carries what to do and to which turn."""
    return gr.HTML("", elem_id="deeds", js_on_load=DEED_JS, apply_default_css=False)


def read_deed(data: Any) -> tuple[str, int] | None:
    """What to do, one of DEEDS, and the turn; None where the event carries neither."""
    if not isinstance(data, dict):
        return None
    deed, turn = data.get("deed"), data.get("turn")
    return (deed, turn) if deed in DEEDS and isinstance(turn, int) and not isinstance(turn, bool) else None


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


def reply_buttons(record: TurnRecord, texts: Texts) -> str:
    """Under the newest reply: to have another one, and to take the turn back."""
    again = _icon("again", "again", record.turn, texts("deed_again"))
    return f'<div class="deeds">{again}{_icon("take_back", "take_back", record.turn, texts("deed_take_back"))}</div>'


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
