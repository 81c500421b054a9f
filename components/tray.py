"""What is attached to the message and what it would cost, shown before it is sent; knows no session."""

import html
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

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


def tray_html(turn_input: TurnInput, probe: Probe, estimate: Callable[[], Estimate | None], texts: Texts) -> str:
    """A card per attached file, then the estimate of the whole; "" when nothing is attached."""
    files = [content for content in turn_input.contents if isinstance(content, FileInput)]
    if not files:
        return ""
    cards = "".join(_card(file.path, probe, turn_input.use_video_sound, texts) for file in files)
    return (
        f'<div class="tray" role="group" aria-label="{html.escape(texts("tray_label"))}"><ul>{cards}</ul>'
        f"{_estimate(estimate, texts)}</div>"
    )


def _card(path: Path, probe: Probe, use_video_sound: bool, texts: Texts) -> str:
    name = html.escape(path.name)
    try:
        facts = probe(path)
    except DemoError as error:
        badge = f'<span class="badge bad">{html.escape(error.message)}</span>'
        return f'<li class="bad"><span class="name">{name}</span>{badge}</li>'
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
    return f'<li>{picture}<span class="name">{name}</span><span class="about">{html.escape(about)}</span>{badge}</li>'


def _estimate(estimate: Callable[[], Estimate | None], texts: Texts) -> str:
    try:
        found = estimate()
    except DemoError as error:
        return f'<p class="estimate bad">{html.escape(error.message)}</p>'
    if found is None:
        return ""
    if not found.fits:
        return f'<p class="estimate bad">{html.escape(found.advice)}</p>'
    cost = texts("tray_estimate", tokens=texts.count(found.num_new_tokens), memory=texts.memory(found.num_bytes))
    used = texts.count(found.num_context_tokens)
    meter = texts("context_meter", used=used, total=texts.count(found.context_length))
    return f'<p class="estimate">{html.escape(cost)} · {html.escape(meter)}</p>'
