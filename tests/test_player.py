"""Laws of the player's feed: what is pushed comes out once and in order, as small JSON."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from app.types.events import AudioChunk
from components.player import LABELS, PlayerFeed, build_player, read_report, read_told, stop_value

RATE = 24_000
REPORT = {
    "generation": 3,
    "first_packet_epoch_ms": 1.5,
    "first_sound_epoch_ms": 2.5,
    "first_sound_after_submit_s": None,
    "num_underruns": 0,
    "played_samples": 10,
    "lost_samples": 0,
    "how": "ended",
    "final": True,
}


def chunk(start_sample: int, samples: np.ndarray, sample_rate: int = RATE) -> AudioChunk:
    return AudioChunk(1, 0.0, start_sample, samples.astype(np.float32), sample_rate)


def pcm(value: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(json.loads(value)["pcm"]), dtype="<i2")


def test_all_samples_come_out_once_and_in_order_however_they_are_taken() -> None:
    wave = np.random.default_rng(0).uniform(-1, 1, 5_000).astype(np.float32)
    feed = PlayerFeed(7)
    values = [feed.begin()]
    start = 0
    for index, size in enumerate([1, 0, 999, 2_000, 17, 1_983]):
        feed.push(chunk(start, wave[start : start + size]))
        start += size
        if index % 2:
            values.append(feed.take())
    values.append(feed.end())
    packets = [json.loads(value) for value in values]
    assert np.array_equal(np.concatenate([pcm(value) for value in values]), np.round(wave * 32767).astype(np.int16))
    assert [packet["seq"] for packet in packets] == list(range(len(packets)))
    assert [packet["start"] for packet in packets] == list(np.cumsum([0] + [len(pcm(value)) for value in values[:-1]]))
    assert [packet.get("end", False) for packet in packets] == [False] * (len(packets) - 1) + [True]
    assert {packet["generation"] for packet in packets} == {7}


def test_take_gives_none_when_nothing_is_new() -> None:
    feed = PlayerFeed(1)
    assert feed.take() is None
    feed.push(chunk(0, np.zeros(0)))
    assert feed.take() is None
    feed.push(chunk(0, np.ones(3)))
    assert feed.take() is not None
    assert feed.take() is None


@pytest.mark.parametrize(
    ("sample", "expected"), [(0.0, 0), (1.0, 32767), (-1.0, -32767), (1.7, 32767), (-9.0, -32767), (0.5, 16384)]
)
def test_loud_samples_clip_and_never_wrap(sample: float, expected: int) -> None:
    feed = PlayerFeed(1)
    feed.push(chunk(0, np.array([sample])))
    assert pcm(feed.take()).tolist() == [expected]


def test_a_value_is_little_more_than_its_base64() -> None:
    feed = PlayerFeed(1_000_000)
    feed.push(replace(chunk(0, np.zeros(12_000)), hold_s=0.25))
    value = feed.take()
    assert len(value) <= 12_000 * 2 * 4 / 3 + 120, len(value)


def test_only_the_value_with_the_first_samples_carries_the_hold() -> None:
    feed = PlayerFeed(1)
    values = [feed.begin()]
    feed.push(replace(chunk(0, np.ones(5)), hold_s=0.25))
    feed.push(chunk(5, np.ones(5)))
    values.append(feed.take())
    feed.push(chunk(10, np.ones(5)))
    values += [feed.take(), feed.end()]
    assert [json.loads(value).get("hold_s") for value in values] == [None, 0.25, None, None]


@pytest.mark.parametrize("bad", [chunk(10, np.zeros(5)), chunk(5, np.zeros(5), 16_000)], ids=["a hole", "another rate"])
def test_chunks_that_do_not_join_are_refused(bad: AudioChunk) -> None:
    feed = PlayerFeed(1)
    feed.push(chunk(0, np.zeros(5)))
    with pytest.raises(AssertionError):
        feed.push(bad)


def test_a_stop_names_its_generation() -> None:
    assert json.loads(stop_value(4)) == {"generation": 4, "stop": True}


@pytest.mark.parametrize(
    "change",
    [{"generation": "x"}, {"generation": None}, {"played_samples": []}, {"first_sound_epoch_ms": "nan"}],
    ids=str,
)
def test_a_malformed_report_is_none(change: dict) -> None:
    assert read_report(REPORT).played_samples == 10
    assert read_report({**REPORT, **change}) is None
    assert read_report(None) is None
    assert read_report({}) is None


@pytest.mark.parametrize(
    "told",
    [
        "",
        "null",
        "7",
        "{}",
        "[]",
        "{",
        "[" * 1_500,
        "x" * 10_000,
        None,
        7,
        json.dumps(REPORT | {"played_samples": "x"}),
    ],
    ids=lambda told: str(told)[:12],
)
def test_what_a_stop_tells_is_a_report_or_nothing(told: object) -> None:
    assert read_told(json.dumps(REPORT)) == read_report(REPORT)
    assert read_told(told) is None


@pytest.mark.parametrize(("told", "read"), [(-3, 0), (10**30, 2**31 - 1), (1.9, 1), ("12", 12)])
def test_a_figure_that_cannot_be_is_the_nearest_that_can(told: object, read: int) -> None:
    assert read_report({**REPORT, "played_samples": told}).played_samples == read


@pytest.mark.parametrize("told", [float("nan"), float("inf"), "9" * 5_000, {}, None])
def test_a_figure_that_is_no_number_makes_no_report(told: object) -> None:
    assert read_report({**REPORT, "played_samples": told}) is None


def test_every_language_has_words_for_every_state() -> None:
    assert {language: set(words) for language, words in LABELS.items()} == dict.fromkeys(LABELS, set(LABELS["en"]))


def test_the_component_shows_no_value_and_offers_the_report_event() -> None:
    player = build_player()
    assert "value" not in player.html_template
    assert callable(player.report)
