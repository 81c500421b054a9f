"""The program's own English sentences in another language; knows none of them, only how one is found and filled in.

A catalogue has a translation for each English template. A template's holes are `{}` for anything, `{n}` for a number,
and `{name}` for one of the templates in `WORDS[name]`, which is translated too. A translation names them by their
places: `{0}`, `{1}`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from string import Formatter

Catalogue = Mapping[str, str]
NUMBER = r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"


@dataclass(frozen=True)
class Template:
    """`fixed`: the text around the holes, one piece more than there are `holes`."""

    fixed: tuple[str, ...]
    holes: tuple[str, ...]


def parsed(text: str) -> Template:
    fixed, holes = [""], []
    for literal, hole, _, _ in Formatter().parse(text):
        fixed[-1] += literal
        if hole is not None:
            holes.append(hole)
            fixed.append("")
    return Template(tuple(fixed), tuple(holes))


@dataclass(frozen=True)
class Translator:
    """`sentences`: a catalogue; `words`: one for each kind of hole; `number`: how a number is written."""

    sentences: Catalogue
    words: Mapping[str, Catalogue]
    number: Callable[[str], str]

    def __call__(self, message: str) -> str:
        """The message itself where it is none of the templates'."""
        return self._translated(message, self._compiled)

    @cached_property
    def _compiled(self) -> list[tuple[re.Pattern, Template, str]]:
        return self._compile(self.sentences)

    @cached_property
    def _compiled_words(self) -> dict[str, list[tuple[re.Pattern, Template, str]]]:
        return {name: self._compile(catalogue) for name, catalogue in self.words.items()}

    def _compile(self, catalogue: Catalogue) -> list[tuple[re.Pattern, Template, str]]:
        """What is most specific comes first: the longest fixed text."""
        found = [(parsed(text), translation) for text, translation in catalogue.items()]
        found.sort(key=lambda pair: sum(map(len, pair[0].fixed)), reverse=True)
        return [(re.compile(self._pattern(one, "({})"), re.DOTALL), one, translation) for one, translation in found]

    def _pattern(self, template: Template, around: str) -> str:
        """Holes are greedy: a file's name comes first, and may have in it what comes behind it."""
        first, *rest = map(re.escape, template.fixed)
        holes = (around.format(self._hole(hole)) for hole in template.holes)
        return first + "".join(hole + fixed for hole, fixed in zip(holes, rest, strict=True))

    def _hole(self, hole: str) -> str:
        if hole in self.words:
            return "|".join(self._pattern(parsed(text), "(?:{})") for text in self.words[hole])
        return {"": ".*", "n": NUMBER}[hole]

    def _translated(self, message: str, compiled: list[tuple[re.Pattern, Template, str]]) -> str:
        for pattern, template, translation in compiled:
            if (match := pattern.fullmatch(message)) is not None:
                return translation.format(*map(self.filled, template.holes, match.groups()))
        return message

    def filled(self, hole: str, value: str) -> str:
        """What stands for a value in the translation."""
        if hole in self.words:
            return self._translated(value, self._compiled_words[hole])
        return self.number(value) if hole == "n" else value
