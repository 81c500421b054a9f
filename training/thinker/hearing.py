"""The stage `hearing`: the audio tower alone spells what is said, its letters being the word vectors (CTC).

The classes are rows of the language model's embedding table, which stays as it is; blank is the row of `<|AUDIO|>`. The
tower's vectors thus come to lie where the language model looks for words.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from training.loop import Training, make_optimizers
from training.speech.phones import PHONES, PLACE
from training.speech.words import pronounce, words_of
from training.thinker.config import ThinkerSizes, vocabulary_size
from training.thinker.curriculum import Curriculum, guess_places
from training.thinker.model import Thinker, weights_of
from training.thinker.sequence import TextEncoder
from training.tokenizer import load
from training.voices.bank import Bank
from training.voices.mel_augment import augment_mel
from training.workspace import Workspace

NAME = "hearing"
NUM_STEPS = 4000
CLIPS_PER_STEP = 32
LEARNING_RATE = 3e-3
SCALE_LEARNING_RATE = 1e-2
EVALUATE_EVERY_S = 300.0
SPELLER_FILE = "speller.safetensors"
PHONES_WEIGHT = 0.5


class Speller(nn.Module):
    """Sound vectors to the logits of the tokens that can be said. Owns the one learnt scale.

    Class 0 is silence (blank), the row of `<|AUDIO|>`.
    """

    def __init__(self, table: torch.Tensor, silence: int, spoken_ids: Sequence[int]) -> None:
        super().__init__()
        self.token_ids = (silence, *sorted(set(spoken_ids) - {silence}))
        self._class_of = {id_: index for index, id_ in enumerate(self.token_ids)}
        rows = table.detach()[list(self.token_ids)].clone()
        self.register_buffer("rows", rows)
        self.scale = nn.Parameter(torch.tensor(10.0) / rows.pow(2).sum(1).median().cpu())

    def classes(self, ids: Sequence[int]) -> list[int]:
        return [self._class_of[id_] for id_ in ids]

    def can_spell(self, ids: Sequence[int]) -> bool:
        return all(id_ in self._class_of for id_ in ids)

    def loss(self, vectors: Sequence[torch.Tensor], targets: Sequence[Sequence[int]]) -> torch.Tensor:
        """CTC over clips `[token, hidden]` and the ids that they should spell."""
        lengths = torch.tensor([len(item) for item in vectors])
        logits = F.linear(nn.utils.rnn.pad_sequence(list(vectors)), self.rows) * self.scale
        spelled = [self.classes(ids) for ids in targets]
        return F.ctc_loss(
            F.log_softmax(logits.float(), -1),
            torch.tensor([id_ for ids in spelled for id_ in ids], device=logits.device),
            lengths,
            torch.tensor([len(ids) for ids in spelled]),
            blank=0,
            zero_infinity=True,
        )

    def guess_loss(
        self, vectors: Sequence[torch.Tensor], targets: Sequence[Sequence[int]], guesses: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, float]:
        """Cross entropy with a guessed place in `targets` for every vector, -1 where there is silence; and the share of
        the places that hold a token which are found as guessed."""
        logits = F.linear(torch.cat(list(vectors)), self.rows) * self.scale
        classes = []
        for ids, places in zip(targets, guesses):
            classes.append(torch.tensor([*self.classes(ids), 0])[places])
        wanted = torch.cat(classes).to(logits.device)
        is_said = wanted > 0
        right = (logits.argmax(-1) == wanted)[is_said].float().mean() if bool(is_said.any()) else torch.zeros(())
        return F.cross_entropy(logits.float(), wanted), float(right)

    @torch.no_grad()
    def spell(self, vectors: torch.Tensor) -> list[int]:
        """The likeliest ids of one clip, repetitions and silence left out."""
        best = F.linear(vectors.float(), self.rows).argmax(-1).tolist()
        kept = [now for before, now in zip([0, *best], best) if now and now != before]
        return [self.token_ids[index] for index in kept]


class PhoneSpeller(nn.Module):
    """What the tower has heard half-way, as phones (CTC); only for learning.

    Words that sound alike have nothing in common in the table, phones say what they share.
    """

    def __init__(self, width: int, texts: Iterable[str]) -> None:
        super().__init__()
        self.head = nn.Linear(width, len(PHONES))
        self._phones = pronounce(word for text in texts for word in words_of(text))

    def loss(self, middles: Sequence[torch.Tensor], texts: Sequence[str]) -> torch.Tensor:
        """Of clips `[half, width]` in which `texts` are said. Silence is the blank, class 0."""
        spelled = [[PLACE[name] for word in words_of(text) for name in self._phones[word]] for text in texts]
        logits = self.head(nn.utils.rnn.pad_sequence(list(middles)))
        return F.ctc_loss(
            F.log_softmax(logits.float(), -1),
            torch.tensor([phone for phones in spelled for phone in phones], device=logits.device),
            torch.tensor([len(item) for item in middles]),
            torch.tensor([len(phones) for phones in spelled]),
            blank=0,
            zero_infinity=True,
        )


def make_speller(thinker: Thinker, encode: TextEncoder, banks: Sequence[Bank]) -> Speller:
    """A speller of every token that the banks say."""
    spoken = {id_ for bank in banks for text in bank.by_text for id_ in encode(" " + text)}
    return Speller(thinker.model.embed_tokens.weight, encode.ids.audio, sorted(spoken))


def open_bank(workspace: Workspace, split: str) -> Bank:
    """Training hears the strangers, too, where clips of theirs were recorded for it (`add_stranger_shard`)."""
    return Bank(workspace.stage("voices_in"), split, *(("stranger_train",) if split == "train" else ()))


def run(workspace: Workspace) -> None:
    """Writes `audio_tower.*` weights."""
    tokenizer = load(workspace)
    encode = TextEncoder(tokenizer)
    thinker = Thinker(ThinkerSizes(), vocabulary_size(tokenizer)).to(workspace.device)
    started = workspace.started(NAME)
    thinker.load_state_dict(workspace.load_weights("language") | (started or {}), strict=False)
    banks = {split: open_bank(workspace, split) for split in ("train", "test", "stranger")}
    bank = banks["train"]
    speller = make_speller(thinker, encode, list(banks.values())).to(workspace.device)
    if started is not None:
        speller.scale.data.copy_(workspace.load_weights(NAME, SPELLER_FILE)["scale"])
    phone_speller = PhoneSpeller(ThinkerSizes().audio.hidden, bank.by_text).to(workspace.device)
    named = [(name, value) for name, value in thinker.named_parameters() if name.startswith("audio_tower.")]
    named += [(f"phones.{name}", value) for name, value in phone_speller.named_parameters()]
    optimizers = make_optimizers(named, LEARNING_RATE)
    optimizers[-1].add_param_group({"params": [speller.scale], "lr": SCALE_LEARNING_RATE})
    generator = workspace.random(NAME)
    num_steps = workspace.steps(NAME, NUM_STEPS, 4)
    curriculum = Curriculum(bank, num_steps, is_beginner=started is None)

    def step(index: int) -> tuple[torch.Tensor, dict[str, float]]:
        chosen = curriculum.draw(generator, CLIPS_PER_STEP)
        mels = [bank.mel(clip) for clip in chosen]
        mels = [augment_mel(generator, mel) if generator.random() < curriculum.share else mel for mel in mels]
        targets = [encode(" " + bank.exchanges[clip].user) for clip in chosen]
        figures = {"clips": len(chosen), "joined": curriculum.share, "scale": float(speller.scale.detach())}
        with workspace.autocast():
            vectors, middles = thinker.audio_tower.both(mels)
            if curriculum.is_guessing:
                guesses = [guess_places(mel, letters(encode, ids)) for mel, ids in zip(mels, targets)]
                loss, right = speller.guess_loss(vectors, targets, guesses)
                curriculum.guessed(right, index)
                return loss, figures | {"guessed right": right}
            loss = speller.loss(vectors, targets)
            phones = phone_speller.loss(middles, [bank.exchanges[clip].user for clip in chosen])
        curriculum.spelled(float(loss.detach()), index)
        figures |= {"spelling": float(loss.detach()), "phones": float(phones.detach())}
        return loss + PHONES_WEIGHT * phones, figures

    def evaluate(num_clips: int = 300) -> dict[str, float]:
        workspace.save_weights(NAME, weights_of(thinker, "audio_tower."))
        ids = torch.tensor(speller.token_ids)
        workspace.save_weights(NAME, {"scale": speller.scale, "token_ids": ids}, SPELLER_FILE)
        figures = {}
        for split in ("test", "stranger"):
            with workspace.autocast():
                figures |= error_rates(thinker, speller, encode, banks[split], split, workspace.size(num_clips, 20))
        return figures

    state = {
        "tower": thinker.audio_tower,
        "speller": speller,
        "phone speller": phone_speller,
        "curriculum": curriculum,
    }
    state |= {f"optimizer {number}": part for number, part in enumerate(optimizers)}
    training = Training(
        workspace,
        NAME,
        num_steps,
        state,
        evaluate=lambda: {key: value for key, value in evaluate().items() if "/" not in key},
        evaluate_every_s=EVALUATE_EVERY_S,
    )
    training.run(step)
    workspace.save_report(NAME, evaluate(3000))


def letters(encode: TextEncoder, ids: Sequence[int]) -> list[int]:
    return [max(1, len(encode.tokenizer.decode([id_]).strip())) for id_ in ids]


@torch.no_grad()
def error_rates(
    thinker: Thinker, speller: Speller, encode: TextEncoder, bank: Bank, split: str, num_clips: int
) -> dict[str, float]:
    """Word error rate and share of faultless clips in percent, of the whole split and by voice."""
    chosen = random.Random(5).sample(range(len(bank)), min(num_clips, len(bank)))
    chosen.sort(key=lambda index: bank.num_frames[index])
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for first in range(0, len(chosen), CLIPS_PER_STEP):
        clips = chosen[first : first + CLIPS_PER_STEP]
        for clip, vectors in zip(clips, thinker.audio_tower([bank.mel(clip) for clip in clips])):
            wanted = encode.tokenizer.decode(encode(" " + bank.exchanges[clip].user)).split()
            given = encode.tokenizer.decode(speller.spell(vectors)).split()
            errors = word_errors(wanted, given)
            for key in (split, f"{split}/{bank.voice[clip]}"):
                for place, value in enumerate((errors, len(wanted), errors == 0, 1)):
                    counts[key][place] += value
    return {
        name: value
        for key, (errors, words, faultless, number) in sorted(counts.items())
        for name, value in (
            (f"{key} word errors", round(100 * errors / max(1, words), 1)),
            (f"{key} faultless", round(100 * faultless / number, 1)),
        )
    }


def word_errors(wanted: Sequence[str], given: Sequence[str]) -> int:
    """Words to insert, leave out or replace (edit distance)."""
    row = list(range(len(given) + 1))
    for i, word in enumerate(wanted, 1):
        before, row[0] = row[:], i
        for j, other in enumerate(given, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (word != other))
    return row[-1]
