"""What is attached to the message and what it would cost, shown before it is sent; knows no session."""

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import gradio as gr

from app.errors import DemoError
from app.service import Estimate
from app.types.turn import FileInput, TurnInput
from components.conversation import file_url
from components.texts import Texts


class MediaFacts(Protocol):
    """What the page asks of a probed file. `width` and `height` are of pictures and videos."""

    kind: str
    duration_s: float | None
    has_sound: bool


Probe = Callable[[Path], MediaFacts]
TAKE_OUT_JS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-place]');
  if (button) trigger('take_out', { place: Number(button.dataset.place) });
});"""
CROSS = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="m7 7 10 10M17 7 7 17"/></svg>'


def build_tray() -> gr.HTML:
    """Filled with `tray_html`; its event `take_out` carries the place of the file whose cross was clicked."""
    return gr.HTML("", elem_id="tray", js_on_load=TAKE_OUT_JS, apply_default_css=False)


def read_place(data: Any) -> int | None:
    """The place in the data of a `take_out` event; None when it is none."""
    place = data.get("place") if isinstance(data, dict) else None
    return place if isinstance(place, int) else None


def tray_html(turn_input: TurnInput, probe: Probe, estimate: Callable[[], Estimate | None], texts: Texts) -> str:
    """A card per attached file, then the estimate of the whole; "" when nothing is attached."""
    files = [content for content in turn_input.contents if isinstance(content, FileInput)]
    if not files:
        return ""
    cards = "".join(
        _card(file.path, place, probe, turn_input.use_video_sound, texts) for place, file in enumerate(files)
    )
    return (
        f'<div class="tray" role="group" aria-label="{html.escape(texts("tray_label"))}"><ul>{cards}</ul>'
        f"{_estimate(estimate, cards, texts)}</div>"
    )


def _card(path: Path, place: int, probe: Probe, use_video_sound: bool, texts: Texts) -> str:
    name, label = html.escape(path.name), html.escape(texts("tray_remove", name=path.name))
    cross = f'<button type="button" data-place="{place}" title="{label}" aria-label="{label}">{CROSS}</button>'
    try:
        facts = probe(path)
    except DemoError as error:
        badge = f'<span class="badge bad">{html.escape(texts.sentence(error.message))}</span>'
        return f'<li class="bad"><span class="name">{name}</span>{badge}{cross}</li>'
    picture = (
        f'<img src="{html.escape(file_url(path))}" alt="">'
        if facts.kind == "image"
        else f'<i class="kind {facts.kind}"></i>'
    )
    about = texts(f"tray_{facts.kind}")
    if facts.duration_s:
        about += f" {texts.clock(facts.duration_s)}"
    badge = ""
    if facts.kind == "video" and not facts.has_sound:
        badge = f'<span class="badge">{html.escape(texts("tray_no_sound"))}</span>'
    elif facts.kind == "video" and not use_video_sound:
        badge = f'<span class="badge">{html.escape(texts("tray_sound_off"))}</span>'
    about = f'<span class="about">{html.escape(about)}</span>'
    return f'<li>{picture}<span class="name">{name}</span>{about}{badge}{cross}</li>'


def _estimate(estimate: Callable[[], Estimate | None], cards: str, texts: Texts) -> str:
    """What the card of a file says already is not said again."""
    try:
        found = estimate()
    except DemoError as error:
        words = html.escape(texts.sentence(error.message))
        return "" if words in cards else f'<p class="estimate bad">{words}</p>'
    if found is None:
        return ""
    if not found.fits:
        return f'<p class="estimate bad">{html.escape(texts.sentence(found.advice))}</p>'
    cost = texts("tray_estimate", tokens=texts.count(found.num_new_tokens), memory=texts.memory(found.num_bytes))
    used = texts.count(found.num_context_tokens)
    meter = texts("context_meter", used=used, total=texts.count(found.context_length))
    return f'<p class="estimate">{html.escape(cost)} · {html.escape(meter)}</p>'
