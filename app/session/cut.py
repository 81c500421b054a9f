"""How much of a reply was heard: from the samples that were played to the text that stays; knows no session.

The sound is cut to the sample. The text cannot be: code i and text token i are consumed together but not spoken
together, so no table says which word a sample belongs to. It is estimated by the share of the speech that was played,
weighted by characters and rounded down to a whole word.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# English read aloud at a usual pace: about 15 characters a second.
S_PER_CHARACTER = 0.066


@dataclass(frozen=True)
class Heard:
    """What stays of a reply. `num_ids`: of its token ids, those whose text stays."""

    num_ids: int
    text: str


def projected_samples(num_samples: int, is_spoken_out: bool, num_characters: int, sample_rate: int) -> int:
    """Length of the whole speech of a reply of which `num_samples` are made; at least so many."""
    if is_spoken_out:
        return num_samples
    return max(num_samples, round(num_characters * S_PER_CHARACTER * sample_rate))


def heard_of(decode: Callable[[Sequence[int]], str], reply: Any, played_samples: int, is_spoken_out: bool) -> Heard:
    """Of a `Reply` that ended just now; nothing of one that was still silent."""
    if not reply.chunks:
        return Heard(0, "")
    rate = reply.chunks[0].sample_rate
    whole = projected_samples(reply.num_samples, is_spoken_out, len(reply.text), rate)
    return heard(decode, reply.text_ids, played_samples / max(1, whole))


def heard(decode: Callable[[Sequence[int]], str], reply_ids: Sequence[int], share: float) -> Heard:
    """The words of a reply that lie within `share` of its characters, with the ids that make exactly them.

    `decode` gives the text of ids. A word that is cut by the border counts as not heard, unless nothing is left of it.
    """
    whole = decode(reply_ids)
    limit = max(0.0, min(1.0, share)) * len(whole.rstrip())
    best = Heard(0, "")
    for num_ids in range(1, len(reply_ids) + 1):
        text = decode(reply_ids[:num_ids])
        # An id may end within a character of several bytes; then its text is no beginning of the whole.
        if len(text.rstrip()) > limit + 1e-6:
            break
        if whole.startswith(text) and _ends_word(whole, len(text)):
            best = Heard(num_ids, text)
    return best


def _ends_word(text: str, end: int) -> bool:
    """Letters do not go on behind `end`; every character of a language without spaces is a word of its own."""
    if end == 0 or end == len(text):
        return True
    before, after = text[end - 1], text[end]
    return not (_is_letter(before) and _is_letter(after))


def _is_letter(character: str) -> bool:
    # From the CJK radicals on, words are not parted by spaces.
    return (character.isalnum() or character in "'’") and ord(character) < 0x2E80
