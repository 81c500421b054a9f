"""Every sentence that the page shows, in English, Chinese and Russian; knows no widget's state.

Labels that never change are translated in the browser (`i18n`); sentences with figures in them are made here, in the
language that the browser asked for (`Texts`). What the program itself says in English is translated when it is shown.
"""

from collections.abc import Mapping

import gradio as gr

from components.texts.en import EN
from components.texts.ru import RU
from components.texts.sentences import Translator
from components.texts.sentences_ru import SENTENCES_RU, WORDS_RU
from components.texts.sentences_zh import SENTENCES_ZH, WORDS_ZH
from components.texts.zh import ZH

LANGUAGES: Mapping[str, Mapping[str, str]] = {"en": EN, "zh": ZH, "ru": RU}
# Browsers name a region too; Gradio looks a language up by its full name.
REGIONS = {
    "en": ("en", "en-US", "en-GB"),
    "zh": ("zh", "zh-CN", "zh-TW", "zh-HK", "zh-Hans", "zh-Hant"),
    "ru": ("ru", "ru-RU"),
}

TRANSLATORS: Mapping[str, Translator] = {
    "zh": Translator(SENTENCES_ZH, WORDS_ZH, str),
    "ru": Translator(SENTENCES_RU, WORDS_RU, lambda number: number.replace(",", "\u202f").replace(".", ",")),
}

i18n = gr.I18n(**{region: dict(LANGUAGES[language]) for language, regions in REGIONS.items() for region in regions})


class Texts:
    """The sentences of one language. `texts("status_queued", num=3)` fills the figures in."""

    def __init__(self, language: str) -> None:
        assert language in LANGUAGES, language
        self.language = language

    def __call__(self, key: str, **values: object) -> str:
        return LANGUAGES[self.language][key].format(**values)

    def has(self, key: str) -> bool:
        return key in LANGUAGES[self.language]

    def sentence(self, message: str) -> str:
        """What the program said in English; as it is where it has no translation."""
        translator = TRANSLATORS.get(self.language)
        return message if translator is None else translator(message)

    def count(self, number: int) -> str:
        """An integer with the language's thousands separator."""
        separator = "\u202f" if self.language == "ru" else ","
        return f"{number:,}".replace(",", separator)

    def seconds(self, seconds: float) -> str:
        """Milliseconds below one second, else seconds with two digits."""
        if seconds < 0.9995:
            return self("unit_ms", number=round(seconds * 1000))
        return self("unit_s", number=self.decimal(f"{seconds:.2f}" if seconds < 100 else f"{seconds:.0f}"))

    def clock(self, seconds: float) -> str:
        """A media length as 0:07."""
        minutes, rest = divmod(max(round(seconds), 1), 60)
        return f"{minutes}:{rest:02d}"

    def memory(self, num_bytes: int) -> str:
        unit, size = ("unit_gb", 1e9) if num_bytes >= 1e9 else ("unit_mb", 1e6)
        return self(unit, number=self.decimal(f"{max(num_bytes / size, 0.1):.1f}"))

    def decimal(self, number: str) -> str:
        return number.replace(".", ",") if self.language == "ru" else number


def texts_for(accept_language: str) -> Texts:
    """The first language of an Accept-Language header that the page speaks, else English."""
    wanted = []
    for position, entry in enumerate(accept_language.split(",")):
        name, _, quality = entry.strip().partition(";q=")
        try:
            wanted.append((-float(quality or 1), position, name.strip().lower().partition("-")[0]))
        except ValueError:
            continue
    return next((Texts(name) for _, _, name in sorted(wanted) if name in LANGUAGES), Texts("en"))
