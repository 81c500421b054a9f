"""`python -m training.evaluate.heard_cut`: is a reply that was spoken over cut to the words that were heard?

Replies are cut at random moments of their speech. The words that `app.session.cut` keeps are counted against those that
a recognizer hears in the played part: in the checkpoint's own speech, and in the recordings that it imitates, of which
every word can be heard, so that they tell what the estimate itself is worth.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from app.session.cut import heard, projected_samples
from training.evaluate.recognizer import Recognizer, word_errors, words_of
from training.evaluate.subject import Subject
from training.evaluate.talk import reply_judge, reply_set
from training.speech.reply_voices import SAMPLE_RATE, VOICES, speak

LEAST_WORDS = 5
CUTS_PER_REPLY = 4
WITHIN = 2


@dataclass(frozen=True)
class Cut:
    """One reply stopped at one moment. `num_kept`: words that stay where its whole speech is made already, and
    `num_projected` where no more of it is made than was played. `num_heard`: by the recognizer."""

    voice: str
    num_kept: int
    num_projected: int
    num_heard: int


class Keeper:
    """How many words of a reply the session would keep."""

    def __init__(self, checkpoint: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(checkpoint)

    def num_kept(self, text: str, share: float) -> int:
        ids = self._tokenizer(text, split_special_tokens=True)["input_ids"]
        return len(words_of(heard(self._decode, ids, share).text))

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def cuts(
    texts: Sequence[str], speech_of: Callable[[str, int], tuple[np.ndarray, int]], keeper: Keeper, judge: Recognizer
) -> Iterator[tuple[list[Cut], bool]]:
    """Of every reply in every voice, and whether the whole of it is heard without an error."""
    for text in texts:
        for voice, (name, _) in enumerate(VOICES):
            wave, rate = speech_of(text, voice)
            generator = random.Random(f"{text}/{name}")
            made = []
            for _ in range(CUTS_PER_REPLY):
                played = int(generator.random() * len(wave))
                projected = projected_samples(played, False, len(text), rate)
                made.append(
                    Cut(
                        name,
                        keeper.num_kept(text, played / max(1, len(wave))),
                        keeper.num_kept(text, played / max(1, projected)),
                        len(words_of(judge.recognize(wave[:played], rate))),
                    )
                )
            yield made, word_errors(text, judge.recognize(wave, rate))[0] == 0


def original(text: str, voice: int) -> tuple[np.ndarray, int]:
    return speak(text, voice).astype(np.float32) / 32767, SAMPLE_RATE


def read_by(subject: Subject) -> Callable[[str, int], tuple[np.ndarray, int]]:
    def read(text: str, voice: int) -> tuple[np.ndarray, int]:
        answer = subject.read_aloud(text, VOICES[voice][0])
        return answer.wave, answer.sample_rate

    return read


def summed_up(made: Sequence[Cut], are_whole_heard: Sequence[bool]) -> dict:
    """`kept` and `projected`: share of the cuts within two words of what is heard, the same by voice, and how many cuts
    keep so many words more (less, where negative) than are heard."""
    found: dict = {"cuts": len(made), "replies_heard_whole": round(sum(are_whole_heard) / len(are_whole_heard), 3)}
    for name, number in (("kept", lambda cut: cut.num_kept), ("projected", lambda cut: cut.num_projected)):
        found[name] = {
            "within_two": _within(made, number),
            "by_voice": {voice: _within([cut for cut in made if cut.voice == voice], number) for voice, _ in VOICES},
            "more_than_heard": dict(sorted(Counter(number(cut) - cut.num_heard for cut in made).items())),
        }
    return found


def _within(made: Sequence[Cut], number: Callable[[Cut], int]) -> float:
    return round(sum(abs(number(cut) - cut.num_heard) <= WITHIN for cut in made) / max(1, len(made)), 3)


def print_table(result: dict) -> None:
    print("speech of    cuts   heard whole   the words kept   within two words   more than heard: cuts")
    for source, found in result.items():
        for name, words in (("kept", "speech is made"), ("projected", "being made")):
            counts = "  ".join(f"{more:+d}: {number}" for more, number in found[name]["more_than_heard"].items())
            print(
                f"{source:10s}  {found['cuts']:5d}  {found['replies_heard_whole']:12.3f}   {words:14s}  "
                f"{found[name]['within_two']:17.3f}   {counts}"
            )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate.heard_cut", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("assets/micro"))
    parser.add_argument("--limit", type=int, default=40, help="replies, each read by every voice")
    parser.add_argument("--originals-only", action="store_true", help="what the estimate is worth, without the model")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    texts = [text for text, _ in reply_set(3 * args.limit) if len(words_of(text)) >= LEAST_WORDS][: args.limit]
    keeper, judge = Keeper(args.checkpoint), reply_judge(texts)
    result = {"original": _measure("original", texts, original, keeper, judge)}
    if not args.originals_only:
        subject = Subject(args.checkpoint)
        try:
            result["checkpoint"] = _measure("checkpoint", texts, read_by(subject), keeper, judge)
        finally:
            subject.close()
    print_table(result)
    print(json.dumps({"folder": str(args.checkpoint), "replies": len(texts)} | result))


def _measure(title: str, texts: Sequence[str], speech_of: Callable, keeper: Keeper, judge: Recognizer) -> dict:
    rows = list(tqdm(cuts(texts, speech_of, keeper, judge), title, len(texts) * len(VOICES), mininterval=5))
    return summed_up([cut for made, _ in rows for cut in made], [is_heard for _, is_heard in rows])


if __name__ == "__main__":
    main()
