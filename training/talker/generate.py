"""Many utterances spoken at once, greedy or drawn; knows no stage."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from training.talker.layout import Frame, layout
from training.talker.model import Talker
from training.talker.states import Reading
from training.thinker.model import MASKED, Cache

# A second of speech is 50 codes. Utterances that do not end are cut.
MAX_CODES = 500


@dataclass(frozen=True)
class Drawing:
    """As `generate()` draws; a temperature of 0 takes the likeliest."""

    temperature: float = 0.0
    top_k: int = 40
    top_p: float = 1.0


@torch.no_grad()
def speak(
    talker: Talker,
    frame: Frame,
    readings: Sequence[Reading],
    voices: Sequence[int],
    drawing: Drawing = Drawing(),
    generator: torch.Generator | None = None,
    max_codes: int = MAX_CODES,
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Codes `[code]` of every reading, without the end, and the smallest distance of the best from an unused id."""
    device = readings[0].reply.device
    none = torch.zeros(0, dtype=torch.long, device=device)
    rows = [layout(talker, frame, reading, voice, none) for reading, voice in zip(readings, voices)]
    length = max(len(row.codes) for row in rows)
    number = len(rows)
    # Padded on the left, so that all rows speak at one column.
    states = rows[0].states.new_zeros(number, length, rows[0].states.shape[-1])
    codes = torch.zeros(number, length, dtype=torch.long, device=device)
    positions = torch.zeros(3, number, length, dtype=torch.long, device=device)
    is_step = torch.zeros(number, length, dtype=torch.bool, device=device)
    for index, row in enumerate(rows):
        first = length - len(row.codes)
        states[index, first:], codes[index, first:] = row.states, row.codes
        positions[:, index, first:] = row.positions
        is_step[index, first:] = True
    seen = is_step[:, None, None] & torch.ones(length, length, dtype=torch.bool, device=device).tril()
    seen = seen | torch.eye(length, dtype=torch.bool, device=device)
    mask = torch.zeros(seen.shape, device=device).masked_fill(~seen, MASKED)
    num_text = max(len(reading.reply) for reading in readings) + 1
    text = frame.text_pad.expand(number, num_text + 1, -1).clone()
    for index, reading in enumerate(readings):
        text[index, : len(reading.reply)] = reading.reply
        text[index, len(reading.reply)] = frame.text_end
    later = torch.tensor([max(item.top_position, item.next_position + 2) for item in readings], device=device)
    cache: Cache = [None] * len(talker.model.layers)
    is_open = torch.ones(number, dtype=torch.bool, device=device)
    said = []
    distance = torch.tensor(float("inf"), device=device)
    for step in range(max_codes):
        logits = talker.logits(talker(states, codes, positions, mask, cache)[:, -1])
        gap = logits[:, 1:].amax(-1) - logits[:, 0]
        distance = torch.minimum(distance, gap[is_open].min())
        code = draw(logits, drawing, generator)
        is_open &= (code != talker.end) & (code != 0)
        said.append(torch.where(is_open, code, 0))
        if not is_open.any():
            break
        is_step = torch.cat([is_step, torch.ones(number, 1, dtype=torch.bool, device=device)], 1)
        mask = torch.zeros(is_step.shape, device=device).masked_fill(~is_step, MASKED)[:, None, None]
        states = text[:, min(step + 1, num_text)][:, None]
        codes, positions = said[-1][:, None], (later + step)[None, :, None].expand(3, -1, -1)
    together = torch.stack(said, 1)
    return [row[row > 0] for row in together], distance


def draw(logits: torch.Tensor, drawing: Drawing, generator: torch.Generator | None) -> torch.Tensor:
    """`[row, code]` -> `[row]`."""
    if not drawing.temperature:
        return logits.argmax(-1)
    values, order = (logits / drawing.temperature).topk(drawing.top_k, -1)
    shares = values.softmax(-1)
    shares = shares * (shares.cumsum(-1) - shares < drawing.top_p)
    return order.gather(1, torch.multinomial(shares.cpu(), 1, generator=generator).to(order.device))[:, 0]
