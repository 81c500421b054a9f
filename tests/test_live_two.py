"""Two people who talk live to one server with the shipped checkpoint: neither hears the other."""

import itertools
import json
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from websockets.sync.client import ClientConnection

from app.config import MICRO_CHECKPOINT
from tests.test_live_socket import Live, model_service, say
from tests.test_live_talk import silence
from training.evaluate.recognizer import words_of
from training.voices.synthesizers import espeak

# A word of each that its answer says again, whether or not it is right.
QUESTIONS = {"what is twelve plus five": "twelve", "what comes after tuesday": "tuesday"}

pytestmark = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


@dataclass
class Answer:
    """What came down for one question. `ids`: of the reply, as the session holds them."""

    text: str
    ids: tuple[int, ...]
    speech: bytes
    num_underruns: int


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("two")
    made = Live(folder, model_service(MICRO_CHECKPOINT, folder))
    defaults = made.service.default_settings
    made.settings = replace(defaults, thinker=defaults.thinker.greedy(), seed=3)
    yield made
    made.close()


def question(words: str) -> list[np.ndarray]:
    """In pieces of 40 ms, with the silence that ends it."""
    sound = np.concatenate([silence(0.5), espeak(words, "en-us+m3", speed=150) * 0.6, silence(0.9)])
    return [sound[start : start + 640] for start in range(0, len(sound), 640)]


def heard(server: Live, session: str, socket: ClientConnection) -> Answer:
    """Until the answer's end. The underruns are those of a browser that plays from the first packet on."""
    text, speech, runs_dry_at, num_underruns = "", b"", None, 0
    while True:
        message = socket.recv(timeout=120)
        if isinstance(message, bytes):
            (rate,) = struct.unpack_from("<12xI", message)
            now = time.monotonic()
            num_underruns += runs_dry_at is not None and now > runs_dry_at
            runs_dry_at = max(now, runs_dry_at or now) + (len(message) - 16) / 2 / rate
            speech += message[16:]
            continue
        event = json.loads(message)
        text += event["text"] if event["type"] == "text" else ""
        if event["type"] == "end":
            assert event["how"] == "done", event
            break
    past = server.service._sessions.get(session)._core.history.context.past
    return Answer(text, tuple(past[-1].reply_ids), speech, num_underruns)


def talk(server: Live, *spoken: str) -> list[Answer]:
    """All of them at once, piece by piece in turn, each in a session of its own."""
    visits = [server.visit() for _ in spoken]
    for pieces in itertools.zip_longest(*map(question, spoken)):
        for (_, socket), piece in zip(visits, pieces):
            if piece is not None:
                say(socket, piece)
    answers: dict[int, Answer] = {}

    def listen(place: int) -> None:
        answers[place] = heard(server, *visits[place])

    listeners = [threading.Thread(target=listen, args=(place,)) for place in range(len(visits))]
    for listener in listeners:
        listener.start()
    for listener in listeners:
        listener.join()
    for session, socket in visits:
        socket.close()
        server.leave(session)
    return [answers[place] for place in range(len(visits))]


def test_two_who_speak_at_once_are_each_told_what_they_are_told_alone(
    server: Live, record_property: Callable[[str, object], None]
) -> None:
    alone = [talk(server, words)[0] for words in QUESTIONS]
    for answer, word in zip(alone, QUESTIONS.values()):
        assert word in words_of(answer.text), answer.text
    together = talk(server, *QUESTIONS)
    for one, two in zip(alone, together):
        assert (two.text, two.ids) == (one.text, one.ids) and one.ids
        assert two.speech == one.speech and len(one.speech) > 24_000
    # How often a browser would have run dry says what this machine can do and what else it does.
    for name, answers in (("alone", alone), ("together", together)):
        record_property(f"underruns_{name}", sum(answer.num_underruns for answer in answers))
        print(f"underruns {name}: {[answer.num_underruns for answer in answers]}")
