"""Stage: byte-level BPE in which every word of the domain is one token and open English stays short; knows no model.

First merges are learnt from text, as published. Then every domain word that is still in pieces is given the merges that
it lacks; later merges cannot undo earlier ones, so any reader of the saved folder cuts text alike.
"""

import random
import re
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from app.chatml.render import DEFAULT_SYSTEM_PROMPT
from app.engine.tokenizer_parts import CHAT_TEMPLATE, NAMED_TOKENS, SPECIAL_TOKENS, SPLIT_PATTERN
from training.domain import lexicon
from training.domain.dialogue import dialogue
from training.domain.letters import pseudo_word
from training.domain.typed import typed_form
from training.workspace import Workspace

NAME = "tokenizer"
SPEAKER_TOKENS = ("<|spk_a_bos|>", "<|spk_b_bos|>", "<|spk_c_bos|>")
MAX_TOKENS = 3072
# What the text itself yields, before the words.
NUM_LEARNT = 900
CONTEXT_LENGTH = 32768
SPACE = "Ġ"

Pair = tuple[str, str]


def build(workspace: Workspace) -> None:
    """Raises ValueError where the words leave no room."""
    tokenizer = make(workspace.random(NAME))
    tokenizer.save_pretrained(workspace.stage(NAME))
    workspace.save_report(NAME, figures(tokenizer))


def load(workspace: Workspace) -> PreTrainedTokenizerFast:
    folder = workspace.folder / NAME
    if not (folder / "tokenizer.json").exists():
        raise FileNotFoundError(f"{folder} is missing: run the stage {NAME!r} first")
    return PreTrainedTokenizerFast.from_pretrained(folder)


def make(generator: random.Random) -> PreTrainedTokenizerFast:
    merges = learnt_merges(generator)
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    # The system prompt stands before every conversation, so each of its words costs time in every step of training.
    for form in (*lexicon.forms(), *re.findall(" ?[A-Za-z]+", DEFAULT_SYSTEM_PROMPT)):
        form = form.replace(" ", SPACE)
        pieces = apply(ranks, form)
        while len(pieces) > 1:
            ranks[pieces[0], pieces[1]] = len(ranks)
            pieces = apply(ranks, form)
    tokenizer = assemble(list(ranks))
    special = [*SPECIAL_TOKENS, *(token for token in SPEAKER_TOKENS if token not in SPECIAL_TOKENS)]
    tokenizer.add_special_tokens(special)
    if tokenizer.get_vocab_size() > MAX_TOKENS:
        raise ValueError(f"{tokenizer.get_vocab_size()} tokens, more than {MAX_TOKENS}: take words out of the lexicon")
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


def learnt_merges(generator: random.Random) -> list[Pair]:
    """In order; from the domain's typed messages and replies, plain English, and words that exist nowhere."""
    tokenizer = assemble([])
    trainer = trainers.BpeTrainer(
        vocab_size=256 + NUM_LEARNT,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(corpus(generator), trainer)
    return merges_of(tokenizer)


def merges_of(tokenizer: Tokenizer) -> list[Pair]:
    import json

    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in merges]


def corpus(generator: random.Random) -> Iterator[str]:
    from training.speech.open_text import sentences

    for _ in range(40):
        yield DEFAULT_SYSTEM_PROMPT
    for _ in range(4000):
        for item in dialogue(generator, "train", spoken=False):
            yield typed_form(generator, item)
            yield item.reply
    yield from sentences("train")
    for _ in range(3000):
        word = pseudo_word(generator)
        yield generator.choice((f" {word}", f" {word.capitalize()}"))


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
    from training.speech.open_text import sentences

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
