"""One utterance step by step as the Talker reads it, exactly as `app.engine.talker` feeds it; knows no stage."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from training.talker.model import Talker
from training.talker.states import Reading
from training.thinker.model import LanguageModel

SPEAKER_TOKENS = ("<|spk_a_bos|>", "<|spk_b_bos|>", "<|spk_c_bos|>")
NOTHING = -100
# Phones that the Talker is asked for ahead of the one it says.
NUM_AHEAD = 2


@dataclass(frozen=True, eq=False)
class Frame:
    """The embeddings `[state]` that frame speech: one per speaker `[voice, state]`, the text's end and what follows."""

    speakers: torch.Tensor
    text_end: torch.Tensor
    text_pad: torch.Tensor


def load_frame(thinker: LanguageModel, tokenizer: PreTrainedTokenizerBase) -> Frame:
    def embed(*tokens: str) -> torch.Tensor:
        ids = tokenizer.convert_tokens_to_ids(list(tokens))
        return thinker.embed_tokens.weight[ids].detach()

    return Frame(embed(*SPEAKER_TOKENS), embed("<tts_text_eod>")[0], embed("<tts_pad>")[0])


@dataclass(frozen=True, eq=False)
class Steps:
    """Of one utterance: `states` `[step, state]`, codes read `[step]`, positions `[3, step]`, codes to say `[step]`.

    Only for learning: `ahead` `[step, NUM_AHEAD]`, the phones that follow the one to be said; `words` `[step, 2, 2]`,
    first and last (exclusive) of the steps with the tokens of the word that is said, and of the next one.
    """

    states: torch.Tensor
    codes: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    ahead: torch.Tensor
    words: torch.Tensor


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is known of a recording beside its codes: phones `[code, NUM_AHEAD]` that follow the one that is said, and
    reply tokens `[code, 2, 2]`, first and last (exclusive), of the word that is said and of the next; or `NOTHING`."""

    ahead: torch.Tensor
    tokens: torch.Tensor


def layout(
    talker: Talker,
    frame: Frame,
    reading: Reading,
    voice: int,
    codes: torch.Tensor,
    lesson: Lesson | None = None,
) -> Steps:
    """`codes` `[code]`, 1 and up, without the end.

    The prompt; the speaker's token with codec_pad; reply token 0 with codec_start, which says code 0; reply token i
    with code i - 1; once the text is read its end, then padding; the last code says the end.
    """
    device = reading.reply.device
    codes = codes.to(device)
    num_prompt, num_reply, num_codes = len(reading.prompt), len(reading.reply), len(codes)
    num_spoken = num_codes + 1
    text = torch.cat([reading.reply[:num_spoken], frame.text_end[None]])
    rest = frame.text_pad.expand(max(0, num_spoken - num_reply - 1), -1)
    text = torch.cat([text, rest])[:num_spoken]
    start = codes.new_tensor([talker.pad, talker.start])
    first = reading.next_position
    later = max(reading.top_position, first + 2)
    first_step = num_prompt + 1
    ahead = codes.new_full((first_step + num_spoken, NUM_AHEAD), NOTHING)
    words = codes.new_full((first_step + num_spoken, 2, 2), NOTHING)
    if lesson is not None:
        ahead[first_step:-1] = lesson.ahead.to(device)
        tokens = lesson.tokens.to(device)
        words[first_step:-1] = torch.where(tokens == NOTHING, NOTHING, tokens + first_step)
    line = torch.cat([torch.arange(first, first + 2), torch.arange(later, later + num_codes)]).to(device)
    return Steps(
        torch.cat([reading.prompt, frame.speakers[voice][None], text]),
        torch.cat([codes.new_zeros(num_prompt), start, codes]),
        torch.cat([reading.positions, line.expand(3, -1)], 1),
        torch.cat([codes.new_full((num_prompt + 1,), NOTHING), codes, codes.new_tensor([talker.end])]),
        ahead,
        words,
    )


def side_by_side(rows: Sequence[Steps]) -> Steps:
    """Padded on the right: `[row, step, ...]`, positions `[3, row, step]`."""
    length = -(-max(len(row.codes) for row in rows) // 8) * 8

    def pad(tensors: list[torch.Tensor], value: int) -> torch.Tensor:
        shape = tensors[0].shape[1:]
        out = tensors[0].new_full((len(tensors), length, *shape), value)
        for row, tensor in zip(out, tensors):
            row[: len(tensor)] = tensor
        return out

    return Steps(
        pad([row.states for row in rows], 0),
        pad([row.codes for row in rows], 0),
        pad([row.positions.T for row in rows], 0).permute(2, 0, 1),
        pad([row.targets for row in rows], NOTHING),
        pad([row.ahead for row in rows], NOTHING),
        pad([row.words for row in rows], NOTHING),
    )


def corrupted(talker: Talker, codes: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Real codes replaced at random, so that a wrong code said does not lead to the next."""
    if not share:
        return codes
    is_wrong = (torch.rand(codes.shape, generator=generator) < share).to(codes.device)
    is_wrong &= (codes > 0) & (codes <= talker.num_codes)
    random = torch.randint(1, talker.num_codes + 1, codes.shape, generator=generator).to(codes.device)
    return torch.where(is_wrong, random, codes)
