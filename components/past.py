"""The list of conversations that are kept: what it shows and what its buttons ask for; knows no session."""

import html
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.service import Listed
from components.texts import Texts, i18n

DEEDS = ("open", "rename", "delete")
_ID = re.compile(r"[0-9a-f]{16}")
PICK_JS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-pick]');
  if (!button) return;
  const { pick, session, ask, title } = button.dataset;
  let name = '';
  if (pick === 'rename') name = window.prompt(ask, title);
  if (name === null || (pick === 'delete' && !window.confirm(ask))) return;
  if (pick === 'open' && window.omniPlayer) window.omniPlayer.stop();
  trigger('pick', { pick, session, name });
});
// When it was, by the clock and the habits of who reads it.
const tell = () => element.querySelectorAll('time:not([title])').forEach((time) => {
  time.title = time.textContent;
  time.textContent = new Date(time.dateTime)
    .toLocaleString(document.documentElement.lang, { dateStyle: 'medium', timeStyle: 'short' });
});
new MutationObserver(tell).observe(element, { childList: true, subtree: true });
tell();"""
_PICTURES = {
    "rename": '<path d="m4 20 1-4L16 5l3 3L8 19l-4 1z"/>',
    "delete": '<path d="M5 7h14M10 7V4h4v3m-7 0 1 13h8l1-13"/>',
}


@dataclass(frozen=True)
class PastList:
    """`search`: words to look for; `shown`: the list, whose event `pick` carries what to do with which conversation."""

    tab: gr.Tab
    search: gr.Textbox
    shown: gr.HTML


@dataclass(frozen=True)
class Pick:
    deed: str
    session_id: str
    name: str


def build_past() -> PastList:
    with gr.Tab(i18n("tab_past"), id="past", elem_id="panel-past", render_children=True) as tab:
        search = gr.Textbox(
            label=i18n("past_search"), show_label=False, placeholder=i18n("past_search"), max_lines=1, max_length=200,
            container=False, elem_id="past-search",
        )  # fmt: skip
        shown = gr.HTML("", elem_id="past", js_on_load=PICK_JS, apply_default_css=False)
    return PastList(tab, search, shown)


def read_pick(data: Any) -> Pick | None:
    """What a `pick` event asks for; None where it makes no sense."""
    if not isinstance(data, dict):
        return None
    deed, session_id, name = data.get("pick"), data.get("session"), data.get("name", "")
    if deed not in DEEDS or not isinstance(session_id, str) or not _ID.fullmatch(session_id):
        return None
    return Pick(deed, session_id, name if isinstance(name, str) else "")


def past_html(listed: Sequence[Listed], shown: str, texts: Texts) -> str:
    """`shown`: the session that the page has."""
    if not listed:
        return f'<p class="past-none">{html.escape(texts("past_none"))}</p>'
    return "<ul>" + "".join(_item(one, one.session_id == shown, texts) for one in listed) + "</ul>"


def _item(one: Listed, is_shown: bool, texts: Texts) -> str:
    title = html.escape(one.title or texts("past_untitled"))
    when = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(one.used_s))
    turns = html.escape(texts("past_turn" if one.num_turns == 1 else "past_turns", number=one.num_turns))
    about = f'<span class="about"><time datetime="{when}">{when}</time> · {turns}</span>'
    current = ' aria-current="true" disabled' if is_shown else ""
    opening = (
        f'<button type="button" class="past-open" data-pick="open" data-session="{one.session_id}"{current}>'
        f'<span class="name" dir="auto">{title}</span>{about}</button>'
    )
    rename = _icon("rename", one, texts("past_rename"), texts("past_rename_ask"))
    delete = "" if is_shown else _icon("delete", one, texts("past_delete"), texts("past_delete_ask", title=one.title))
    return f"<li>{opening}{rename}{delete}</li>"


def _icon(deed: str, one: Listed, label: str, ask: str) -> str:
    label = html.escape(f"{label}: {one.title}")
    return (
        f'<button type="button" class="icon-button" data-pick="{deed}" data-session="{one.session_id}"'
        f' data-ask="{html.escape(ask)}" data-title="{html.escape(one.title)}" title="{label}" aria-label="{label}">'
        f'<svg viewBox="0 0 24 24" aria-hidden="true">{_PICTURES[deed]}</svg></button>'
    )
