"""What stands above a conversation: how far the model is loaded, what it is, or why there is none; knows no session."""

import html

from app.service import CheckpointInfo, Service
from components.texts import Texts


def banner_html(service: Service, texts: Texts) -> str:
    """Empty where there is nothing to say of a model that is there."""
    if not service.ready.is_set():
        stage, share = service.loading()
        percent = round(100 * share)
        words = html.escape(texts("loading", stage=stage, percent=percent))
        bar = f'<progress max="100" value="{percent}"></progress>'
        return f'<div class="banner loading" role="status"><span>{words}</span>{bar}</div>'
    if service.failure is not None:
        return bad_banner(texts("load_failed", message=texts.sentence(service.failure.message)))
    if service.info.is_random:
        words = texts("banner_random")
    elif service.info.is_micro:
        words = texts("banner_micro")
    else:
        return ""
    return f'<div class="banner" role="note"><span>{words}</span></div>'


def bad_banner(words: str) -> str:
    return f'<div class="banner bad" role="alert"><span>{html.escape(words)}</span></div>'


def model_html(info: CheckpointInfo, texts: Texts) -> str:
    """Checkpoint, device, dtype and attention in one line."""
    facts = [info.device, info.dtype, info.attention, "" if info.has_talker else texts("no_talker")]
    pills = "".join(f"<span>{html.escape(fact)}</span>" for fact in facts if fact and fact != "auto")
    name = html.escape(info.name)
    return f'<p aria-label="{html.escape(texts("model_line"))}" title="{name}"><b>{name}</b>{pills}</p>'
