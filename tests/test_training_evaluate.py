"""The judge hears what a voice said, and the evaluation counts as it says."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile

from training.domain.exchange import SKILLS
from training.evaluate import figures, sets
from training.evaluate.answers import Verdict
from training.evaluate.near_misses import near_misses, one_word_changed, otherwise
from training.evaluate.recognizer import Recognizer, missing_words, sound_distance, word_errors, words_of
from training.evaluate.talk import reply_judge, spoken_habits
from training.speech.reply_voices import SAMPLE_RATE, VOICES, speak

WORDS = "the opposite of hot is cold twenty three plus four seven good morning my friend".split()


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_the_judge_hears_a_natural_voice(tmp_path: Path) -> None:
    text, path = "twenty three plus four is twenty seven", tmp_path / "said.wav"
    subprocess.run(["flite", "-voice", "slt", "-t", text, "-o", str(path)], check=True)
    wave, sample_rate = soundfile.read(path)
    judge = Recognizer(WORDS)
    heard = judge.recognize(wave, sample_rate)
    assert word_errors(text, heard)[0] <= 1, heard
    assert judge.recognize(wave * 0.1, sample_rate) == heard
    assert Recognizer(None).recognize(wave, sample_rate).split()[-1] == "seven"


@pytest.mark.parametrize(
    "reference, heard, expected",
    [
        ("a b c", "a b c", (0, 3)),
        ("The letter is C.", "the letter is see", (0, 4)),
        ("one two", "one three two", (1, 2)),
        ("one two three", "", (3, 3)),
        ("red circle", "blue circle", (1, 2)),
        ("", "noise", (1, 0)),
    ],
)
def test_word_errors_are_edits(reference: str, heard: str, expected: tuple[int, int]) -> None:
    assert word_errors(reference, heard) == expected


def test_words_without_a_pronunciation_are_named() -> None:
    assert missing_words(["red", "blorptang"]) == ["blorptang"]
    with pytest.raises(ValueError, match="blorptang"):
        Recognizer(["red", "blorptang"])


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_a_judge_that_knows_how_one_talks_hears_what_the_loop_misses() -> None:
    sentences = [f"I see a {colour} {shape}." for colour in ("red", "blue", "green") for shape in ("circle", "square")]
    words = {word for sentence in sentences for word in words_of(sentence)}
    judge = Recognizer(words, sentences)
    for text in ("I see a green circle.", "I see a blue square."):
        heard = judge.recognize(speak(text, 1), SAMPLE_RATE)
        assert word_errors(text, heard) == (0, 5), heard


@pytest.mark.parametrize(
    "reply, near",
    [
        ("Five times three is fifteen.", ["Five times three is fifty.", "Five times two is ten."]),
        ("The opposite of hot is cold.", ["The opposite of hot is old.", "Five times two is ten."]),
        ("I am sorry, I do not know.", ["Five times two is ten."]),
    ],
)
def test_a_near_miss_is_another_answer_in_sound_or_words(reply: str, near: list[str]) -> None:
    found = near_misses(
        random.Random(0), reply, [reply, "Five times two is ten.", "Please show me a picture of it now."]
    )
    assert found == near
    assert all(word_errors(reply, text)[0] for text in found)


def test_a_number_of_two_words_becomes_another_number() -> None:
    texts = {text for _, _, text in one_word_changed("Twenty nine.")}
    assert {"Thirty nine.", "Twenty five."} <= texts
    assert texts.isdisjoint({"Eleven nine.", "Twenty eleven.", "Twenty thirty."})


def test_a_sentence_about_other_things_keeps_its_form() -> None:
    texts = {otherwise(random.Random(seed), "Twenty nine comes after red, T, A.") for seed in range(20)}
    assert len(texts) > 15
    for text in texts:
        words = text.replace(",", "").replace(".", "").split()
        assert len(words) == 7 and words[2] == "comes" and words[3] == "before", text
        assert words[0] != "Twenty" and words[1] != "nine" and words[4] != "red" and words[5] != "T", text
        assert text[0].isupper() and len(words[5]) == len(words[6]) == 1, text
    assert otherwise(random.Random(0), "I am sorry, I do not know.") == "I am sorry, I do not know."


def test_thirteen_sounds_more_like_thirty_than_like_two() -> None:
    assert sound_distance("see", "sea") == 0 < sound_distance("thirteen", "thirty") < sound_distance("thirteen", "two")


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_the_judge_of_replies_hears_the_right_one_and_it_in_no_wrong_one() -> None:
    replies = ("I am sorry, I do not know.", "Five times three is fifteen.", "The opposite of hot is cold.")
    others = sorted(set(spoken_habits()))
    near = {reply: near_misses(random.Random(0), reply, others) for reply in replies}
    judge = reply_judge([text for reply in replies for text in (reply, *near[reply])])
    for reply in replies:
        for voice in range(len(VOICES)):
            heard = judge.recognize(speak(reply, voice), SAMPLE_RATE)
            assert word_errors(reply, heard)[0] == 0, heard
            for text in near[reply]:
                heard = judge.recognize(speak(text, voice), SAMPLE_RATE)
                assert word_errors(reply, heard)[0] > 0, (text, heard)


def test_a_group_is_the_same_whenever_it_is_drawn() -> None:
    for group in ("typed", "image"):
        first, second = (sets.draw(group, 20) for _ in range(2))
        assert [(case.asks[0].words, case.reply) for case in first] == [
            (case.asks[0].words, case.reply) for case in second
        ]
    assert len({case.skill for case in sets.draw("typed", len(SKILLS))}) == len(SKILLS)


@pytest.mark.parametrize(
    "answer, is_right", [("I see a red circle.", True), ("i see a red circle", True), ("I see a red square.", False)]
)
def test_the_whole_answer_counts_and_not_its_marks(answer: str, is_right: bool) -> None:
    case = sets.Case("describe", (), "I see a red circle.")
    assert Verdict(case, answer).is_right is is_right


def test_figures_measured_later_replace_those_of_their_group_alone() -> None:
    old = figures.to_json({"typed": figures.share([True, False]), "image": figures.share([True], {"count": 1.0})})
    new = figures.to_json({"typed": figures.share([True] * 4)})
    both = figures.merged(old, new)
    assert (both["typed"], both["image"], both["num"]) == (1.0, 1.0, {"typed": 4, "image": 1})
    assert both["parts"] == {"image": {"count": 1.0}}
    assert "typed" in figures.table(both) and 0 < both["error"]["typed"] < 0.3
