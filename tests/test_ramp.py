"""Laws of the ramp, on a machine that is nothing but a clock: no reply runs dry, and none waits longer than it must."""

import itertools
import random
from dataclasses import dataclass, field

import pytest

from app.engine.ramp import DELIVERY_S, MARGIN, MAX_HOLD_S, SIZES, TYPICAL_S, Blocks, Pace, Paces, Ramp

BLOCKS = Blocks()
FIRST = (1 + BLOCKS.look_ahead) * BLOCKS.codes


@dataclass
class Machine:
    """Times in seconds: a window of n blocks takes `window_s + n * block_s`, a code `code_s`, and `text_s` more while
    text is written; each unit up to `jitter` of it more or less. `interruptions`: windows that take three times it."""

    block_s: float
    window_s: float = 0.0
    code_s: float = 0.001
    text_s: float = 0.0
    num_text_codes: int = 40
    jitter: float = 0.0
    interruptions: float = 0.0
    seed: int = 0
    now: float = 0.0
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def work(self, seconds: float) -> None:
        self.now += seconds * (1 + self._chance.uniform(-self.jitter, self.jitter))

    @property
    def rtf(self) -> float:
        """Of the largest chunk, behind the end of the text."""
        most = SIZES[-1]
        work_s = self.window_s + (BLOCKS.look_back + most + BLOCKS.look_ahead) * self.block_s
        return (work_s + most * BLOCKS.codes * self.code_s) / (most * BLOCKS.seconds)

    def speak(self, seconds: float, is_fixed: bool = False) -> "Spoken":
        """One utterance as a speech stream makes it."""
        ramp, start = Ramp(BLOCKS, self.pace, lambda: self.now, is_fixed), self.now
        packets, chunks, made, hold_s = [], [], 0, 0.0
        num_codes = round(seconds / BLOCKS.seconds * BLOCKS.codes)

        def window(chunk: int, ahead: int) -> None:
            nonlocal made, hold_s
            length = min(made, BLOCKS.look_back) + chunk + ahead
            ramp.begin()
            times = 3 if self._chance.random() < self.interruptions else 1
            self.work(times * (self.window_s + length * self.block_s))
            hold_s += ramp.done(length, chunk, is_last=ahead == 0)
            made += chunk
            chunks.append(chunk)
            packets.append((self.now - start, chunk * BLOCKS.seconds))

        for number in range(1, num_codes + 1):
            self.work(self.code_s + (self.text_s if number <= self.num_text_codes else 0.0))
            ramp.code()
            if number == self.num_text_codes:
                ramp.text_ended()
            ready = number // BLOCKS.codes - made - BLOCKS.look_ahead
            if number % BLOCKS.codes == 0 and ready > 0 and ramp.is_due(ready):
                window(ready, BLOCKS.look_ahead)
        if made * BLOCKS.codes < num_codes:
            window(-(-num_codes // BLOCKS.codes) - made, 0)
        return Spoken(packets, chunks, hold_s)

    def warmed_up(self) -> "Machine":
        for _ in range(2):
            self.speak(1.5)
        self.pace.settle()
        return self


@dataclass(frozen=True)
class Spoken:
    """`packets`: when each was out, and how long it plays."""

    packets: list[tuple[float, float]]
    chunks: list[int]
    hold_s: float

    def gap_s(self, delivery: random.Random) -> float:
        """Silence between the first sample and the last when packets take up to `DELIVERY_S` to the player."""
        dry_at, gap_s = None, 0.0
        for at, length in self.packets:
            at += delivery.uniform(0, DELIVERY_S)
            if dry_at is None:
                dry_at = at + self.hold_s
            gap_s += max(0.0, at - dry_at)
            dry_at = max(dry_at, at) + length
        return gap_s


BLOCK_S = (0.001, 0.005, 0.01, 0.02, 0.03, 0.045, 0.06, 0.08, 0.1, 0.13, 0.16)
WINDOW_S = (0.0, 0.03, 0.1, 0.2, 0.35)
CODE_S = ((0.0005, 0.0), (0.002, 0.002), (0.004, 0.012), (0.009, 0.009))


def machines(jitter: float):
    for number, (block_s, window_s, (code_s, text_s)) in enumerate(itertools.product(BLOCK_S, WINDOW_S, CODE_S)):
        yield Machine(block_s, window_s, code_s, text_s, jitter=jitter, seed=number)


@pytest.mark.parametrize("jitter", [0.0, 0.05, 0.1])
def test_a_reply_never_runs_dry_when_the_hold_is_obeyed(jitter: float):
    num_held = 0
    for machine in machines(jitter):
        machine.warmed_up()
        for seconds in (0.7, 1.2, 3.1, TYPICAL_S):
            spoken = machine.speak(seconds)
            assert 0 <= spoken.hold_s <= MAX_HOLD_S
            assert sum(spoken.chunks) * BLOCKS.seconds == pytest.approx(seconds, abs=BLOCKS.seconds)
            if spoken.hold_s < MAX_HOLD_S:
                gap_s = spoken.gap_s(random.Random(machine.seed))
                assert gap_s == 0.0, (machine, seconds, spoken)
                num_held += spoken.hold_s > 0
    # The grid has machines on both sides.
    assert num_held > 100, num_held


@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_a_machine_that_keeps_up_plays_a_long_reply_through(jitter: float):
    num = 0
    for machine in machines(jitter):
        if machine.rtf * MARGIN < 0.95:
            spoken = machine.warmed_up().speak(45.0)
            if spoken.hold_s < MAX_HOLD_S:
                assert spoken.gap_s(random.Random(1)) == 0.0, (machine, spoken)
                num += 1
    assert num > 50, num


def test_every_window_but_a_replys_last_is_one_of_those_that_are_possible():
    possible, seen = BLOCKS.possible(), set()
    for machine in machines(0.1):
        machine.warmed_up()
        for is_fixed in (False, True):
            made = 0
            for chunk in machine.speak(20.0, is_fixed).chunks[:-1]:
                seen.add((min(made, BLOCKS.look_back), chunk))
                made += chunk
    assert seen <= possible, seen - possible
    # And no more are than that: each may come.
    assert len(possible) == 11 and len(seen) >= 9, possible - seen


def test_on_a_fast_machine_the_first_packet_is_as_early_as_ever_and_later_chunks_are_large():
    published, ramped = Machine(0.01), Machine(0.01).warmed_up()
    before, after = published.speak(20.0), ramped.speak(20.0)
    assert after.hold_s == 0.0
    assert after.chunks[0] == before.chunks[0] == 1
    assert after.packets[0][0] == pytest.approx(before.packets[0][0])
    assert after.packets[0][0] == pytest.approx(FIRST * 0.001 + 2 * 0.01)
    assert max(after.chunks[:4]) == SIZES[-1], after.chunks
    assert set(after.chunks[4:-1]) == {SIZES[-1]}
    assert after.packets[-1][0] < 0.8 * before.packets[-1][0]


def test_without_a_measurement_the_published_ramp_is_used():
    unmeasured = Pace()
    unmeasured.settle()
    spoken = Machine(0.01, pace=unmeasured).speak(5.0)
    assert spoken.chunks[:6] == [1, 1, 2, 3, 3, 3] and spoken.hold_s == 0.0
    # Measured, and not settled.
    machine = Machine(0.01)
    assert machine.speak(5.0).chunks == machine.speak(5.0).chunks == spoken.chunks


def test_fixed_chunks_are_the_published_ones_and_are_held_too():
    num_held = 0
    for machine in machines(0.1):
        spoken = machine.warmed_up().speak(TYPICAL_S, is_fixed=True)
        assert spoken.chunks[:6] == [1, 1, 2, 3, 3, 3]
        if spoken.hold_s < MAX_HOLD_S:
            assert spoken.gap_s(random.Random(machine.seed)) == 0.0, (machine, spoken)
            num_held += spoken.hold_s > 0
    assert num_held > 10, num_held


@pytest.mark.parametrize("block_s", [0.045, 0.06, 0.08])
def test_a_hold_is_no_longer_than_it_must_be(block_s: float):
    """Without its last fifth and what prudence adds, there would be a gap on a machine that is as slow as prudence has
    it."""
    machine = Machine(block_s, window_s=0.05).warmed_up()
    spoken = machine.speak(TYPICAL_S)
    assert 0.1 < spoken.hold_s < MAX_HOLD_S
    slower = Machine(block_s * MARGIN, 0.05 * MARGIN, 0.001 * MARGIN, pace=machine.pace)
    slower.pace.is_settled = False
    told = Spoken(slower.speak(TYPICAL_S).packets, [], 0.8 * spoken.hold_s - DELIVERY_S)
    assert told.gap_s(random.Random(0)) > 0


def test_a_machine_that_is_too_slow_holds_as_long_as_it_may_and_then_works_in_the_largest_chunks():
    spoken = Machine(0.3).warmed_up().speak(20.0)
    assert spoken.hold_s == MAX_HOLD_S
    assert set(spoken.chunks[1:-1]) == {SIZES[-1]}


def test_a_machine_that_slows_down_goes_back_to_smaller_chunks_and_recovers():
    machine = Machine(0.02).warmed_up()
    machine.speak(20.0)
    machine.block_s = 0.055
    first, later = machine.speak(20.0), machine.speak(20.0)
    assert first.chunks[1] < SIZES[-1]
    assert later.gap_s(random.Random(0)) == 0.0, later


def test_a_window_is_never_thought_to_take_less_than_it_does():
    """From few lengths that were measured, for every cost that is a part for each window and one for each block."""
    for window_s, block_s in itertools.product((0.0, 0.1, 0.3), (0.0, 0.01, 0.05)):
        pace = Pace()
        for length in (3, 5):
            pace.note_window(length, window_s + length * block_s)
        for length in range(2, 20):
            assert pace.window_s(length) >= window_s + length * block_s - 1e-9


def test_the_first_window_of_a_length_is_forgotten_as_soon_as_there_is_a_second():
    pace = Pace()
    pace.note_window(4, 3.0)
    assert not pace.knows(4) and pace.window_s(4) == 3.0
    pace.note_window(4, 0.1)
    assert pace.knows(4) and pace.window_s(4) == 0.1
    pace.note_window(4, 0.2)
    assert 0.1 < pace.window_s(4) < 0.2


def test_a_turn_with_other_solver_points_is_expected_to_take_no_less_than_it_will():
    paces = Paces()
    paces.of(72).note_window(4, 0.4)
    paces.settle()
    assert paces.of(72).is_settled and paces.of(72).window_s(4) == 0.4
    assert paces.of(16).is_settled and paces.of(16).window_s(4) == 0.4
    assert paces.of(144).window_s(4) == pytest.approx(0.8)
    paces.of(16).note_window(4, 0.1)
    assert (paces.of(16).window_s(4), paces.of(72).window_s(4)) == (0.1, 0.4)
    assert paces.of(8).window_s(4) == 0.1


def test_nothing_is_followed_before_anything_was_measured():
    paces = Paces()
    paces.settle()
    assert not paces.of(72).is_settled


def test_a_machine_that_is_often_interrupted_is_given_more_room():
    """One window in four takes three times as long: another program wants the processor. With the margin of a quiet
    machine every other reply has a gap."""
    gaps = []
    for number in range(10):
        machine = Machine(0.03, window_s=0.05, seed=number, interruptions=0.25).warmed_up()
        gaps += [machine.speak(6.0).gap_s(random.Random(index)) for index in range(8)][3:]
    assert sum(gap > 0 for gap in gaps) <= len(gaps) // 4, gaps
