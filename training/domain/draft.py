"""What a skill draws before its split is known."""

from typing import NamedTuple


class Draft(NamedTuple):
    """`key`: what the split is decided by, None where nothing is composed. The rest as in `Exchange`."""

    key: str | None
    user: str
    reply: str
    typed: str | None = None
