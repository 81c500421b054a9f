"""Stage: byte-level BPE in which every word of the domain is one token and open English stays short; knows no model.

First merges are learnt from text, as published. Then every domain word that is still in pieces is given the merges that
it lacks; later merges cannot undo earlier ones, so any reader of the saved folder cuts text alike.
"""

import json
import random
import re
from bisect import bisect
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from app.chatml.render import DEFAULT_SYSTEM_PROMPT
from app.engine.tokenizer_parts import CHAT_TEMPLATE, NAMED_TOKENS, SPECIAL_TOKENS, SPLIT_PATTERN
from training.domain import lexicon
from training.domain.letters import pseudo_word
from training.speech.open_text import sentences
from training.workspace import Workspace

NAME = "tokenizer"
SPEAKER_TOKENS = ("<|spk_a_bos|>", "<|spk_b_bos|>", "<|spk_c_bos|>")
MAX_TOKENS = 3072
# Merges learnt from text before the words get what they lack: as many as leave room for the words. How often each form
# of a word stands in that text is measured: held-out English takes 1.7 tokens a word, 1.9 with dialogues instead.
MOST_LEARNT, LEAST_LEARNT, FEWER = 2000, 300, 50
FORM_COUNT = 15
CONTEXT_LENGTH = 32768

Pair = tuple[str, str]


def build(workspace: Workspace) -> None:
    tokenizer = make(workspace.random(NAME), lexicon.forms())
    tokenizer.save_pretrained(workspace.stage(NAME))
    workspace.save_report(NAME, figures(tokenizer))


def load(workspace: Workspace) -> PreTrainedTokenizerFast:
    folder = workspace.folder / NAME
    if not (folder / "tokenizer.json").exists():
        raise FileNotFoundError(f"{folder} is missing: run the stage {NAME!r} first")
    return PreTrainedTokenizerFast.from_pretrained(folder)


def make(generator: random.Random, forms: list[str]) -> PreTrainedTokenizerFast:
    """Every form one token. Raises ValueError where they leave no room."""
    special = [*SPECIAL_TOKENS, *(token for token in SPEAKER_TOKENS if token not in SPECIAL_TOKENS)]
    learnt = learnt_merges(generator, forms)

    def with_learnt(num_learnt: int) -> Tokenizer:
        return assemble(with_forms(learnt[:num_learnt], forms))

    def fits(num_learnt: int) -> bool:
        return with_learnt(num_learnt).get_vocab_size() + len(special) <= MAX_TOKENS

    # The more are learnt, the fewer forms find room: the most that leave enough.
    choices = range(MOST_LEARNT, LEAST_LEARNT, -FEWER)
    place = bisect(choices, False, key=fits)
    if place == len(choices):
        raise ValueError(f"{len(forms)} forms do not fit into {MAX_TOKENS} tokens: take words out of the lexicon")
    tokenizer = with_learnt(choices[place])
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=NAMED_TOKENS,
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def with_forms(learnt: list[Pair], forms: list[str]) -> list[Pair]:
    """The merges that were learnt, and behind them those that make each form one token."""
    ranks = {pair: rank for rank, pair in enumerate(learnt)}
    to_letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str
    for form in forms:
        pieces = apply(ranks, to_letters(form)[0][0])
        while len(pieces) > 1:
            ranks[pieces[0], pieces[1]] = len(ranks)
            pieces = apply(ranks, "".join(pieces))
    return list(ranks)


def assemble(merges: list[Pair]) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = dict.fromkeys([*alphabet, *(a + b for a, b in merges)])
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def learnt_merges(generator: random.Random, forms: list[str]) -> list[Pair]:
    """In order; from plain English, the words as they stand in text, and words that exist nowhere."""
    tokenizer = assemble([])
    trainer = trainers.BpeTrainer(
        vocab_size=256 + MOST_LEARNT,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(corpus(generator, forms), trainer)
    return merges_of(tokenizer)


def merges_of(tokenizer: Tokenizer) -> list[Pair]:
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in merges]


def corpus(generator: random.Random, forms: list[str]) -> Iterator[str]:
    yield from sentences("train")
    for form in forms:
        yield from [form] * FORM_COUNT
    for _ in range(3000):
        yield f" {pseudo_word(generator)}"


def apply(ranks: dict[Pair, int], word: str) -> list[str]:
    """The pieces of a word under merges of these ranks."""
    pieces = list(word)
    while len(pieces) > 1:
        pairs = list(zip(pieces, pieces[1:]))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        joined: list[str] = []
        for piece in pieces:
            if joined and (joined[-1], piece) == best:
                joined[-1] += piece
            else:
                joined.append(piece)
        pieces = joined
    return pieces


def figures(tokenizer: PreTrainedTokenizerFast) -> dict[str, float]:
    """Sizes, and how many tokens held-out English and words that exist nowhere take."""
    texts = sentences("test")
    num_words = sum(len(re.findall(r"[A-Za-z']+", text)) for text in texts)
    num_tokens = sum(len(tokenizer.encode(text)) for text in texts)
    generator = random.Random(1)
    pseudo = [len(tokenizer.encode(" " + pseudo_word(generator))) for _ in range(500)]
    return {
        "tokens": len(tokenizer),
        "words": len(lexicon.forms()),
        "tokens_per_english_sentence": round(num_tokens / len(texts), 2),
        "tokens_per_english_word": round(num_tokens / num_words, 3),
        "tokens_per_pseudo_word": round(sum(pseudo) / len(pseudo), 2),
        "tokens_of_system_prompt": len(tokenizer.encode(DEFAULT_SYSTEM_PROMPT)),
    }
