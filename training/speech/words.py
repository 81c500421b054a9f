"""Which word of a text each phone of a recording belongs to; knows no tokens and no codes.

The synthesizer tells phones and not words. It is asked for every word alone, and the phones of a sentence are aligned
with those of its words one after another.
"""

import json
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

SILENCE = "pau"
WORD = re.compile(r"[A-Za-z']+")
VOWELS = frozenset("aa ae ah ao aw ax ay eh er ey ih iy ow oy uh uw".split())
# Words asked for in one run of the synthesizer.
BATCH = 100
NO_WORD = -1


def spans(text: str) -> list[tuple[int, int]]:
    """First and last character (exclusive) of every word."""
    return [match.span() for match in WORD.finditer(text)]


def words_of(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def pronounce(words: Iterable[str]) -> dict[str, list[str]]:
    """Phones of every word said alone."""
    ordered = sorted(set(words))
    found = {}
    for first in range(0, len(ordered), BATCH):
        part = ordered[first : first + BATCH]
        said = _phones(". ".join(part) + ".")
        # An abbreviation swallows the full stop behind it; then one by one.
        found |= dict(zip(part, said if len(said) == len(part) else (sum(_phones(word), []) for word in part)))
    return found


def _phones(text: str) -> list[list[str]]:
    """Phones between silences."""
    command = ["flite", "-voice", "slt", "-ps", "-t", text, "-o", "none"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pieces = " ".join(printed.split()).split(SILENCE)
    return [piece.split() for piece in pieces if piece.strip()]


def write(path: Path, texts: Iterable[str]) -> None:
    """Pronunciations of all words of `texts`; those that are there stay as they are."""
    known = json.loads(path.read_text()) if path.exists() else {}
    new = {word for text in texts for word in words_of(text)} - known.keys()
    if new:
        path.write_text(json.dumps(known | pronounce(new)))


def align(phones: Sequence[str], words: Sequence[Sequence[str]]) -> list[int]:
    """Index of the word of every phone, `NO_WORD` for silence: the alignment with the fewest changes."""
    alone = [(phone, index) for index, word in enumerate(words) for phone in word]
    spoken = [(place, phone) for place, phone in enumerate(phones) if phone != SILENCE]
    found = [NO_WORD] * len(phones)
    if not alone:
        return found
    costs = [[float(column) for column in range(len(alone) + 1)]]
    for _, phone in spoken:
        before, row = costs[-1], [costs[-1][0] + 1.0]
        for column, (other, _) in enumerate(alone, 1):
            row.append(min(before[column - 1] + _change(phone, other), before[column] + 1.0, row[-1] + 1.0))
        costs.append(row)
    row, column = len(spoken), len(alone)
    while row:
        place, phone = spoken[row - 1]
        cost, (other, word) = costs[row][column], alone[max(0, column - 1)]
        if column and cost == costs[row - 1][column - 1] + _change(phone, other):
            found[place] = word
            row, column = row - 1, column - 1
        elif cost == costs[row - 1][column] + 1.0:
            found[place] = word
            row -= 1
        else:
            column -= 1
    return found


def _change(phone: str, other: str) -> float:
    """Vowels are weakened in a sentence, seldom lost."""
    if phone == other:
        return 0.0
    return 0.5 if (phone in VOWELS) == (other in VOWELS) else 1.5
