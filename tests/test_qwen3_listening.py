"""Messages spoken live to a Qwen3-Omni, whose blocks of sound are 8 s: the laws of `tests/test_listening.py`."""

import pytest

from tests.test_listening import (  # noqa: F401
    real_service,
    session,
    settings,
    test_a_message_that_was_none_leaves_nothing_of_an_answer_that_was_begun,
    test_after_the_cache_was_given_up_a_spoken_message_finds_all_older_turns,
    test_an_answer_begun_in_a_pause_is_forgotten_when_the_person_goes_on,
    test_pictures_fill_the_memory_too_and_leave_room_for_an_answer,
    test_what_is_spoken_live_is_answered_and_remembered_like_the_file,
)


@pytest.fixture(scope="module")
def service(tiny_qwen3_checkpoint, tmp_path_factory):
    with real_service(tiny_qwen3_checkpoint, tmp_path_factory.mktemp("listening")) as started:
        yield started
