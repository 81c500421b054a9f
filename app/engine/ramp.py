"""How much speech each window makes: as much as can be made before the player runs dry; knows no model and no player.

A window of look-back 2, chunk c and look-ahead 1 costs (c + 3) / c of the offline pass, so large chunks are cheap and
small ones early. With D the length of a block of speech, a the time that its codes take and b that of a block in a
window, packet n + 1 is there in time where

    what is left to play behind packet n  >=  c * a + (c + 3) * b

for c the chunk of packet n + 1: chunks may grow as the lead grows. Where no chunk keeps up, the player is told to hold
the first packet.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

# Few sizes, so that what is kept for each length of a window is made once. Of 8 blocks (1.9 s) a window costs 1.4 times
# the offline pass, of 3 twice; more brings little and makes other turns and a stop wait longer for each solver step.
SIZES = (1, 2, 3, 5, 8)
# What was measured may take so much longer, at the least: two units that differ by a tenth each way from what they are
# as a rule. Where windows were further from what was expected, so many times their mean distance.
MARGIN = 1.25
SPREADS = 3.0
_MOST_SPREAD = 1.0
# From a packet's last sample to the browser's ring: 20 ms as a rule, 100 ms in a burst.
DELIVERY_S = 0.06
# A hold is made for a reply of this length. A longer one on a machine that does not keep up has gaps in the end.
TYPICAL_S = 10.0
# A text token goes with 12 to 17 codes: while a typical reply is written, so many codes come, each with a token.
TYPICAL_TEXT_CODES = 40
# A gap is bad, but so is silence under text that is there already: after 3 s people take the voice for broken. It
# covers a typical reply up to a real-time factor of 1.04, or 1.3 with everything as it was measured.
MAX_HOLD_S = 3.0
# Beyond a typical reply: a chunk must not lead to where no other is in time.
FORESIGHT_S = 4.0
_HOLD_STEP_S = 0.02
# Of a new measurement, in what is kept.
_SHARE = 0.3


@dataclass(frozen=True)
class Blocks:
    """What a ramp must know of windows, in blocks of the DiT. `published`: chunks, the last one repeats; `codes` and
    `seconds` of a block; `lost_s`: seconds that the first packet is shorter than its blocks."""

    published: tuple[int, ...] = (1, 1, 2, 3)
    look_back: int = 2
    look_ahead: int = 1
    codes: int = 12
    seconds: float = 0.24
    lost_s: float = 0.0

    def published_chunk(self, window: int) -> int:
        return self.published[min(window, len(self.published) - 1)]

    def in_window(self, num_made: int, chunk: int) -> int:
        """Blocks that a window runs which makes `chunk` of them final behind `num_made`."""
        return min(num_made, self.look_back) + chunk + self.look_ahead

    def possible(self) -> set[tuple[int, int]]:
        """All windows that a ramp can ask for but a reply's last: the blocks that each looks back on, and its chunk."""
        later = {*SIZES, *self.published}
        found: set[tuple[int, int]] = set()
        new = {(0, self.published[0])}
        while new:
            found |= new
            new = {(min(back + chunk, self.look_back), other) for back, chunk in new for other in later} - found
        return found


class Pace:
    """How long windows and codes take on this machine, smoothed over utterances. Belongs to the worker's thread.

    Utterances follow it once it `is_settled`; until then they only measure.
    """

    def __init__(self) -> None:
        self.is_settled = False
        self.code_s: float | None = None
        # How far windows are from what was expected of them, as a share of it.
        self.spread = 0.0
        self._window_s: dict[int, float] = {}
        self._seen: dict[int, int] = {}

    def settle(self) -> None:
        """From now on chunks follow what was measured, if anything was."""
        self.is_settled = bool(self._window_s)

    def scaled(self, factor: float) -> "Pace":
        """A new one that expects windows to take so much longer."""
        pace = Pace()
        pace.code_s, pace.spread = self.code_s, self.spread
        pace._window_s = {length: factor * seconds for length, seconds in self._window_s.items()}
        return pace

    def knows(self, num_blocks: int) -> bool:
        """Whether windows of this length were measured when they did not pay for tables and kernels any more."""
        return self._seen.get(num_blocks, 0) > 1

    def window_s(self, num_blocks: int) -> float:
        """Never less than what it will be: a window costs no more per block the longer it is, and no less in all."""
        if num_blocks in self._window_s:
            return self._window_s[num_blocks]
        below = max((length for length in self._window_s if length < num_blocks), default=None)
        above = min((length for length in self._window_s if length > num_blocks), default=None)
        if above is None:
            return self._window_s[below] * num_blocks / below
        if below is None:
            return self._window_s[above]
        share = (num_blocks - below) / (above - below)
        return self._window_s[below] * (1 - share) + self._window_s[above] * share

    def note_window(self, num_blocks: int, seconds: float) -> None:
        seen = self._seen[num_blocks] = self._seen.get(num_blocks, 0) + 1
        # The second of a length takes the place of the first, which had to make what is kept.
        self._window_s[num_blocks] = seconds if seen <= 2 else _mixed(self._window_s[num_blocks], seconds)

    def note_codes(self, num_codes: int, seconds: float) -> None:
        """Of codes that come behind the end of the text."""
        each = seconds / num_codes
        self.code_s = each if self.code_s is None else _mixed(self.code_s, each)


class Paces:
    """A `Pace` for each number of evaluations of the DiT that a window takes, which the settings of a turn decide."""

    def __init__(self) -> None:
        self._is_settled = False
        self._paces: dict[int, Pace] = {}

    def of(self, num_evaluations: int) -> Pace:
        """What was measured; for a new number what the next larger one takes, else as much more as it is more."""
        if num_evaluations not in self._paces:
            larger = min((known for known in self._paces if known > num_evaluations), default=None)
            known = larger or max(self._paces, default=None)
            pace = Pace() if known is None else self._paces[known].scaled(max(1.0, num_evaluations / known))
            if self._is_settled:
                pace.settle()
            self._paces[num_evaluations] = pace
        return self._paces[num_evaluations]

    def settle(self) -> None:
        """From now on chunks follow what was measured, and what will be."""
        self._is_settled = True
        for pace in self._paces.values():
            pace.settle()


def _mixed(kept: float, new: float, share: float = _SHARE) -> float:
    return kept + share * (new - kept)


class Ramp:
    """One utterance's chunks. Is told of every code and window (`code`, `begin`, `done`) and asked when to run one.

    `is_fixed`: the chunks are the published ones, so that all is as it was the last time, to the bit, and only the hold
    follows the pace. Without a settled pace the chunks are the published ones, too, and nothing is held.
    """

    def __init__(
        self,
        blocks: Blocks,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
        is_fixed: bool = False,
    ) -> None:
        self._blocks = blocks
        self._pace = pace or Pace()
        self._clock = clock
        self._is_steered = self._pace.is_settled
        self._is_fixed = is_fixed or not self._is_steered
        self._is_writing = True
        self._writing_code_s: float | None = None
        self._num_codes = 0
        self._num_made = 0
        self._num_windows = 0
        # What this utterance's windows take, of what they take as a rule: others may run beside it.
        self._slowness = 1.0
        self._codes_from: tuple[int, float] | None = None
        self._window_from = 0.0
        self._dry_at: float | None = None

    def code(self) -> None:
        """A code has come."""
        self._num_codes += 1
        if self._codes_from is None:
            self._codes_from = (self._num_codes, self._clock())

    def text_ended(self) -> None:
        """Codes come without a text token from now on."""
        if self._is_writing:
            self._note_codes()
            self._is_writing = False

    def is_due(self, num_blocks: int) -> bool:
        """Whether a window should run that makes all of `num_blocks` final, for which all codes are there; asked block
        by block. If not, more will be waited for. The first makes what is published."""
        if self._is_fixed:
            return num_blocks >= self._blocks.published_chunk(self._num_windows)
        if self._dry_at is None:
            return num_blocks >= self._blocks.published[0]
        if num_blocks >= SIZES[-1]:
            return True
        if num_blocks not in SIZES:
            return False
        lead_s = self._dry_at - self._clock()
        larger = SIZES[SIZES.index(num_blocks) + 1]
        if self._work_s(larger) * self._margin + DELIVERY_S <= lead_s:
            return False
        work_s = self._work_s(num_blocks)
        made = self._num_made + num_blocks
        left_s = lead_s - work_s * self._margin + num_blocks * self._blocks.seconds
        if self._plays_through(left_s, made, max(TYPICAL_S, made * self._blocks.seconds + FORESIGHT_S)):
            return True
        enough = self._sustaining()
        if enough is None or num_blocks >= enough:
            # Where none keeps up, the largest chunks make the least silence in all.
            return enough is not None
        # This chunk would lose time, and so would the next. Better a larger one that is just in time; and where a gap
        # cannot be helped, one is enough: with it comes the chunk that keeps up by itself from then on.
        return work_s <= lead_s < self._work_s(larger) + DELIVERY_S

    def begin(self) -> None:
        """A window begins."""
        self._note_codes()
        self._window_from = self._clock()

    def done(self, num_blocks: int, num_final: int, is_last: bool = False) -> float:
        """The packet of a window of `num_blocks` is out, which made `num_final` blocks final. Gives the seconds that
        the player must wait with the first one."""
        now = self._clock()
        self._note_window(num_blocks, now - self._window_from)
        self._codes_from = (self._num_codes, now)
        self._num_windows += 1
        self._num_made += num_final
        hold_s = lost_s = 0.0
        if self._dry_at is None:
            self._dry_at, lost_s = now, self._blocks.lost_s
            if self._is_steered and not is_last:
                hold_s = self._hold_s()
        self._dry_at = max(self._dry_at, now) + hold_s + num_final * self._blocks.seconds - lost_s
        return hold_s

    # -- what was measured -------------------------------------------------------------------------------------------

    def _note_window(self, num_blocks: int, seconds: float) -> None:
        pace = self._pace
        if pace.knows(num_blocks):
            share = seconds / max(pace.window_s(num_blocks), 1e-6)
            pace.spread = _mixed(pace.spread, min(_MOST_SPREAD, abs(share / self._slowness - 1)))
            share = min(2.0, max(0.5, share))
            self._slowness = _mixed(self._slowness, share, 0.5)
        pace.note_window(num_blocks, seconds)

    def _note_codes(self) -> None:
        if self._codes_from is None:
            return
        (num_before, since), now = self._codes_from, self._clock()
        self._codes_from = (self._num_codes, now)
        num_codes = self._num_codes - num_before
        if not num_codes:
            return
        if not self._is_writing:
            self._pace.note_codes(num_codes, now - since)
        elif self._writing_code_s is None:
            self._writing_code_s = (now - since) / num_codes
        else:
            self._writing_code_s = _mixed(self._writing_code_s, (now - since) / num_codes, 0.5)

    def _codes_s(self, first: int, last: int, num_written: int) -> float:
        """How long codes `first` to `last` will take to come, those before `num_written` with a text token each."""
        writing, speaking = self._writing_code_s, self._pace.code_s
        writing = writing if writing is not None else speaking or 0.0
        speaking = speaking if speaking is not None else writing
        num_writing = min(last, max(first, num_written)) - first if self._is_writing else 0
        return num_writing * writing + (last - first - num_writing) * speaking

    @property
    def _margin(self) -> float:
        return max(MARGIN, 1 + SPREADS * self._pace.spread)

    def _window_s(self, num_made: int, chunk: int) -> float:
        return self._slowness * self._pace.window_s(self._blocks.in_window(num_made, chunk))

    # -- what will be ------------------------------------------------------------------------------------------------

    def _work_s(self, chunk: int) -> float:
        """From now to the packet of the next window if it makes `chunk` blocks final."""
        first, last = self._num_codes, (self._num_made + chunk + self._blocks.look_ahead) * self._blocks.codes
        # A text that is longer than most may be longer still.
        num_written = TYPICAL_TEXT_CODES if first < TYPICAL_TEXT_CODES else last
        return self._codes_s(first, max(first, last), num_written) + self._window_s(self._num_made, chunk)

    def _sustaining(self) -> int | None:
        """The smallest chunk that is made while one of its size is played; None if none is."""
        blocks = self._blocks
        for chunk in SIZES:
            codes_s = self._codes_s(self._num_codes, self._num_codes + chunk * blocks.codes, self._num_codes)
            work_s = codes_s + self._window_s(blocks.look_back, chunk)
            if work_s * self._margin + DELIVERY_S <= chunk * blocks.seconds:
                return chunk
        return None

    def _hold_s(self) -> float:
        """The least hold with which a typical reply plays without a gap; `MAX_HOLD_S` if it takes more."""
        low, high = 0, round(MAX_HOLD_S / _HOLD_STEP_S)
        while low < high:
            middle = (low + high) // 2
            lead_s = middle * _HOLD_STEP_S + self._num_made * self._blocks.seconds - self._blocks.lost_s
            if self._plays_through(lead_s, self._num_made, TYPICAL_S):
                high = middle
            else:
                low = middle + 1
        return high * _HOLD_STEP_S

    def _plays_through(self, lead_s: float, num_made: int, until_s: float) -> bool:
        """Whether each window up to `until_s` of speech can be there in time, the largest that can each time, when all
        is as slow as prudence has it. `lead_s`: what is left to play when the packet behind `num_made` blocks comes."""
        blocks = self._blocks
        num_codes = max(self._num_codes, (num_made + blocks.look_ahead) * blocks.codes)
        window = self._num_windows
        while num_made * blocks.seconds < until_s:
            found = None
            for chunk in (blocks.published_chunk(window),) if self._is_fixed else SIZES:
                last = max(num_codes, (num_made + chunk + blocks.look_ahead) * blocks.codes)
                work_s = self._codes_s(num_codes, last, TYPICAL_TEXT_CODES) + self._window_s(num_made, chunk)
                if work_s * self._margin + DELIVERY_S > lead_s:
                    break
                found = (chunk, last, work_s * self._margin)
            if found is None:
                return False
            chunk, num_codes, work_s = found
            num_made, window = num_made + chunk, window + 1
            lead_s += chunk * blocks.seconds - work_s
        return True
