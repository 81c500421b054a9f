"""Plain English of common words: the example sentences of WordNet's glosses; knows no audio."""

import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Literal

WORDNET_FOLDER = Path("/usr/share/wordnet")
PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
MIN_WORDS, MAX_WORDS = 3, 12
# A word that the examples use less often is a name or a rarity, which synthesizers mispronounce.
MIN_COUNT = 6
HELD_OUT_SHARE = 20

EXAMPLE = re.compile(r'"([^"]+)"')
PLAIN = re.compile(r"[A-Za-z][A-Za-z', ]*[a-z]")
WORD = re.compile(r"[a-z']+")


def sentences(split: Literal["train", "test"], folder: Path = WORDNET_FOLDER) -> list[str]:
    """Distinct sentences, "He ran up the stairs.", in a fixed order; about one in twenty is held out for "test"."""
    found = examples(folder)
    counts = Counter(word for text in found for word in words(text))
    common = [text for text in found if all(counts[word] >= MIN_COUNT for word in words(text))]
    return [text for text in common if is_held_out(text) == (split == "test")]


def examples(folder: Path) -> list[str]:
    """Every example of the right length and alphabet, in sentence case with a full stop."""
    found: dict[str, None] = {}
    for part in PARTS_OF_SPEECH:
        path = folder / f"data.{part}"
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: install the package wordnet-base")
        for line in path.read_text(encoding="utf-8", errors="ignore").splitlines():
            for example in EXAMPLE.findall(line.partition("|")[2]):
                text = " ".join(example.strip(" .").split())
                if PLAIN.fullmatch(text) and MIN_WORDS <= len(text.split()) <= MAX_WORDS:
                    found[text[0].upper() + text[1:] + "."] = None
    return list(found)


def words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def is_held_out(text: str) -> bool:
    return int.from_bytes(hashlib.md5(text.lower().encode()).digest()[:4], "big") % HELD_OUT_SHARE == 0
