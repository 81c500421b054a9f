"""The stage `hearing`: the audio tower alone spells what is said, its letters being the word vectors (CTC).

The classes are rows of the language model's embedding table, which stays as it is; blank is the row of `<|AUDIO|>`. The
tower's vectors thus come to lie where the language model looks for words.

CTC alone does not get off the ground on thousands of voices in noise. So it begins with the voice that is heard most,
undisturbed, and with a guess at which token is said when (letters spread evenly over the loud part, the flat start of
older recognizers); voices and disturbances join and the guess is dropped bit by bit.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from training.loop import Training, make_optimizers
from training.thinker.config import ThinkerSizes, vocabulary_size
from training.thinker.model import Thinker, num_sound_tokens, weights_of
from training.thinker.sequence import TextEncoder
from training.tokenizer import load
from training.voices.bank import Bank
from training.voices.mel_augment import augment_mel
from training.workspace import Workspace

NAME = "hearing"
NUM_STEPS = 4000
CLIPS_PER_STEP = 24
# Of the steps, until all voices have joined, and until nothing is guessed any more.
JOINING_SHARE = 0.3
GUESSING_SHARE = 0.25
LEARNING_RATE = 3e-3
SCALE_LEARNING_RATE = 1e-2
EVALUATE_EVERY_S = 300.0
SPELLER_FILE = "speller.safetensors"


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
    ) -> torch.Tensor:
        """Cross entropy with a guessed place in `targets` for every vector, -1 where there is silence."""
        logits = F.linear(torch.cat(list(vectors)), self.rows) * self.scale
        classes = []
        for ids, places in zip(targets, guesses):
            classes.append(torch.tensor([*self.classes(ids), 0])[places])
        return F.cross_entropy(logits.float(), torch.cat(classes).to(logits.device))

    @torch.no_grad()
    def spell(self, vectors: torch.Tensor) -> list[int]:
        """The likeliest ids of one clip, repetitions and silence left out."""
        best = F.linear(vectors.float(), self.rows).argmax(-1).tolist()
        kept = [now for before, now in zip([0, *best], best) if now and now != before]
        return [self.token_ids[index] for index in kept]


def make_speller(thinker: Thinker, encode: TextEncoder, banks: Sequence[Bank]) -> Speller:
    """A speller of every token that the banks say."""
    spoken = {id_ for bank in banks for text in bank.by_text for id_ in encode(" " + text)}
    return Speller(thinker.model.embed_tokens.weight, encode.ids.audio, sorted(spoken))


def open_bank(workspace: Workspace, split: str) -> Bank:
    return Bank(workspace.stage("voices_in"), split)


def guess_places(mel: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Which token of a clip `[frame, mel]` each of the tower's vectors may belong to, int64 `[vector]`, -1 for silence.

    `lengths`: letters of each token.
    """
    places = torch.full((num_sound_tokens(len(mel)),), -1)
    level = mel.mean(1)
    ordered = level.sort().values
    quiet, loud = ordered[len(ordered) // 10], ordered[-max(1, len(ordered) // 10)]
    is_loud = (level > quiet + 0.35 * (loud - quiet)).nonzero()[:, 0]
    if len(is_loud) == 0:
        return places
    # A vector takes four frames.
    first, last = int(is_loud[0]) / 4, min(len(places), int(is_loud[-1]) / 4 + 1)
    done = 0
    for index, length in enumerate(lengths):
        start = first + (last - first) * done / sum(lengths)
        done += length
        end = first + (last - first) * done / sum(lengths)
        places[round(start) : max(round(start) + 1, round(end))] = index
    return places


def easy_first(bank: Bank) -> list[int]:
    """Clips by voice, those of the voices that are heard most before all others."""
    count = Counter(bank.voice)
    order = [index for index in range(len(bank)) if num_sound_tokens(bank.num_frames[index]) > 0]
    return sorted(order, key=lambda index: (-count[bank.voice[index]], bank.voice[index]))


def run(workspace: Workspace) -> None:
    """Writes `audio_tower.*` weights."""
    tokenizer = load(workspace)
    encode = TextEncoder(tokenizer)
    thinker = Thinker(ThinkerSizes(), vocabulary_size(tokenizer)).to(workspace.device)
    thinker.load_state_dict(workspace.load_weights("language"), strict=False)
    banks = {split: open_bank(workspace, split) for split in ("train", "test", "stranger")}
    bank = banks["train"]
    speller = make_speller(thinker, encode, list(banks.values())).to(workspace.device)
    named = [(name, value) for name, value in thinker.named_parameters() if name.startswith("audio_tower.")]
    optimizers = make_optimizers(named, LEARNING_RATE)
    optimizers[-1].add_param_group({"params": [speller.scale], "lr": SCALE_LEARNING_RATE})
    generator = workspace.random(NAME)
    order = easy_first(bank)
    most_heard = sum(voice == bank.voice[order[0]] for voice in bank.voice)
    num_steps = workspace.steps(NAME, NUM_STEPS, 4)
    joined = Joined(bank, order)

    def step(index: int) -> tuple[torch.Tensor, dict[str, float]]:
        share = min(1.0, index / max(1, JOINING_SHARE * num_steps))
        chosen = joined.draw(generator, round(most_heard + share * (len(order) - most_heard)), CLIPS_PER_STEP)
        mels = [bank.mel(clip) for clip in chosen]
        mels = [augment_mel(generator, mel) if generator.random() < share else mel for mel in mels]
        targets = [encode(" " + bank.exchanges[clip].user) for clip in chosen]
        guessed = max(0.0, 1.0 - index / max(1, GUESSING_SHARE * num_steps))
        with workspace.autocast():
            vectors = thinker.audio_tower(mels)
            loss = speller.loss(vectors, targets)
            figures = {"spelling": float(loss.detach()), "clips": len(chosen)}
            if guessed:
                guesses = [guess_places(mel, letters(encode, ids)) for mel, ids in zip(mels, targets)]
                guess = speller.guess_loss(vectors, targets, guesses)
                figures["guess"] = float(guess.detach())
                loss = guessed * guess + (1 - guessed) * loss
        return loss, figures | {"scale": float(speller.scale.detach())}

    def evaluate(num_clips: int = 300) -> dict[str, float]:
        workspace.save_weights(NAME, weights_of(thinker, "audio_tower."))
        ids = torch.tensor(speller.token_ids)
        workspace.save_weights(NAME, {"scale": speller.scale, "token_ids": ids}, SPELLER_FILE)
        figures = {}
        for split in ("test", "stranger"):
            with workspace.autocast():
                figures |= error_rates(thinker, speller, encode, banks[split], split, workspace.size(num_clips, 20))
        return figures

    state = {"tower": thinker.audio_tower, "speller": speller}
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


class Joined:
    """Draws clips of similar length out of the first ones of an order that grows."""

    def __init__(self, bank: Bank, order: Sequence[int]) -> None:
        self._bank = bank
        self._order = order
        self._by_length: list[int] = []

    def draw(self, generator: random.Random, number: int, size: int) -> list[int]:
        # Sorting anew costs little when the pool has grown by a twentieth.
        if not self._by_length or number > 1.05 * len(self._by_length) or number == len(self._order):
            if number != len(self._by_length):
                self._by_length = sorted(self._order[:number], key=lambda index: self._bank.num_frames[index])
        first = generator.randrange(max(1, len(self._by_length) - size + 1))
        return self._by_length[first : first + size]


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
