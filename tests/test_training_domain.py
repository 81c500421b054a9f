"""What the micro model is asked and answers, and how its tokenizer cuts that."""

import random
import re
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

from training.domain import lexicon, memory
from training.domain.dialogue import Pool, dialogue
from training.domain.exchange import SKILLS, exchange
from training.domain.letters import pseudo_word
from training.domain.split import is_held_out
from training.domain.typed import spoken_reply, typed_form
from training.domain.words import NAMES, number_words

SPOKEN = re.compile(r"[a-z']+( [a-z']+)*")


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("skill", SKILLS)
def test_messages_are_spoken_words_and_replies_are_sentences(skill: str, split: str) -> None:
    generator = random.Random(1)
    for _ in range(100):
        item = exchange(generator, split, spoken=generator.random() < 0.5, skills=[skill])
        assert SPOKEN.fullmatch(item.user), item
        assert item.reply[0].isupper() and item.reply[-1] in ".?" and not re.search(r"[0-9{}]", item.reply), item
        assert spoken_reply(item.reply) == spoken_reply(item.reply).lower() and "  " not in item.reply
        assert typed_form(generator, item)


def test_sums_are_right_and_train_only_what_is_not_held_out() -> None:
    generator = random.Random(2)
    value = {number_words(number): number for number in range(200)}
    for split in ("train", "test"):
        for _ in range(300):
            reply = spoken_reply(exchange(generator, split, spoken=True, skills=["add", "subtract"]).reply)
            left, _, result = reply.rpartition(" is ")
            a, sign, b = re.fullmatch(r"(.*) (plus|minus) (.*)", left).groups()
            x, y = value[a], value[b]
            assert value[result] == (x + y if sign == "plus" else x - y), reply
            key = f"add {min(x, y)} {max(x, y)}" if sign == "plus" else f"subtract {x} {y}"
            assert is_held_out(key) == (split == "test"), key


def test_statements_in_dialogues_keep_to_their_split() -> None:
    generator = random.Random(3)
    for split in ("train", "test"):
        for _ in range(400):
            for item in dialogue(generator, split, spoken=True):
                if item.skill == memory.TELL:
                    assert is_held_out(item.user) == (split == "test"), item


def test_a_dialogue_recalls_what_was_told_last_in_it() -> None:
    generator = random.Random(4)
    num_recalled = num_missing = 0
    for _ in range(1500):
        turns = dialogue(generator, "train", spoken=generator.random() < 0.5)
        assert 1 <= len(turns) <= 6, turns
        if turns[-1].skill != memory.RECALL:
            continue
        told = dict(memory.told(item) for item in turns if item.skill == memory.TELL)
        answers = {kind: about.answer.format(told[kind]) for kind, about in memory.KINDS.items() if kind in told}
        missing = {about.missing for kind, about in memory.KINDS.items() if kind not in told}
        assert turns[-1].reply in answers.values() or turns[-1].reply in missing, turns
        num_recalled += turns[-1].reply in answers.values()
        num_missing += turns[-1].reply in missing
    assert num_recalled > 100 and num_missing > 20, (num_recalled, num_missing)


def test_a_typed_word_that_exists_nowhere_comes_back_as_it_was_typed() -> None:
    generator = random.Random(5)
    num_fixed = 0
    for _ in range(300):
        item = memory.tell(generator, "train", spoken=False, kind="name")
        if item.typed:
            name = memory.told(item)[1]
            assert name in item.typed and name in item.reply and name.lower() in item.user, item
            num_fixed += 1
        else:
            assert memory.told(item)[1].lower() in NAMES, item
    assert 50 < num_fixed < 130, num_fixed


def test_a_pool_is_the_only_source_of_what_is_told_and_asked() -> None:
    generator = random.Random(6)
    plain = [exchange(generator, "train", spoken=True) for _ in range(50)]
    told = [memory.tell(generator, "train", spoken=True) for _ in range(30)]
    known = {item.user for item in (*plain, *told)}
    pool = Pool((*plain, *told))
    for _ in range(300):
        for item in dialogue(generator, "train", spoken=True, pool=pool):
            assert item.user in known or item.skill in ("recall", "heard", "asked", "again"), item


def test_drawing_is_faster_than_learning() -> None:
    generator = random.Random(7)
    started = time.process_time()
    for _ in range(1000):
        for item in dialogue(generator, "train", spoken=False):
            typed_form(generator, item)
    assert time.process_time() - started < 1.0, "1000 dialogues"


def test_both_splits_ask_all_skills_equally_often() -> None:
    num_drawn = 3000
    shares = {}
    for split in ("train", "test"):
        generator = random.Random(10)
        names = [exchange(generator, split, spoken=True).skill for _ in range(num_drawn)]
        shares[split] = {name: names.count(name) / num_drawn for name in SKILLS}
    for name in SKILLS:
        assert abs(shares["train"][name] - shares["test"][name]) < 0.03, (name, shares)


def test_the_same_seed_says_the_same() -> None:
    one, other = (
        [dialogue(generator, "train", spoken=False) for _ in range(50)]
        for generator in (random.Random(8), random.Random(8))
    )
    assert one == other


@pytest.mark.skipif(not Path("/usr/share/wordnet").exists(), reason="needs the package wordnet-base")
def test_every_form_of_the_domain_is_one_token() -> None:
    from app.engine.tiny import media_token_ids, talker_token_ids, thinker_token_ids
    from training.tokenizer import MAX_TOKENS, SPEAKER_TOKENS, make

    forms = lexicon.forms(num_dialogues=500)
    tokenizer = make(random.Random(0), forms)
    pieces = {form: tokenizer.tokenize(form) for form in forms}
    assert not {form: cut for form, cut in pieces.items() if len(cut) != 1}
    assert len(tokenizer) <= MAX_TOKENS
    ids = [
        *media_token_ids(tokenizer).values(),
        *thinker_token_ids(tokenizer).values(),
        *talker_token_ids(tokenizer).values(),
        *tokenizer.convert_tokens_to_ids(list(SPEAKER_TOKENS)),
    ]
    assert len(set(ids)) == len(ids) and all(isinstance(number, int) for number in ids), ids
    generator = random.Random(9)
    for text in (pseudo_word(generator), "What is 23+4?", "C, A, T.", "Nice to meet you, Anna.", "早上好 ×"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
