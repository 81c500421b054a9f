"""A message that comes in while it is spoken becomes the prompt that the same clip would have been as a file."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from app.chatml.cursor import Cursor
from app.chatml.live import RISE_DECADES, LivePrompt
from app.chatml.render import render_turn
from app.types.media import Audio, Video
from app.types.prompt import MelBlock, Segment, VisionBlock
from app.types.turn import AudioPart, Part, TextPart, VideoPart
from tests.engine_kit import SYSTEM, noise_audio

PIECE_S = 0.04


def listen(tiny, audio: Audio, frames: Sequence[np.ndarray] = (), fps: float | None = None, text: str = ""):
    """The segments in the end, what was given out before it, and how often something was taken back."""
    live = LivePrompt(tiny.engine.spec, tiny.engine.tokenizer, Cursor(), fps)
    live.begin(SYSTEM)
    given: list[Segment] = []
    num_taken_back = 0
    size, num_seen = int(PIECE_S * audio.sample_rate), 0
    for start in range(0, len(audio.samples), size):
        while fps and num_seen < len(frames) and num_seen / fps <= start / audio.sample_rate:
            live.see(frames[num_seen], num_seen / fps)
            num_seen += 1
        append = live.hear(audio.samples[start : start + size])
        num_taken_back += append.num_taken_back
        del given[len(given) - append.num_taken_back :]
        given += append.segments
    num_live = sum(segment.num_tokens for segment in given)
    append, rest = live.finish(text)
    del given[len(given) - append.num_taken_back :]
    given += append.segments
    return [*given, *rest.segments], num_live, num_taken_back + append.num_taken_back


def assert_equal(tiny, segments: Sequence[Segment], parts: tuple[Part, ...]) -> None:
    whole = render_turn(tiny.engine.spec, tiny.engine.tokenizer, tiny.engine.new_state(), parts, SYSTEM).segments
    for name, axis in (("token_ids", 0), ("positions", 1)):
        ours, theirs = (torch.cat([getattr(one, name) for one in some], axis) for some in (segments, whole))
        assert torch.equal(ours, theirs), name
    for kind, name, axis in ((MelBlock, "mel", 1), (VisionBlock, "patches", 0)):
        ours, theirs = (
            [getattr(feature, name) for one in some for feature in one.features if isinstance(feature, kind)]
            for some in (segments, whole)
        )
        assert bool(ours) == bool(theirs)
        if ours:
            assert torch.equal(torch.cat(ours, axis), torch.cat(theirs, axis)), name


def falling(seed: int, seconds: float) -> Audio:
    """Noise whose loudest moment is its first."""
    audio = noise_audio(seed, seconds)
    audio.samples[:800] *= 8
    return audio


@pytest.mark.parametrize("seconds", [0.3, 1.99, 2.0, 2.01, 2.02, 4.0, 5.37, 9.9])
def test_sound_that_comes_in_live_gives_the_prompt_of_the_file(tiny, seconds):
    audio = falling(1, seconds)
    segments, num_live, num_taken_back = listen(tiny, audio, text=" And now?")
    assert_equal(tiny, segments, (AudioPart(audio), TextPart(" And now?")))
    assert num_taken_back == 0
    # All whole blocks but the last, whose end needs 12.5 ms more, were given out while the person spoke.
    assert num_live >= 50 * int((seconds - 0.0125) / 2)


@pytest.mark.parametrize("fps", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("seconds", [0.5, 2.0, 3.2, 4.01, 7.9])
def test_pictures_and_sound_that_come_in_live_give_the_prompt_of_the_clip(tiny, seconds, fps):
    audio = falling(2, seconds)
    num_frames = -(-int(np.ceil(seconds * fps)) // 2) * 2
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 256, (num_frames, 84, 112, 3), dtype=np.uint8)
    shown = frames[: int(np.ceil(seconds * fps))]
    segments, num_live, _ = listen(tiny, audio, shown, fps)
    whole = np.stack([shown[min(index, len(shown) - 1)] for index in range(num_frames)])
    assert_equal(tiny, segments, (VideoPart(Video(whole, fps, audio)),))
    assert num_live >= 50 * int((seconds - 0.0125) / 2)


def tone(rise_decades: float) -> Audio:
    """9 s of a faint tone whose power rises by so many decades after 5 s: most of its log-mel is cut at the range."""
    samples = 0.01 * np.sin(np.arange(144_000) * 0.4)
    samples[80_000:] *= 10 ** (rise_decades / 2)
    return Audio(samples.astype(np.float32), 16_000)


def test_when_it_gets_louder_what_was_given_out_comes_again_with_the_new_range(tiny):
    """Then even the features are those of the file; a smaller rise changes only what comes after it."""
    segments, _, num_taken_back = listen(tiny, tone(RISE_DECADES + 0.3))
    assert num_taken_back == 2
    assert_equal(tiny, segments, (AudioPart(tone(RISE_DECADES + 0.3)),))
    audio = tone(RISE_DECADES - 0.3)
    segments, _, num_taken_back = listen(tiny, audio)
    assert num_taken_back == 0
    whole = render_turn(tiny.engine.spec, tiny.engine.tokenizer, tiny.engine.new_state(), (AudioPart(audio),), SYSTEM)
    ours, theirs = (
        torch.cat([feature.mel for one in some for feature in one.features], 1) for some in (segments, whole.segments)
    )
    assert torch.equal(ours[:, 400:], theirs[:, 400:])
    assert not torch.equal(ours, theirs) and (ours - theirs).abs().max() <= RISE_DECADES / 4


def test_a_camera_that_comes_late_or_stops_shows_its_nearest_picture(tiny):
    audio = falling(5, 4.0)
    live = LivePrompt(tiny.engine.spec, tiny.engine.tokenizer, Cursor(), 2.0)
    live.begin(SYSTEM)
    picture = np.full((84, 112, 3), 200, np.uint8)
    live.hear(audio.samples[:16_000])
    live.see(picture, 1.0)
    append = live.hear(audio.samples[16_000:])
    _, rest = live.finish()
    whole = np.stack([picture] * 8)
    assert_equal(tiny, [*append.segments, *rest.segments], (VideoPart(Video(whole, 2.0, audio)),))
