"""Where the time of a turn went, as a table with bars; knows only the figures that are stored with the turn."""

import html
import json
from urllib.parse import quote

from components.texts import Texts

MARKS = ("ttft_s", "first_codec_s", "first_packet_s", "first_sound_s")


def waterfall_html(timings: dict, texts: Texts) -> str:
    """The whole waterfall of one turn; a hint where there is none yet. A table, so that it can be read aloud too."""
    if not timings:
        return f'<p class="timing-empty">{html.escape(texts("timing_empty"))}</p>'
    title = html.escape(texts("timing_title", turn=timings["turn"]))
    return f'<section class="timing" aria-label="{title}"><h2>{title}</h2>{_body(timings, texts)}</section>'


def summary_html(timings: dict, texts: Texts) -> str:
    """One line of figures under a reply that opens into the waterfall."""
    if timings.get("ttft_s") is None:
        return ""
    figures = [f"{texts('mark_ttft_s')} {texts.seconds(timings['ttft_s'])}"]
    sound = "first_sound_s" if timings.get("first_sound_s") is not None else "first_packet_s"
    if timings.get(sound) is not None:
        figures.append(f"{texts(f'mark_{sound}')} {texts.seconds(timings[sound])}")
    if timings.get("num_reused"):
        figures.append(_reused(timings, texts))
    shown = "".join(f"<span>{html.escape(figure)}</span>" for figure in figures)
    body = f'<div class="timing">{_body(timings, texts)}</div>'
    return f'<details class="reply-timing"><summary>{shown}</summary>{body}</details>'


def _body(timings: dict, texts: Texts) -> str:
    bars = [
        (texts(f"stage_{stage['stage']}"), stage["start_s"], stage["duration_s"], "bar")
        for stage in _known(timings, texts)
    ]
    marks = [(texts(f"mark_{key}"), timings[key], 0.0, "mark") for key in MARKS if timings.get(key) is not None]
    span_s = _span_s(bars, marks)
    head = "".join(
        f'<th scope="col" class="{name}">{html.escape(texts(f"timing_{name}"))}</th>'
        for name in ("stage", "bar", "start", "length")
    )
    rows = "".join(_row(*entry, span_s, texts) for entry in sorted(bars + marks, key=lambda entry: entry[1]))
    return (
        f'<dl class="timing-figures">{_figures(timings, texts)}</dl>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{_download(timings, texts)}"
    )


def _span_s(bars: list[tuple], marks: list[tuple]) -> float:
    """Seconds that the bars show: to a little after the last first, since a long reply would squeeze what led to it."""
    last_s = max((start_s for _, start_s, *_ in marks), default=0.0) * 1.25
    return last_s or max([start_s + length_s for _, start_s, length_s, _ in bars] + [1e-3])


def _known(timings: dict, texts: Texts) -> list[dict]:
    return [stage for stage in timings.get("stages", ()) if texts.has(f"stage_{stage['stage']}")]


def _row(name: str, start_s: float, length_s: float, kind: str, span_s: float, texts: Texts) -> str:
    left = min(100 * start_s / span_s, 100.0)
    width = 0 if kind == "mark" else max(100 * length_s / span_s, 1.0)
    cut = ' class="cut"' if left + width > 100 else ""
    width = min(width, 100 - left)
    length = "" if kind == "mark" else html.escape(texts.seconds(length_s))
    return (
        f'<tr class="{kind}"><th scope="row">{html.escape(name)}</th>'
        f'<td class="track"><i{cut} style="left:{left:.2f}%;width:{width:.2f}%"></i></td>'
        f"<td>{html.escape(texts.seconds(start_s))}</td><td>{length}</td></tr>"
    )


def _figures(timings: dict, texts: Texts) -> str:
    figures = []
    if timings.get("num_new") is not None:
        new = texts("tokens_new", new=texts.count(timings["num_new"]))
        figures.append((texts("tokens"), f"{new}, {_reused(timings, texts)}" if timings.get("num_reused") else new))
    if timings.get("audio_s"):
        figures.append((texts("audio_length"), texts.seconds(timings["audio_s"])))
    if timings.get("rtf") is not None:
        figures.append((texts("rtf"), texts.decimal(f"{timings['rtf']:.2f}")))
    if timings.get("num_underruns") is not None:
        figures.append((texts("underruns"), texts.count(timings["num_underruns"])))
    if timings.get("total_s") is not None:
        figures.append((texts("mark_total_s"), texts.seconds(timings["total_s"])))
    return "".join(f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in figures)


def _reused(timings: dict, texts: Texts) -> str:
    reused = timings.get("num_reused") or 0
    return texts("tokens_reused", reused=texts.count(reused), total=texts.count(reused + (timings.get("num_new") or 0)))


def _download(timings: dict, texts: Texts) -> str:
    if timings.get("total_s") is None:
        return ""
    address = "data:application/json;charset=utf-8," + quote(json.dumps(timings, indent=1))
    label = html.escape(texts("timing_download"))
    return (
        f'<a class="timing-download" href="{html.escape(address)}" download="turn_{timings["turn"]}.json">{label}</a>'
    )
