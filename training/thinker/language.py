"""The stage `language`: the language model alone, on typed questions and on words that pretend to be heard."""

import random
from collections.abc import Iterator

import torch

from training.domain.dialogue import dialogue
from training.domain.exchange import exchange
from training.loop import Training, make_optimizers
from training.thinker.batch import buckets, collate, reply_loss
from training.thinker.config import ThinkerSizes, vocabulary_size
from training.thinker.conversation import begin, begin_default, pretended_voice, typed
from training.thinker.decode import Marks, Question, mark
from training.thinker.model import Thinker, weights_of
from training.thinker.sequence import Conversation, TextEncoder
from training.tokenizer import load
from training.workspace import Workspace

NAME = "language"
NUM_STEPS = 2400
LEARNING_RATE = 3e-3
# Conversations sorted by length together; more make fuller batches.
POOL = 600
MAX_EXCHANGES = 5
EVALUATE_EVERY_S = 300.0


def run(workspace: Workspace) -> None:
    """Writes `model.*` weights. The embedding table is final after this stage: all later ones lean on it."""
    tokenizer = load(workspace)
    encode = TextEncoder(tokenizer)
    thinker = Thinker(ThinkerSizes(), vocabulary_size(tokenizer)).to(workspace.device)
    thinker.load_state_dict(workspace.started(NAME) or {}, strict=False)
    named = [(name, value) for name, value in thinker.named_parameters() if name.startswith("model.")]
    optimizers = make_optimizers(named, LEARNING_RATE)
    batches = text_batches(workspace.random(NAME), encode, workspace.size(POOL, 40))
    padding = encode.ids.ends_of_text[0]
    asked = questions(random.Random(7), encode, workspace.size(8, 1))

    def step(index: int) -> tuple[torch.Tensor, dict[str, float]]:
        batch = collate(next(batches), padding, workspace.device)
        with workspace.autocast():
            loss, accuracy = reply_loss(thinker, batch, thinker.model.embed_tokens(batch.ids))
        return loss, {"accuracy": accuracy, "conversations": len(batch), "tokens": batch.ids.numel()}

    def evaluate() -> dict[str, float]:
        workspace.save_weights(NAME, weights_of(thinker, "model."))
        with workspace.autocast():
            return mark(thinker, asked, encode).main()

    state = {"thinker": thinker.model} | {f"optimizer {i}": part for i, part in enumerate(optimizers)}
    training = Training(
        workspace,
        NAME,
        workspace.steps(NAME, NUM_STEPS, 4),
        state,
        evaluate=evaluate,
        evaluate_every_s=EVALUATE_EVERY_S,
    )
    training.run(step)
    workspace.save_weights(NAME, weights_of(thinker, "model."))
    workspace.save_report(NAME, full_marks(workspace, thinker, encode).report())


def full_marks(workspace: Workspace, thinker: Thinker, encode: TextEncoder) -> Marks:
    with workspace.autocast():
        return mark(thinker, questions(random.Random(99), encode, workspace.size(30, 1)), encode)


def text_batches(generator: random.Random, encode: TextEncoder, pool: int) -> Iterator[list[Conversation]]:
    return buckets(lambda number: [draw(generator, encode) for _ in range(number)], generator, pool)


def draw(generator: random.Random, encode: TextEncoder) -> Conversation:
    """One conversation of several exchanges: a dialogue with its memory, then questions that stand alone."""
    conversation = begin(encode, generator)
    way = generator.random()
    spoken_share = 0.0 if way < 0.4 else 1.0 if way < 0.75 else 0.5
    exchanges = dialogue(generator, "train", spoken=spoken_share > 0)
    for _ in range(generator.randint(0, max(0, MAX_EXCHANGES - len(exchanges)))):
        exchanges.append(exchange(generator, "train", spoken=spoken_share > 0))
    for item in exchanges:
        is_spoken = generator.random() < spoken_share
        part = pretended_voice(generator, encode, item.user) if is_spoken else typed(generator, item)
        conversation.user((part,))
        conversation.reply(item.reply)
    return conversation


def questions(generator: random.Random, encode: TextEncoder, per_skill: int) -> list[Question]:
    """Held-out questions of every skill, typed and as words that pretend to be heard."""
    found = []
    for group, spoken in (("typed", False), ("pretended", True)):
        drawn: dict[str, int] = {}
        for number in range(per_skill * 40):
            if number % 2:
                exchanges = dialogue(generator, "test", spoken=spoken)
            else:
                exchanges = [exchange(generator, "test", spoken=spoken)]
            skill = exchanges[-1].skill
            if drawn.get(skill, 0) >= per_skill:
                continue
            drawn[skill] = drawn.get(skill, 0) + 1
            prompt = begin_default(encode)
            for item in exchanges:
                part = pretended_voice(generator, encode, item.user) if spoken else typed(generator, item)
                prompt.user((part,))
                if item is not exchanges[-1]:
                    prompt.reply(item.reply)
            found.append(Question(f"{group}:{skill}", prompt, exchanges[-1].reply))
    return found
