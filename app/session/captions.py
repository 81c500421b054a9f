"""A reply's words as captions of its speech, SRT or WebVTT; knows no session.

When a word is spoken is not known to the program, only how long the whole takes: each line lasts its share of the
characters.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_LINE = 60
_SENTENCE = re.compile(r".+?(?:[.!?…。！？]+[\"')\]]*(?=\s|$)|[。！？]|$)", re.DOTALL)


@dataclass(frozen=True)
class Caption:
    start_s: float
    end_s: float
    text: str


def captions(text: str, duration_s: float) -> list[Caption]:
    """Sentences, long ones cut between words, over `duration_s`; none where there is no text or no sound."""
    lines = [line for sentence in _SENTENCE.findall(" ".join(text.split())) for line in _lines(sentence.strip())]
    total = sum(map(len, lines))
    if not total or duration_s <= 0:
        return []
    found, done = [], 0
    for line in lines:
        start, done = done, done + len(line)
        found.append(Caption(duration_s * start / total, duration_s * done / total, line))
    return found


def to_srt(found: Sequence[Caption]) -> str:
    blocks = (
        f"{number}\n{_clock(one.start_s, ',')} --> {_clock(one.end_s, ',')}\n{one.text}\n"
        for number, one in enumerate(found, 1)
    )
    return "\n".join(blocks)


def to_vtt(found: Sequence[Caption]) -> str:
    """Text is plain: what could be a tag or an arrow is written as an entity."""
    blocks = (
        f"{_clock(one.start_s, '.')} --> {_clock(one.end_s, '.')}\n"
        + one.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        + "\n"
        for one in found
    )
    return "WEBVTT\n\n" + "\n".join(blocks)


def _lines(sentence: str) -> list[str]:
    lines: list[str] = []
    for word in sentence.split(" "):
        if lines and len(lines[-1]) + 1 + len(word) <= MAX_LINE:
            lines[-1] += f" {word}"
        else:
            # A language without spaces, or something that is no word.
            lines += [word[start : start + MAX_LINE] for start in range(0, len(word), MAX_LINE)]
    return lines


def _clock(seconds: float, mark: str) -> str:
    ms = round(1000 * seconds)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}{mark}{ms % 1000:03d}"
