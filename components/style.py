"""How the page looks and what its own script does, as `launch()` wants them; knows no widget."""

from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from components.guard import NoRelay
from components.leaving import QuietLeave
from components.texts import i18n

ASSETS = Path(__file__).resolve().parent.parent / "assets"
SCRIPTS = ("page.js", "captions.js", "keyboard.js")
SANS = [
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "Roboto",
    "Noto Sans",
    "Noto Sans CJK SC",
    "Microsoft YaHei",
    "sans-serif",
]
MONO = ["ui-monospace", "SF Mono", "Cascadia Mono", "Consolas", "DejaVu Sans Mono", "monospace"]
# Whatever a model writes, the browser fetches nothing from elsewhere.
POLICY = (
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; frame-src 'none';"
    " object-src 'none'; connect-src 'self' data: blob: ws: wss:"
)


def launch_options() -> dict[str, Any]:
    """Theme, style sheet, scripts and languages for `Blocks.launch`."""
    scripts = "\n".join(f"<script>{(ASSETS / 'js' / name).read_text(encoding='utf-8')}</script>" for name in SCRIPTS)
    # Gradio would prefix every rule of `css` with its container, and the rules on `body` would never hold.
    sheet = (ASSETS / "style.css").read_text(encoding="utf-8")
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    return {
        "theme": theme(),
        "head": f"{policy}\n<style>{sheet}</style>\n{scripts}",
        "favicon_path": ASSETS / "icon.svg",
        "i18n": i18n,
        "footer_links": [],
        "ssr_mode": False,
        "app_kwargs": {"middleware": [Middleware(NoRelay), Middleware(QuietLeave)]},
    }


def theme() -> gr.themes.Base:
    """Calm greys with one accent; fonts that every machine has, so that none is fetched."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        secondary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        spacing_size=gr.themes.sizes.spacing_md,
        text_size=gr.themes.sizes.text_md,
        font=SANS,
        font_mono=MONO,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="#0e1116",
        background_fill_primary="white",
        background_fill_primary_dark="#161b22",
        background_fill_secondary="*neutral_50",
        background_fill_secondary_dark="#1c222b",
        # Slate has nothing that is faint and still legible (4.5 : 1) on the soft accent.
        body_text_color_subdued="#586579",
        link_text_color="*primary_600",
        link_text_color_dark="*primary_300",
        block_background_fill="white",
        block_background_fill_dark="#161b22",
        border_color_primary="*neutral_200",
        border_color_primary_dark="#2a313c",
        block_border_width="0px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_text_color="#586579",
        block_label_text_color_dark="*neutral_400",
        block_title_text_weight="600",
        input_background_fill="*neutral_50",
        input_background_fill_dark="#1c222b",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        input_border_color_focus="*primary_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        color_accent="*primary_500",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="#20264a",
    )
