"""Turn-taking over the real engine: two questions, a pause, a cough, speaking over a reply; no socket."""

import json
import queue
import time

import av
import cv2
import numpy as np
import pytest
import soundfile

from app.live.detector import FRAME, SAMPLE_RATE, SpeechDetector, Timing
from app.live.protocol import Command, Picture, Sound
from app.live.talk import Talk, TalkOptions
from tests.engine_kit import noise_audio
from tests.fake_engine import FakeEngine, Script, service_over
from tests.test_listening import brief, real_service, uploaded

WAIT_S = 60
LOUD, QUIET = 0.02, 0.0005


def is_loud(frame: np.ndarray) -> float:
    """In place of the network: these tests are about turns, and their voices are noise."""
    return 0.9 if np.abs(frame).mean() > 0.005 else 0.01


class Visitor:
    """Somebody at a browser: what is said goes up in pieces of 40 ms, what comes down is kept."""

    def __init__(self, service, settings, **options) -> None:
        self.events: list[dict] = []
        self.samples: dict[int, int] = {}
        self._arrived: queue.Queue = queue.Queue()
        self.session = service.open(None, "").session_id
        chosen = TalkOptions(**options)
        self.talk = Talk(
            service,
            self.session,
            lambda: (settings, None),
            self._arrived.put,
            chosen,
            SpeechDetector(chosen.timing, is_loud),
        )

    def say(self, samples: np.ndarray, at_ms: int = 0) -> None:
        for start in range(0, len(samples), 640):
            self.talk.put(Sound(at_ms + start // 16, samples[start : start + 640]))

    def command(self, kind: str, **fields) -> None:
        self.talk.put(Command(kind, fields))

    def wait(self, kind: str, **fields) -> dict:
        """The next event of this kind with these values; those before it are kept too."""
        end = time.monotonic() + WAIT_S
        while True:
            message = self._arrived.get(timeout=max(0.01, end - time.monotonic()))
            if isinstance(message, bytes):
                turn = int.from_bytes(message[4:8], "little")
                self.samples[turn] = self.samples.get(turn, 0) + (len(message) - 16) // 2
                continue
            event = json.loads(message)
            self.events.append(event)
            if event["type"] == kind and all(event.get(name) == value for name, value in fields.items()):
                return event

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]


def voice(seed: int, seconds: float) -> np.ndarray:
    return (noise_audio(seed, seconds).samples * (LOUD / 0.08)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return (np.random.default_rng(9).standard_normal(int(seconds * SAMPLE_RATE)) * QUIET).astype(np.float32)


@pytest.fixture(scope="module")
def service(tiny_checkpoint, tmp_path_factory):
    with real_service(tiny_checkpoint, tmp_path_factory.mktemp("talk")) as started:
        yield started


@pytest.fixture
def settings(service):
    return brief(service.default_settings)


@pytest.fixture
def visit():
    visitors = []

    def make(*args, **options) -> Visitor:
        visitors.append(Visitor(*args, **options))
        return visitors[-1]

    yield make
    for visitor in visitors:
        visitor.talk.close()


def test_two_questions_with_a_pause_are_two_turns_answered_like_files(service, settings, visit, tmp_path):
    visitor = visit(service, settings)
    for number, seed in ((1, 1), (2, 2)):
        visitor.say(np.concatenate([silence(0.6), voice(seed, 3.1), silence(1.0)]))
        assert visitor.wait("turn")["turn"] == number
        visitor.wait("end", how="done")
        visitor.wait("state", state="listening")
    records = service.transcript(visitor.session)
    assert [record.state for record in records] == ["done", "done"]
    clips = [soundfile.read(record.files[0].path, dtype="float32")[0] for record in records]
    # The first syllable and what was before it are in, and the silence that ended it is not.
    assert all(3.1 + 0.3 < len(clip) / SAMPLE_RATE < 3.1 + 1.0 for clip in clips)
    again = service.open(None, "").session_id
    answers = uploaded(service, settings, tmp_path, *clips)
    assert again and [len(answer) for answer in answers] == [6, 6]
    decode = service._loader.engine.decode
    assert [record.reply_text for record in records] == [decode(answer) for answer in answers]
    assert max(event["tokens"] for event in visitor.events if event["type"] == "fed") >= 50


def test_a_pause_within_a_message_makes_one_turn_of_it(service, settings, visit):
    """The answer that was begun in the pause is never seen."""
    visitor = visit(service, settings)
    visitor.say(np.concatenate([silence(0.5), voice(3, 1.5), silence(0.5), voice(4, 1.5), silence(1.0)]))
    visitor.wait("end", how="done")
    assert visitor.kinds().count("turn") == 1 and len(service.transcript(visitor.session)) == 1
    assert visitor.events[-1]["turn"] == 1


def test_a_cough_is_no_message(service, settings, visit):
    visitor = visit(service, settings)
    visitor.say(np.concatenate([silence(0.5), voice(5, 0.15), silence(1.0)]))
    visitor.wait("state", state="hearing")
    visitor.wait("state", state="listening")
    assert service.transcript(visitor.session) == () and service._sessions.get(visitor.session).is_idle


def test_push_to_talk_takes_what_is_said_between_its_two_commands(service, settings, visit):
    visitor = visit(service, settings, hands_free=False)
    visitor.say(np.concatenate([voice(6, 1.0), silence(1.0)]))
    visitor.command("talk")
    visitor.say(np.concatenate([silence(0.3), voice(7, 1.0), silence(1.5), voice(8, 0.5)]))
    visitor.command("talk_end")
    visitor.wait("end", how="done")
    (record,) = service.transcript(visitor.session)
    samples, rate = soundfile.read(record.files[0].path)
    assert len(samples) / rate == pytest.approx(3.3 + Timing.pre_roll_s, abs=0.05)


def jpeg(shade: int, height: int = 120, width: int = 160) -> bytes:
    picture = np.full((height, width, 3), shade, np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def test_what_the_camera_shows_while_somebody_speaks_is_seen_with_it(service, settings, visit):
    """Pictures come twice a second from before the first word on; the message is a clip with sound."""
    visitor = visit(service, settings)
    sound = np.concatenate([silence(0.8), voice(11, 4.2), silence(1.0)])
    for index, start in enumerate(range(0, len(sound), 8_000)):
        at_ms = start * 1000 // SAMPLE_RATE
        visitor.talk.put(Picture(at_ms, jpeg(20 * index)))
        visitor.say(sound[start : start + 8_000], at_ms)
    visitor.wait("end", how="done")
    (record,) = service.transcript(visitor.session)
    (file,) = record.files
    assert file.kind == "video"
    with av.open(str(file.path)) as clip:
        shades = [int(frame.to_ndarray(format="gray").mean()) for frame in clip.decode(video=0)]
        seconds = float(clip.duration / av.time_base)
    # Two a second, each brighter than the one before, all that were shown in these seconds.
    assert len(shades) == pytest.approx(2 * seconds, abs=2) and len(shades) % 2 == 0
    assert shades == sorted(shades) and shades[-1] > shades[0] + 100
    fed = max(event["tokens"] for event in visitor.events if event["type"] == "fed")
    assert fed > 2 * 50 + 4 * 4


@pytest.mark.parametrize("payload", [b"\xff\xd8\xff", b"\xff\xd8\xff" + b"x" * 500, jpeg(3)[:-20]])
def test_a_broken_picture_gets_a_sentence_and_sound_goes_on(service, settings, visit, payload):
    visitor = visit(service, settings)
    visitor.talk.put(Picture(0, payload))
    assert "webcam" in visitor.wait("error")["message"]
    visitor.say(np.concatenate([silence(0.5), voice(12, 1.0), silence(1.0)]))
    visitor.wait("end", how="done")
    assert service.transcript(visitor.session)[0].files[0].kind == "audio"


# -- interruption, over an engine that speaks a long tone --------------------------------------------------------------


@pytest.fixture
def speaking(tmp_path, visit):
    """A visitor to whom a reply of ten words is being spoken, and its service."""
    words = tuple(f"word{index}" for index in range(10))
    built = []

    def make(script: Script | None = None):
        engine = FakeEngine(script or Script(words=words, steps_per_word=20))
        (tmp_path / "uploads").mkdir(exist_ok=True)
        made = service_over(engine, tmp_path / f"data{len(built)}", tmp_path / "uploads")
        built.append(made)
        visitor = visit(made, made.default_settings)
        visitor.say(np.concatenate([silence(0.5), voice(1, 1.0), silence(1.0)]))
        visitor.wait("turn")
        return made, engine, visitor

    yield make
    for made in built:
        made.close()


def test_speaking_over_a_reply_stops_it_and_keeps_what_was_heard(speaking):
    made, _, visitor = speaking()
    visitor.wait("end")
    total = visitor.samples[1]
    visitor.command("played", turn=1, samples=1000)
    visitor.wait("state", state="speaking")
    visitor.say(voice(2, 0.1))
    visitor.wait("hush", turn=1)
    visitor.command("hushed", turn=1, samples=int(total * 0.55))
    visitor.say(np.concatenate([voice(3, 1.2), silence(1.0)]))
    visitor.wait("cut", turn=1)
    assert visitor.wait("turn")["turn"] == 2
    visitor.wait("end")
    first, second = made.transcript(visitor.session)
    assert (first.state, second.state) == ("interrupted", "done")
    assert first.reply_text == " ".join(f"word{index}" for index in range(5))
    assert len(soundfile.read(first.wav)[0]) == int(total * 0.55)
    # The message that interrupted is whole, its first syllable included.
    assert len(soundfile.read(second.files[0].path)[0]) / SAMPLE_RATE > 1.3


def test_a_cough_over_a_reply_lets_it_go_on(speaking):
    made, _, visitor = speaking()
    visitor.wait("end")
    visitor.command("played", turn=1, samples=1000)
    visitor.say(np.concatenate([voice(2, 0.15), silence(1.0)]))
    visitor.wait("hush", turn=1)
    visitor.command("hushed", turn=1, samples=2000)
    visitor.wait("go_on", turn=1)
    assert [record.state for record in made.transcript(visitor.session)] == ["done"]


def test_a_reply_that_is_still_being_made_is_stopped_too(speaking):
    words = tuple(f"word{index}" for index in range(10))
    made, engine, visitor = speaking(Script(words=words, steps_per_word=20, hold_at_step=150))
    assert engine.reached.wait(WAIT_S)
    visitor.command("played", turn=1, samples=1000)
    visitor.say(voice(2, 0.1))
    visitor.wait("hush", turn=1)
    visitor.command("hushed", turn=1, samples=24_000)
    visitor.say(voice(3, 0.8))
    visitor.wait("end", turn=1, how="interrupted")
    engine.release.set()
    visitor.say(silence(1.0))
    visitor.wait("end", turn=2)
    first, second = made.transcript(visitor.session)
    assert (first.state, second.state) == ("interrupted", "done")
    assert len(soundfile.read(first.wav)[0]) == 24_000


def test_a_browser_that_never_tells_where_it_fell_silent_is_interrupted_all_the_same(speaking):
    made, _, visitor = speaking()
    visitor.wait("end")
    visitor.say(np.concatenate([voice(3, 1.2), silence(1.0)]))
    visitor.wait("end", turn=2)
    assert [record.state for record in made.transcript(visitor.session)] == ["done", "done"]


def test_a_cough_and_then_a_word_cut_to_where_the_word_fell_not_to_where_the_cough_did(speaking):
    made, _, visitor = speaking()
    visitor.wait("end")
    visitor.command("played", turn=1, samples=1000)
    visitor.say(np.concatenate([voice(2, 0.15), silence(1.0)]))
    visitor.wait("hush", turn=1)
    visitor.command("hushed", turn=1, samples=2000)
    visitor.wait("go_on", turn=1)
    # The word is long enough to be meant before the browser has told anything.
    visitor.say(voice(3, 1.0))
    visitor.wait("hush", turn=1)
    visitor.command("hushed", turn=1, samples=24_000)
    visitor.say(silence(1.0))
    visitor.wait("end", turn=2)
    assert len(soundfile.read(made.transcript(visitor.session)[0].wav)[0]) == 24_000


@pytest.fixture
def press(speaking):
    """A visitor who holds the button to talk while a reply is played, until it is asked to be silent."""
    made, engine, visitor = speaking()
    visitor.wait("end")
    visitor.command("options", hands_free=False)
    visitor.command("played", turn=1, samples=1000)
    visitor.command("talk")
    visitor.wait("hush", turn=1)
    visitor.say(voice(3, 1.0))
    return made, visitor


def test_the_button_to_talk_cuts_a_reply_to_what_was_heard(press):
    made, visitor = press
    visitor.command("hushed", turn=1, samples=24_000)
    visitor.wait("cut", turn=1)
    visitor.command("talk_end")
    visitor.wait("end", turn=2)
    first, second = made.transcript(visitor.session)
    assert (first.state, second.state) == ("interrupted", "done")
    assert len(soundfile.read(first.wav)[0]) == 24_000
    assert len(soundfile.read(second.files[0].path)[0]) / SAMPLE_RATE > 1.0


@pytest.mark.parametrize("told", ["nothing", "that all was played"])
def test_the_button_to_talk_is_heard_whatever_the_browser_tells(press, told):
    made, visitor = press
    if told != "nothing":
        visitor.command("played", turn=1, samples=visitor.samples[1], is_playing=False)
    visitor.command("talk_end")
    visitor.wait("end", turn=2)
    first, second = made.transcript(visitor.session)
    assert (first.state, second.state) == ("done", "done")
    assert len(soundfile.read(second.files[0].path)[0]) / SAMPLE_RATE > 1.0


def test_a_line_that_is_lost_while_a_reply_is_hushed_lets_it_go_on(speaking):
    made, _, visitor = speaking()
    visitor.wait("end")
    visitor.command("played", turn=1, samples=1000)
    visitor.say(voice(2, 0.15))
    visitor.wait("hush", turn=1)
    visitor.talk.pause()
    visitor.wait("go_on", turn=1)
    visitor.wait("state", state="speaking")
    assert [record.state for record in made.transcript(visitor.session)] == ["done"]


def test_stop_cuts_like_an_interruption(speaking):
    made, _, visitor = speaking()
    visitor.wait("end")
    visitor.command("stop", turn=1, samples=visitor.samples[1] // 2)
    visitor.command("ping", at_ms=7)
    visitor.wait("pong", at_ms=7)
    (record,) = made.transcript(visitor.session)
    assert record.state == "interrupted" and record.reply_text.endswith("word4")


def test_what_goes_wrong_is_told_and_the_talk_goes_on(speaking):
    made, _, visitor = speaking()
    visitor.wait("end")
    visitor.command("played", turn=1, samples=0, is_playing=False)
    made._sessions.get(visitor.session).close()
    visitor.say(np.concatenate([silence(0.5), voice(3, 1.0), silence(1.0)]))
    assert visitor.wait("error")["code"] == "session_gone"
    visitor.command("ping", at_ms=1)
    visitor.wait("pong")


def test_every_frame_of_sound_is_kept_while_somebody_speaks_and_little_else(service, settings, visit):
    visitor = visit(service, settings)
    visitor.say(silence(20.0))
    visitor.command("ping", at_ms=1)
    visitor.wait("pong")
    assert sum(map(len, visitor.talk._kept)) <= 3.2 * SAMPLE_RATE + FRAME
