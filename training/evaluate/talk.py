"""The groups that are judged by ear: replies, plain English, questions by voice answered by voice."""

import random
from collections.abc import Callable, Sequence
from statistics import median

from tqdm import tqdm

from app.types.turn import Part
from training.domain.exchange import exchange
from training.domain.replies import reply_texts
from training.domain.typed import spoken_reply
from training.evaluate import sets, speech
from training.evaluate.figures import Figure, share, shares_by
from training.evaluate.near_misses import near_misses, otherwise
from training.evaluate.recognizer import Recognizer, missing_words, word_errors, words_of
from training.evaluate.speech import Reading
from training.evaluate.subject import Answer, Subject
from training.speech.open_text import sentences
from training.speech.reply_voices import SAMPLE_RATE, VOICES, speak

Measured = tuple[dict[str, Figure], list[dict]]
# So many replies teach the judge of spoken answers how one talks here: different ones of every kind, and those to
# spoken questions as often as they are given. Of the first alone it may lack the very one that is given most.
NUM_HABITS, NUM_SPOKEN_HABITS = 3000, 6000
# The latter again so many times about other things, else it knows that a minute has sixty seconds and hears no other
# number: of 428 near misses of trained replies it took 13 for the right one without, 2 with them.
NUM_OTHERWISE = 4
MIN_OPEN_WORDS = 6
Text = tuple[str, tuple[Part, ...]]


def replies(subject: Subject, number: int) -> Measured:
    """Right replies to typed questions, heard by a judge that expects any of their words at any place."""
    texts = reply_set(number)
    judge = Recognizer(word for text, _ in texts for word in words_of(text))
    readings = speech.read(subject, speech.record(texts, judge), judge, "speech")
    by_voice = {name: speech.share_of_ceiling(own) for name, own in speech.by_voice(readings)}
    worst = min(by_voice, key=lambda name: by_voice[name][0])
    parts = {}
    for name, own in speech.by_voice(readings):
        parts |= {name: round(by_voice[name][0], 3), f"{name}_words": round(speech.accuracy(own), 3)}
        parts[f"{name}_original"] = round(speech.ceiling(own), 3)
    identity = speech.identified(readings)
    found = {
        "speech_vs_ceiling": Figure(by_voice[worst][0], len(readings), by_voice[worst][1], parts),
        "voice_identity": share(identity, shares_by((VOICES[one.original.voice][0] for one in readings), identity)),
    }
    return found, list(misheard("speech", readings))


def open_text(subject: Subject, number: int) -> Measured:
    """Plain English that was never trained, heard by the judge's general model."""
    texts = open_set(number)
    judge = Recognizer()
    readings = speech.read(subject, speech.record(texts, judge), judge, "open_text")
    by_voice = {name: speech.share_of_ceiling(own) for name, own in speech.by_voice(readings)}
    worst = min(by_voice, key=lambda name: by_voice[name][0])
    parts = {}
    for name, own in speech.by_voice(readings):
        parts |= {name: round(by_voice[name][0], 3), f"{name}_words": round(speech.accuracy(own), 3)}
        parts[f"{name}_original"] = round(speech.ceiling(own), 3)
    found = {"open_text_vs_ceiling": Figure(by_voice[worst][0], len(readings), by_voice[worst][1], parts)}
    return found, list(misheard("open_text", readings))


def speech_to_speech(subject: Subject, number: int) -> Measured:
    """A question by an unseen voice; the spoken answer, as the judge hears it, is compared with the right one.

    The judge knows which words follow one another in replies, and not which reply is right. Two parts tell how often
    the judge itself errs: `original` is the same with the right answer read by the synthesizer, `accepts_wrong` the
    share of wrong answers near the right one, read by it, in which the judge hears the right one.
    """
    cases = [case for case in sets.draw("spoken", 3 * number) if can_be_heard(case.reply)][:number]
    generator = random.Random(f"{sets.SEED}/near_misses")
    others = sorted(set(spoken_habits()))
    misses = [near_misses(generator, case.reply, others) for case in cases]
    # It could not hear what is wrong without the words of it.
    judge = reply_judge([text for case, near in zip(cases, misses) for text in (case.reply, *near)])
    is_right, original, accepted, spoken = [], [], [], []
    wrong = []
    for index, case in enumerate(tqdm(cases, desc="speech_to_speech", mininterval=5)):
        voice = index % len(VOICES)
        answer = subject.answer(case.asks[0].parts, VOICES[voice][0])
        spoken.append(answer)
        heard = judge.recognize(answer.wave, answer.sample_rate)
        is_right.append(word_errors(case.reply, heard)[0] == 0)
        own = judge.recognize(speak(case.reply, voice), SAMPLE_RATE)
        original.append(word_errors(case.reply, own)[0] == 0)
        for text in misses[index]:
            accepted.append(word_errors(case.reply, judge.recognize(speak(text, voice), SAMPLE_RATE))[0] == 0)
        if not is_right[-1]:
            wrong.append(
                {
                    "group": "speech_to_speech",
                    "asker": case.asker,
                    "voice": VOICES[voice][0],
                    "asked": [case.asks[0].words],
                    "right": case.reply,
                    "answered": answer.text,
                    "heard": heard,
                    "heard_original": own,
                }
            )
    written = [spoken_reply(answer.text) == spoken_reply(case.reply) for answer, case in zip(spoken, cases)]
    parts = shares_by((VOICES[index % len(VOICES)][0] for index in range(len(cases))), is_right)
    for name, verdicts in (("written", written), ("original", original), ("accepts_wrong", accepted)):
        parts[name] = round(sum(verdicts) / max(1, len(verdicts)), 3)
    return {"speech_to_speech": share(is_right, parts), "rtf": real_time_factor(spoken)}, wrong


GROUPS: dict[str, Callable[[Subject, int], Measured]] = {
    "speech": replies,
    "open_text": open_text,
    "speech_to_speech": speech_to_speech,
}


def reply_set(number: int) -> list[Text]:
    """Right replies behind their typed questions, and others (of pictures and clips) behind nothing."""
    generator = random.Random(f"{sets.SEED}/replies")
    texts: dict[str, tuple[Part, ...]] = {}
    while len(texts) < number * 2 // 3:
        one = exchange(generator, "test", spoken=True)
        if can_be_heard(one.reply) and one.skill != "unknown":
            texts[one.reply] = sets.typed_ask(generator, one).parts
    others = [text for text in reply_texts(generator, "test", 4 * number) if can_be_heard(text) and text not in texts]
    for text in others[: number - len(texts)]:
        texts[text] = ()
    return list(texts.items())


def open_set(number: int) -> list[Text]:
    """Whole sentences: of fragments such as "A closed shop." the judge hears half even when the original says them."""
    generator = random.Random(f"{sets.SEED}/open_text")
    found = [text for text in sentences("test") if len(words_of(text)) >= MIN_OPEN_WORDS and can_be_heard(text)]
    return [(text, ()) for text in generator.sample(found, min(number, len(found)))]


def reply_judge(texts: Sequence[str]) -> Recognizer:
    """Knows the words of `texts` and of many replies of the domain, and which follow one another there."""
    habits = reply_texts(random.Random(f"{sets.SEED}/habits"), "train", NUM_HABITS)
    spoken = spoken_habits()
    generator = random.Random(f"{sets.SEED}/otherwise")
    habits = [*(text for text in habits if can_be_heard(text)), *spoken]
    habits += [otherwise(generator, text) for text in spoken * NUM_OTHERWISE]
    return Recognizer({word for text in [*habits, *texts] for word in words_of(text)}, habits)


def spoken_habits() -> list[str]:
    """Replies to spoken questions that are trained, each as often as it is given."""
    generator = random.Random(f"{sets.SEED}/spoken_habits")
    drawn = (exchange(generator, "train", spoken=True).reply for _ in range(NUM_SPOKEN_HABITS))
    return [text for text in drawn if can_be_heard(text)]


def can_be_heard(text: str) -> bool:
    """The judge has a pronunciation of every word."""
    return not missing_words(words_of(text))


def real_time_factor(answers: Sequence[Answer]) -> Figure:
    """Processor seconds of the whole streamed chain by second of speech, on one thread; `wall` by the clock, which
    counts what else this machine does; then stage by stage, and the median seconds to the first packet of sound."""
    audio_s = sum(answer.audio_s for answer in answers) or 1e-9
    parts = {"wall": round(sum(answer.wall_s for answer in answers) / audio_s, 3)}
    for stage in ("encode", "prefill", "thinker", "talker", "token2wav"):
        parts[stage] = round(sum(answer.stage_s.get(stage, 0.0) for answer in answers) / audio_s, 4)
    parts["first_packet_s"] = round(median(answer.first_packet_s or answer.wall_s for answer in answers), 3)
    return Figure(sum(answer.cpu_s for answer in answers) / audio_s, len(answers), None, parts)


def misheard(group: str, readings: Sequence[Reading]):
    for one in readings:
        if one.errors > one.original.errors:
            yield {
                "group": group,
                "voice": VOICES[one.original.voice][0],
                "right": one.original.text,
                "heard": one.heard,
                "heard_original": one.original.heard,
            }
