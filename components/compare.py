"""One reply in several voices side by side: what the comparison shows and what it tells; knows no session."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.service import Standing, TurnRecord
from components.conversation import file_url
from components.texts import Texts, i18n

SCRIPT = Path(__file__).resolve().parent.parent / "assets" / "js" / "compare.js"
LETTERS = "ABCD"
FEWEST, MOST = 2, len(LETTERS)
_PLAY = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path class="play" d="M8 5.500v13l10.500-6.500z"/>'
    '<path class="pause" d="M8 6h3v12H8zM13 6h3v12h-3z"/></svg>'
)


@dataclass(frozen=True)
class Compared:
    """The comparison that a page shows. `places`: takes of turn `turn`, in the order of the columns."""

    turn: int
    places: tuple[int, ...]
    is_blind: bool


@dataclass(frozen=True)
class CompareView:
    """`voices`, `blind`: what to compare and whether names are hidden; `start`: begins. `shown`: the columns, with the
    events `best` (the column that was liked best) and `save`."""

    voices: gr.CheckboxGroup
    blind: gr.Checkbox
    start: gr.Button
    shown: gr.HTML

    @property
    def outputs(self) -> list[gr.components.Component]:
        return [self.voices, self.blind, self.start]

    def update(self, voices: tuple[str, ...]) -> list:
        """Values of `outputs` for a checkpoint's voices; with one voice there is nothing to compare."""
        can_compare = len(voices) >= FEWEST
        return [
            gr.update(choices=list(voices), value=list(voices[:FEWEST]), visible=can_compare),
            gr.update(visible=can_compare),
            gr.update(visible=can_compare),
        ]


def build_compare() -> CompareView:
    voices = gr.CheckboxGroup(
        choices=[], label=i18n("compare_voices"), info=i18n("compare_info"), elem_id="compare-voices", visible=False
    )
    blind = gr.Checkbox(value=False, label=i18n("compare_blind"), elem_id="compare-blind", visible=False)
    start = gr.Button(i18n("compare_start"), size="sm", elem_id="compare-start", visible=False)
    shown = gr.HTML(
        "", elem_id="compare", js_on_load=SCRIPT.read_text(encoding="utf-8"), apply_default_css=False, padding=False
    )
    return CompareView(voices, blind, start, shown)


def read_best(data: Any, num_columns: int) -> int | None:
    """The column that was liked best; None where the event tells of none."""
    column = data.get("column") if isinstance(data, dict) else None
    is_number = isinstance(column, int) and not isinstance(column, bool)
    return column if is_number and 0 <= column < num_columns else None


def making_html(voice: str, number: int, total: int, texts: Texts) -> str:
    words = html.escape(texts("compare_making", voice=voice, number=number, total=total))
    return f'<p class="compare-making" role="status">{words}</p>'


def compare_html(record: TurnRecord, compared: Compared, texts: Texts) -> str:
    """The text once, and a column per take, names hidden where the comparison is blind."""
    columns = "".join(
        _column(column, _name(record, compared, column, texts), record, place, texts)
        for column, place in enumerate(compared.places)
    )
    words = {name: html.escape(texts(f"compare_{name}")) for name in ("play", "place", "title", "gone")}
    return (
        f'<section class="compare" aria-label="{words["title"]}" data-gone="{words["gone"]}">'
        f'<p class="compare-text" dir="auto">'
        f"{html.escape(record.reply_text.strip())}</p>"
        f'<div class="compare-bar"><button type="button" class="icon-button" data-play aria-pressed="false"'
        f' aria-label="{words["play"]}" title="{words["play"]}">{_PLAY}</button>'
        f'<input type="range" min="0" max="1000" value="0" step="1" aria-label="{words["place"]}">'
        f'<output>0:00</output></div><ul class="columns">{columns}</ul></section>'
    )


def _name(record: TurnRecord, compared: Compared, column: int, texts: Texts) -> str:
    if compared.is_blind:
        return texts("compare_letter", letter=LETTERS[column])
    return record.takes[compared.places[column]].voice


def _column(column: int, name: str, record: TurnRecord, place: int, texts: Texts) -> str:
    url, shown = html.escape(file_url(record.takes[place].wav)), html.escape(name)
    hear, best = (html.escape(texts(f"compare_{deed}", voice=name)) for deed in ("hear", "best_label"))
    return (
        f'<li data-wave="{url}"><button type="button" class="hear" data-column="{column}"'
        f' aria-pressed="{str(column == 0).lower()}" aria-label="{hear}"><b>{shown}</b><canvas></canvas></button>'
        f'<button type="button" class="best" data-best="{column}" aria-label="{best}">'
        f"{html.escape(texts('compare_best'))}</button></li>"
    )


def verdict_html(record: TurnRecord, compared: Compared, best: int, texts: Texts) -> str:
    """What was chosen, with all names."""
    shown = []
    for column, place in enumerate(compared.places):
        letter = f"{LETTERS[column]}: " if compared.is_blind else ""
        name = html.escape(f"{letter}{record.takes[place].voice}")
        shown.append(f"<strong>{name}</strong>" if column == best else name)
    voice = record.takes[compared.places[best]].voice
    words = html.escape(texts("compare_chosen", voice=voice))
    return f'<p class="compare-chosen" role="status">{words}</p><p class="compare-names">{", ".join(shown)}</p>'


def standings_html(found: Sequence[Standing], texts: Texts) -> str:
    """How the voices stand by the votes so far; nothing before the first one."""
    if not found:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(one.voice)}</th><td><meter min="0" max="{one.num_shown}"'
        f' value="{one.num_wins}" aria-hidden="true"></meter></td>'
        f"<td>{html.escape(texts('compare_wins', wins=one.num_wins, shown=one.num_shown))}</td></tr>"
        for one in found
    )
    return (
        f'<table class="standings"><caption>{html.escape(texts("compare_votes"))}</caption>{rows}</table>'
        f'<button type="button" class="word-button" data-save>{html.escape(texts("compare_csv"))}</button>'
    )
