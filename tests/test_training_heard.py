"""How hearing live and cutting a reply are measured: the measures themselves say what they claim."""

import math
import shutil

import numpy as np
import pytest

from app.chatml.live import RISE_DECADES
from app.config import MICRO_CHECKPOINT
from tests.engine_kit import noise_audio
from training.evaluate.heard_cut import CUTS_PER_REPLY, Cut, Keeper, cuts, original, summed_up
from training.evaluate.live_level import features, live_prompt, louder, whole_prompt
from training.evaluate.talk import reply_judge
from training.speech.reply_voices import VOICES

REPLY = "I am sorry, I do not know that."


def test_a_question_that_gets_louder_keeps_its_second_half() -> None:
    samples = noise_audio(1, 6.0).samples
    sound = louder(samples, 20.0)
    assert np.abs(sound[48_000:] - samples[48_000:]).max() < 1e-4
    assert np.abs(sound[:48_000] - 0.1 * samples[:48_000]).max() < 1e-4
    # A block of 2 s is out before the rise, else there would be nothing to hear wrongly.
    assert np.abs(louder(samples[:48_000], 20.0)[:32_000] - 0.1 * samples[:32_000]).max() < 1e-4


def test_a_rise_that_the_policy_catches_is_heard_like_the_whole_clip(tiny) -> None:
    tone = (0.5 * np.sin(np.arange(96_000) * 0.4)).astype(np.float32)
    sound = louder(tone, 20.0)
    whole = features(whole_prompt(tiny.engine, sound))
    with_policy, num_again = live_prompt(tiny.engine, sound, RISE_DECADES)
    without, num_never = live_prompt(tiny.engine, sound, math.inf)
    assert (num_again, num_never) == (1, 0)
    # A pure tone is hardly louder in one place than in another: what is left is that, and no decade.
    assert (features(with_policy) - whole).abs().max() < 0.01
    assert (features(without) - whole).abs().max() > 0.3


def test_all_words_of_a_reply_that_was_heard_whole_are_kept_and_none_of_one_that_was_not() -> None:
    keeper = Keeper(MICRO_CHECKPOINT)
    assert [keeper.num_kept(REPLY, share) for share in (0.0, 1.0)] == [0, 8]


def test_cuts_are_counted_by_how_far_they_are_from_what_was_heard() -> None:
    name = VOICES[0][0]
    made = [Cut(name, kept, kept, 4) for kept in (1, 2, 4, 5, 5, 7)]
    found = summed_up(made, [True, False])
    assert found["kept"]["within_two"] == round(4 / 6, 3)
    assert found["kept"]["more_than_heard"] == {-3: 1, -2: 1, 0: 1, 1: 2, 3: 1}
    assert (found["cuts"], found["replies_heard_whole"]) == (6, 0.5)


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_of_a_clear_voice_the_words_kept_are_those_that_a_recognizer_hears() -> None:
    rows = list(cuts([REPLY], original, Keeper(MICRO_CHECKPOINT), reply_judge([REPLY])))
    assert len(rows) == len(VOICES) and all(len(made) == CUTS_PER_REPLY for made, _ in rows)
    found = summed_up([cut for made, _ in rows for cut in made], [is_heard for _, is_heard in rows])
    assert found["kept"]["within_two"] == 1.0, found
