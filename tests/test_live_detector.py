"""Where speech begins and ends: laws of the marks over scripted probabilities; the real model on real speech."""

import shutil

import numpy as np
import pytest

from app.live.detector import FRAME, FRAME_S, SAMPLE_RATE, Mark, SpeechDetector, Timing

TIMING = Timing()


def marks_of(script: str, timing: Timing = TIMING, piece: int = 640) -> list[Mark]:
    """Of a script with one letter per frame of 32 ms: "s" speech, "?" perhaps, else silence."""
    chances = iter([{"s": 0.9, "?": 0.4}.get(letter, 0.05) for letter in script])
    detector = SpeechDetector(timing, lambda frame: next(chances))
    sound = np.zeros(len(script) * FRAME, np.float32)
    return [mark for start in range(0, len(sound), piece) for mark in detector.push(sound[start : start + piece])]


def kinds(script: str, **changes) -> list[str]:
    return [mark.kind for mark in marks_of(script, Timing(**changes))]


def test_a_message_begins_before_its_first_syllable_and_ends_after_the_silence():
    script = "." * 30 + "s" * 20 + "." * 30
    begin, speech, pause, end = marks_of(script)
    assert [mark.kind for mark in (begin, speech, pause, end)] == ["begin", "speech", "pause", "end"]
    assert begin.sample == pytest.approx((30 * FRAME) - TIMING.pre_roll_s * SAMPLE_RATE, abs=1)
    assert pause.sample == end.sample == 50 * FRAME
    assert speech.sample * 1.0 == pytest.approx((30 + np.ceil(TIMING.least_s / FRAME_S)) * FRAME)


def test_the_marks_do_not_depend_on_how_the_sound_is_cut():
    script = "..s.ss" + "s" * 15 + "." * 12 + "s" * 9 + "?" * 4 + "." * 40 + "sss" + "." * 30
    expected = marks_of(script)
    assert all(marks_of(script, piece=piece) == expected for piece in (1, 100, 512, 513, 5000))


@pytest.mark.parametrize(
    "script, expected",
    [
        ("." * 50, []),
        ("s" + "." * 40, []),
        (".s.s.s.s.s" + "." * 40, []),
        ("?" * 50, []),
        ("sss" + "." * 40, ["begin", "false"]),
        ("s" * 20 + "?" * 30 + "." * 40, ["begin", "speech", "pause", "end"]),
        ("s" * 20 + "." * 12 + "s" * 5 + "." * 30, ["begin", "speech", "pause", "resume", "pause", "end"]),
        ("s" * 20 + "." * 5 + "s" * 5 + "." * 30, ["begin", "speech", "pause", "end"]),
        ("sss" + "." * 40 + "s" * 20 + "." * 30, ["begin", "false", "begin", "speech", "pause", "end"]),
    ],
)
def test_coughs_pauses_and_doubts(script, expected):
    assert kinds(script) == expected


def test_silence_and_least_speech_are_settings():
    script = "s" * 20 + "." * 25 + "s" * 20 + "." * 60
    assert kinds(script, silence_s=0.6).count("end") == 2
    assert kinds(script, silence_s=1.2).count("end") == 1
    assert kinds("s" * 5 + "." * 40, least_s=0.1)[:2] == ["begin", "speech"]


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_real_speech_is_found_and_noise_is_not():
    from training.voices.synthesizers import espeak

    said = espeak("what is twelve plus five", "en-us", speed=150)
    rng = np.random.default_rng(0)
    sound = np.concatenate([np.zeros(16_000), said * 0.5, np.zeros(20_000)]).astype(np.float32)
    sound += (rng.standard_normal(len(sound)) * 0.002).astype(np.float32)
    detector = SpeechDetector()
    found = detector.push(sound)
    assert [mark.kind for mark in found][:2] == ["begin", "speech"] and found[-1].kind == "end"
    assert 16_000 - 0.4 * SAMPLE_RATE <= found[0].sample <= 16_000
    assert abs(found[-1].sample - (16_000 + len(said))) < 0.25 * SAMPLE_RATE
    hiss = (rng.standard_normal(80_000) * 0.05).astype(np.float32)
    assert detector.push(hiss) == []
