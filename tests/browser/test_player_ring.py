"""Laws of the ring and of the resampler, rendered block by block in Chromium without an audio device."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

JS = Path(__file__).parents[2] / "assets" / "js"
# `ring(orders)`: renders blocks of 128 samples; an order is [block index, order]; the speech is constant 0.5, so that
# every change of loudness shows. Gives the wave and the facts that the ring posted.
DRIVER = """
window.drive = (orders, numBlocks, rate = 24000) => {
    const facts = [];
    const ring = new SpeechRing(rate, (fact) => facts.push(fact));
    const wave = [];
    for (let block = 0; block < numBlocks; block++) {
        for (const [when, order] of orders) {
            if (when !== block) continue;
            ring.receive({ ...order, samples: 'num' in order ? new Float32Array(order.num).fill(0.5) : undefined });
        }
        const out = new Float32Array(128);
        ring.render(out, block * 128);
        wave.push(...out);
    }
    return { wave, facts };
};
window.resample = (from, to, parts) => {
    const resampler = new SpeechResampler(from, to);
    const out = parts.map((part) => Array.from(resampler.push(Float32Array.from(part))));
    return [...out.flat(), ...resampler.flush()];
};
window.sine = (hz, rate, length) => Array.from({ length }, (_, i) => Math.sin((2 * Math.PI * hz * i) / rate));
"""
FADE = 72  # 3 ms
STOP_FADE = 240  # 10 ms


@pytest.fixture
def lab(desktop_page: Page) -> Page:
    for name in ("player_ring.js", "player_resampler.js"):
        desktop_page.add_script_tag(content=(JS / name).read_text(encoding="utf-8"))
    desktop_page.add_script_tag(content=DRIVER)
    return desktop_page


def begin(generation: int) -> dict:
    return {"type": "begin", "generation": generation}


def push(generation: int, num_samples: int, after_gap: bool = False, hold_s: float = 0.0) -> dict:
    return {"type": "push", "generation": generation, "num": num_samples, "afterGap": after_gap, "holdS": hold_s}


def end(generation: int) -> dict:
    return {"type": "end", "generation": generation}


def stop(generation: int) -> dict:
    return {"type": "stop", "generation": generation}


def drive(lab: Page, orders: list, num_blocks: int = 40) -> tuple[list[float], list[dict]]:
    result = lab.evaluate("([orders, blocks]) => drive(orders, blocks)", [orders, num_blocks])
    return result["wave"], result["facts"]


def kinds(facts: list[dict]) -> list[str]:
    return [fact["type"] + (f":{fact['how']}" if "how" in fact else "") for fact in facts if fact["type"] != "progress"]


def assert_smooth(wave: list[float]) -> None:
    step = max(abs(b - a) for a, b in zip(wave, wave[1:], strict=False))
    assert step <= 0.5 / FADE + 1e-6, f"a step of {step}"


def test_speech_fades_in_plays_whole_and_fades_out(lab: Page) -> None:
    wave, facts = drive(lab, [(0, begin(1)), (0, push(1, 1000)), (0, end(1))])
    assert kinds(facts) == ["first", "final:ended"]
    assert facts[-1]["rendered"] == 1000
    assert_smooth(wave)
    assert min(wave[FADE : 1000 - FADE]) == max(wave) == 0.5
    assert not any(wave[1000:])


def test_a_stop_leaves_no_more_than_ten_milliseconds(lab: Page) -> None:
    wave, facts = drive(lab, [(0, begin(1)), (0, push(1, 9000)), (5, stop(1)), (6, push(1, 9000)), (7, end(1))])
    assert kinds(facts) == ["first", "final:stopped"]
    assert_smooth(wave)
    assert wave[5 * 128 - 1] == 0.5 and not any(wave[5 * 128 + STOP_FADE :])


@pytest.mark.parametrize("order", ["stop", "hold"])
@pytest.mark.parametrize("num_left", [1, 40, 71, 72, 73, 100, 239, 240, 241])
def test_a_fade_that_finds_less_queued_than_it_takes_ends_with_the_last_sample(
    lab: Page, order: str, num_left: int
) -> None:
    silence = stop(1) if order == "stop" else hold(1)
    wave, _ = drive(lab, [(0, begin(1)), (0, push(1, 5 * 128 + num_left)), (5, silence)])
    assert_smooth(wave)
    assert not any(wave[5 * 128 + num_left :])


def test_a_stop_before_the_first_sound_leaves_silence(lab: Page) -> None:
    wave, facts = drive(lab, [(0, begin(1)), (1, stop(1)), (2, push(1, 500)), (3, begin(1)), (3, push(1, 500))])
    assert kinds(facts) == ["final:stopped"]
    assert not any(wave)


def test_the_next_reply_starts_when_the_fade_of_the_last_is_over(lab: Page) -> None:
    orders = [(0, begin(1)), (0, push(1, 9000)), (4, begin(2)), (4, push(2, 700)), (5, push(1, 700)), (6, end(2))]
    wave, facts = drive(lab, orders)
    assert kinds(facts) == ["first", "final:replaced", "first", "final:ended"]
    assert [fact["generation"] for fact in facts if fact["type"] == "final"] == [1, 2]
    assert facts[-1]["rendered"] == 700
    assert_smooth(wave)
    assert wave[-1] == 0.0


def test_a_reply_that_never_sounded_before_it_was_replaced_is_reported(lab: Page) -> None:
    orders = [(0, begin(1)), (0, push(1, 9000)), (4, begin(2)), (4, begin(3)), (4, push(3, 700)), (4, end(3))]
    _, facts = drive(lab, orders)
    assert [(f["generation"], f["how"]) for f in facts if f["type"] == "final"] == [
        (2, "replaced"),
        (1, "replaced"),
        (3, "ended"),
    ]


def test_older_and_unknown_generations_are_never_heard(lab: Page) -> None:
    orders = [(0, begin(5)), (0, push(4, 500)), (0, push(6, 500)), (1, begin(4)), (1, push(4, 500)), (2, end(4))]
    wave, facts = drive(lab, orders)
    assert facts == [] and not any(wave)


def test_running_dry_is_an_underrun_only_if_sound_follows(lab: Page) -> None:
    orders = [(0, begin(1)), (0, push(1, 500)), (10, push(1, 500)), (20, end(1))]
    wave, facts = drive(lab, orders)
    assert kinds(facts) == ["first", "dry", "resumed", "dry", "final:ended"]
    assert (facts[-1]["underruns"], facts[-1]["rendered"]) == (1, 1000)
    assert_smooth(wave)


def test_the_first_sound_waits_for_the_hold(lab: Page) -> None:
    orders = [(2, begin(1)), (3, push(1, 500, hold_s=0.05)), (5, push(1, 500)), (14, end(1))]
    wave, facts = drive(lab, orders)
    start = next(i for i, sample in enumerate(wave) if sample)
    assert start == 3 * 128 + 1200
    assert (facts[-1]["how"], facts[-1]["rendered"], facts[-1]["underruns"]) == ("ended", 1000, 0)


def test_a_hold_is_over_when_all_has_come(lab: Page) -> None:
    wave, facts = drive(lab, [(0, begin(1)), (1, push(1, 500, hold_s=0.1)), (5, end(1))])
    start = next(i for i, sample in enumerate(wave) if sample)
    assert start == 5 * 128 and facts[-1]["rendered"] == 500


def test_a_hole_in_the_speech_is_faded_over(lab: Page) -> None:
    wave, facts = drive(lab, [(0, begin(1)), (0, push(1, 1000)), (0, push(1, 1000, after_gap=True)), (0, end(1))])
    assert facts[-1]["rendered"] == 2000
    assert_smooth(wave)
    assert wave[1000] == 0.0


@pytest.mark.parametrize("num_samples", [0, 1, 71, 72, 73, 144])
def test_speech_shorter_than_its_fades_ends_quietly(lab: Page, num_samples: int) -> None:
    wave, facts = drive(lab, [(0, begin(1)), (0, push(1, num_samples)), (0, end(1))])
    assert kinds(facts)[-1] == "final:ended" and facts[-1]["rendered"] == num_samples
    assert_smooth(wave)


@pytest.mark.parametrize(("source", "target"), [(24_000, 48_000), (24_000, 44_100), (24_000, 16_000)])
def test_resampling_in_parts_equals_resampling_whole_and_keeps_a_tone(lab: Page, source: int, target: int) -> None:
    tone_hz, length = 3_000, 2_400
    whole, parts, wanted = lab.evaluate(
        """([from, to, hz, length]) => {
            const wave = sine(hz, from, length);
            const cuts = [0, 1, 8, 500, 501, 1999, length];
            const parts = cuts.slice(1).map((cut, i) => wave.slice(cuts[i], cut));
            const whole = resample(from, to, [wave]);
            return [whole, resample(from, to, parts), sine(hz, to, whole.length)];
        }""",
        [source, target, tone_hz, length],
    )
    assert whole == parts
    assert len(whole) == -(-length * target // source)
    middle = slice(200, len(whole) - 200)
    worst = max(abs(a - b) for a, b in zip(whole[middle], wanted[middle], strict=True))
    assert worst < 2e-3, worst


def hold(generation: int, on: bool = True) -> dict:
    return {"type": "hold", "generation": generation, "on": on}


def test_a_held_reply_falls_silent_keeps_its_place_and_goes_on_without_a_step(lab: Page) -> None:
    orders = [[0, begin(1)], [0, push(1, 4000)], [0, end(1)], [5, hold(1)], [20, hold(1, False)]]
    made = lab.evaluate("orders => drive(orders, 80)", orders)
    wave, facts = made["wave"], made["facts"]
    start = 5 * 128
    assert all(sample == 0 for sample in wave[start + STOP_FADE + 1 : 20 * 128])
    assert max(abs(b - a) for a, b in zip(wave, wave[1:])) <= 0.5 / FADE + 1e-6
    (held,) = [fact for fact in facts if fact["type"] == "held"]
    assert start + STOP_FADE - 1 <= held["rendered"] <= start + STOP_FADE + 1
    assert facts[-1]["type"] == "final" and facts[-1]["how"] == "ended" and facts[-1]["rendered"] == 4000
    assert facts[-1]["underruns"] == 0


def test_a_reply_that_is_held_before_its_first_sound_tells_so_at_once_and_a_stop_ends_it(lab: Page) -> None:
    orders = [[0, begin(1)], [1, hold(1)], [3, push(1, 2000)], [9, stop(1)]]
    made = lab.evaluate("orders => drive(orders, 20)", orders)
    assert not any(made["wave"])
    assert [(fact["type"], fact["rendered"]) for fact in made["facts"]] == [("held", 0), ("final", 0)]
