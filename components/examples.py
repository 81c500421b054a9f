"""What one can ask a checkpoint that knows a small world: questions by skill, and files to show or to say.

A click puts an example into the composer, where it is seen before it is sent. Knows neither session nor engine; the
words of the examples are English, since such a checkpoint knows no other language.
"""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from components.conversation import file_url
from components.texts import Texts

ASSETS = Path(__file__).resolve().parent.parent / "assets"
SAMPLES = ASSETS / "samples"
SCRIPT = ASSETS / "js" / "examples.js"

QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "talk": ("Hello!", "Who are you?", "What can you do?"),
    "numbers": ("What is 23 plus 4?", "Count from 5 to 9.", "Which is bigger, 34 or 43?"),
    "words": ("Spell garden.", "What is the opposite of cold?", "Say the star is red."),
    "calendar": ("What comes after Tuesday?", "Which month comes before March?"),
    "facts": ("How many legs does a cat have?", "What colour is the sky?"),
    "memory": ("My name is Anna.", "What is my name?", "What did I show you before?"),
    "image": ("What do you see?", "How many shapes are there?", "Is there a blue square?"),
    "video": ("Which way does it move?", "What changes?", "What do you hear?"),
}
KINDS = {".png": "image", ".jpg": "image", ".wav": "audio", ".mp4": "video"}


@dataclass(frozen=True)
class Example:
    """`text` goes into the message box and `files` to what is attached. `said`: the words in a spoken file."""

    key: str
    text: str
    files: tuple[Path, ...] = ()
    said: str = ""


@dataclass(frozen=True)
class Examples:
    """`questions`: by skill, text alone. `samples`: with files, all of them directly in one folder."""

    questions: Mapping[str, tuple[Example, ...]]
    samples: tuple[Example, ...]

    @property
    def _every(self) -> list[Example]:
        return [*self.samples, *(example for examples in self.questions.values() for example in examples)]

    def find(self, key: object) -> Example | None:
        """By what the browser says was clicked."""
        return next((example for example in self._every if example.key == key), None)

    def has(self, text: str) -> bool:
        """Whether these are the words of an example."""
        return any(example.text == text for example in self._every)

    def attached(self, example: Example, uploaded: Sequence[str] | None) -> list[str]:
        """What is attached after the click: a sample takes another one's place, and a visitor's own files stay."""
        if not example.files:
            return list(uploaded or ())
        names = {path.name for sample in self.samples for path in sample.files}
        return [path for path in uploaded or () if Path(path).name not in names] + [str(path) for path in example.files]


def load_examples(folder: Path = SAMPLES) -> Examples:
    """The questions, and the samples that the folder's samples.json names; none where there is no such file."""
    questions = {
        skill: tuple(Example(f"{skill}-{index}", text) for index, text in enumerate(texts))
        for skill, texts in QUESTIONS.items()
    }
    index = folder / "samples.json"
    entries = json.loads(index.read_text(encoding="utf-8")) if index.exists() else []
    samples = []
    for number, entry in enumerate(entries):
        names = entry["files"]
        assert names and all(Path(name).name == name and Path(name).suffix in KINDS for name in names), names
        assert all((folder / name).is_file() for name in names), names
        files = tuple(folder / name for name in names)
        samples.append(Example(f"sample-{number}", entry.get("text", ""), files, entry.get("said", "")))
    return Examples(questions, tuple(samples))


def build_examples(elem_id: str) -> gr.HTML:
    """Empty until it is filled with `examples_html`; its event `choose` carries the key of what was clicked."""
    script = SCRIPT.read_text(encoding="utf-8")
    return gr.HTML("", elem_id=elem_id, js_on_load=script, apply_default_css=False)


def chosen(data: Any) -> object:
    """The key in the data of a `choose` event, whatever the browser sent."""
    return data.get("key") if isinstance(data, dict) else None


def examples_html(examples: Examples, texts: Texts) -> str:
    """The samples as cards, then the questions, one row per skill. A heading and no landmark: it may stand on the page
    twice."""
    cards = "".join(f"<li>{_card(example, texts)}</li>" for example in examples.samples)
    rows = "".join(_row(skill, one, texts) for skill, one in examples.questions.items())
    title, hint = html.escape(texts("examples_title")), html.escape(texts("examples_hint"))
    shown = f'<ul class="samples">{cards}</ul>' if cards else ""
    return f'<div class="asking"><h2>{title}</h2><p>{hint}</p>{shown}<dl>{rows}</dl></div>'


def _row(skill: str, examples: Sequence[Example], texts: Texts) -> str:
    buttons = "".join(
        f'<button type="button" lang="en" data-example="{example.key}">{html.escape(example.text)}</button>'
        for example in examples
    )
    return f"<div><dt>{html.escape(texts(f'skill_{skill}'))}</dt><dd>{buttons}</dd></div>"


def _card(example: Example, texts: Texts) -> str:
    words = html.escape(example.text or f"“{example.said}”")
    kinds = ", ".join(texts(f"tray_{KINDS[path.suffix]}") for path in example.files)
    shown = "".join(_shown(path) for path in example.files)
    return (
        f'<button type="button" data-example="{example.key}"><span class="shown">{shown}</span>'
        f'<span class="kinds">{html.escape(kinds)}</span><span class="words" lang="en">{words}</span></button>'
    )


def _shown(path: Path) -> str:
    url, kind = html.escape(file_url(path)), KINDS[path.suffix]
    if kind == "image":
        return f'<img src="{url}" alt="" loading="lazy">'
    if kind == "video":
        # The fraction makes Safari draw a picture before it plays.
        return f'<video src="{url}#t=0.1" preload="metadata" muted playsinline tabindex="-1"></video>'
    return '<i class="kind audio"></i>'
