"""Says on the page why something was not done; knows no turn and no session."""

import html

import gradio as gr

from components.texts import Texts
from components.widgets import Page

COMPLAINT = '<p role="alert">'


def is_complaint(notice: str | None) -> bool:
    return (notice or "").startswith(COMPLAINT)


def refused(page: Page, texts: Texts, code: str, message: str) -> dict:
    """Says why, above what was typed and attached, which stays as it is. `message`: a sentence of the program's."""
    key = f"error_{code}"
    title = html.escape(texts(key if texts.has(key) else "error_other"))
    words = f"{COMPLAINT}<strong>{title}</strong> {html.escape(texts.sentence(message))}</p>"
    return {page.notice: words, page.forget: gr.update(visible=code in ("context_full", "out_of_memory"))}
