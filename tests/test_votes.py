"""Votes on voices: who sees them, how the voices stand, and the table that they are saved as."""

import csv
import io
from pathlib import Path

import pytest

from app.session.folder import StorageFailed
from app.session.store import Who
from app.session.votes import Standing, Vote, Votes, standings, to_csv

ANNA, BEN, NOBODY = Who("", b"anna"), Who("", b"ben"), Who("", b"")


def vote(at_s: float, voices: tuple[str, ...], chosen: str, checkpoint: str = "micro", is_blind: bool = True) -> Vote:
    return Vote(at_s, checkpoint, voices, chosen, is_blind)


def test_votes_outlive_the_program_and_everybody_sees_their_own(tmp_path: Path) -> None:
    votes = Votes(tmp_path / "kept.sqlite3")
    mine = [vote(1.0, ("Ross", "Stella"), "Ross"), vote(2.0, ("Stella", "Angus"), "Angus", is_blind=False)]
    for one in mine:
        votes.add(ANNA, one)
    votes.add(BEN, vote(3.0, ("Ross", "Angus"), "Angus"))
    votes.add(NOBODY, vote(4.0, ("Ross", "Angus"), "Ross"))
    votes.close()
    votes = Votes(tmp_path / "kept.sqlite3")
    assert votes.of(ANNA) == mine and len(votes.of(BEN)) == 1 and votes.of(NOBODY) == []
    # Who logs in has theirs on every browser.
    votes.add(Who("eva", b"one"), vote(5.0, ("Ross", "Angus"), "Ross"))
    assert len(votes.of(Who("eva", b"two"))) == 1 and votes.of(Who("", b"one")) == []
    votes.forget_before(1.5)
    assert votes.of(ANNA) == mine[1:]
    votes.close()
    with pytest.raises(StorageFailed, match="votes"):
        votes.of(ANNA)


def test_votes_of_a_program_that_keeps_nothing_end_with_it() -> None:
    votes = Votes(None)
    votes.add(ANNA, vote(1.0, ("Ross", "Stella"), "Ross"))
    assert len(votes.of(ANNA)) == 1
    votes.close()


def test_the_voice_that_wins_most_of_its_comparisons_stands_first() -> None:
    found = [
        vote(1, ("Ross", "Stella"), "Ross"),
        vote(2, ("Ross", "Angus"), "Angus"),
        vote(3, ("Angus", "Stella", "Ross"), "Angus"),
        vote(4, ("Chelsie", "Ethan"), "Ethan", checkpoint="Qwen2.5-Omni-7B"),
    ]
    assert standings(found, "micro") == [
        Standing("Angus", 2, 2), Standing("Ross", 1, 3), Standing("Stella", 0, 2),
    ]  # fmt: skip
    assert standings([], "micro") == []


def test_the_table_reads_back_and_holds_no_formula() -> None:
    found = [vote(0.0, ('=HYPERLINK("x")', "Ross"), '=HYPERLINK("x")'), vote(86_400.0, ("Ross", 'a "b", c'), "Ross")]
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert rows[0]["time"] == "1970-01-01T00:00:00+00:00" and rows[1]["blind"] == "1"
    assert rows[0]["chosen"] == '\'=HYPERLINK("x")' and rows[0]["voices"].startswith("'=")
    assert rows[1]["voices"].split("|") == ["Ross", 'a "b", c']
