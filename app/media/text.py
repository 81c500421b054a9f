"""Makes typed text safe to tokenise and measures it; knows no tokenizer and no control token."""

import unicodedata
from collections.abc import Sequence

from app.errors import BadInput
from app.media.limits import MediaLimits


def clean_text(text: str) -> str:
    """Half surrogate pairs and zero bytes, which no tokenizer or file takes, become U+FFFD; all else stays."""
    paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return paired.replace("\0", "\N{REPLACEMENT CHARACTER}")


def is_blank(text: str) -> bool:
    """True for nothing but spaces, control and other invisible characters."""
    return all(char.isspace() or unicodedata.category(char) in ("Cc", "Cf") for char in text)


def check_length(texts: Sequence[str], limits: MediaLimits) -> None:
    num_chars = sum(map(len, texts))
    if num_chars > limits.max_text_chars:
        raise BadInput(
            f"The text has {num_chars:,} characters and at most {limits.max_text_chars:,} can be sent; "
            "shorten it or send it in several messages."
        )
