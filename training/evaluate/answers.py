"""Asks held-out questions and compares whole answers; knows no group."""

from collections.abc import Sequence
from dataclasses import dataclass

from tqdm import tqdm

from training.domain.typed import spoken_reply
from training.evaluate.sets import Case
from training.evaluate.subject import Subject


@dataclass(frozen=True, eq=False)
class Verdict:
    case: Case
    answer: str

    @property
    def is_right(self) -> bool:
        return spoken_reply(self.answer) == spoken_reply(self.case.reply)

    def as_json(self, group: str) -> dict:
        return {
            "group": group,
            "skill": self.case.skill,
            "asker": self.case.asker,
            "asked": [ask.words for ask in self.case.asks],
            "right": self.case.reply,
            "answered": self.answer,
        }


def judge(subject: Subject, cases: Sequence[Case], title: str) -> list[Verdict]:
    verdicts = []
    for case in tqdm(cases, desc=title, mininterval=5):
        conversation = subject.conversation()
        for ask in case.asks:
            answer = conversation.ask(ask.parts)
        verdicts.append(Verdict(case, answer.text))
    return verdicts
