"""What Qwen3-Omni hears and sees live becomes the prompt of the same clip as a file, in blocks of 8 s."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from app.chatml.cursor import Cursor
from app.chatml.live import LIVE_FPS, RISE_DECADES, LivePrompt
from app.types.media import Audio, Video
from app.types.prompt import MelBlock, Prompt, Segment, VisionBlock
from app.types.turn import AudioPart, Part, TextPart, VideoPart
from tests.engine_kit import SYSTEM
from tests.test_chatml_qwen3 import ids_of, positions_of, qwen3, rendered  # noqa: F401
from tests.test_live_prompt import falling, listen

BLOCK_S, BLOCK_TOKENS = 8, 104
# A product of few frames is summed in another order.
TOLERANCE = 1e-6


def assert_equal(tiny, segments: Sequence[Segment], parts: tuple[Part, ...]) -> None:
    live, whole = Prompt(tuple(segments)), rendered(tiny, parts)
    assert ids_of(live).tolist() == ids_of(whole).tolist()
    assert torch.equal(positions_of(live), positions_of(whole))
    for kind, name, axis, tolerance in ((MelBlock, "mel", 1, TOLERANCE), (VisionBlock, "patches", 0, 0.0)):
        ours, theirs = (features_of(prompt, kind) for prompt in (live, whole))
        assert bool(ours) == bool(theirs)
        if ours:
            ours, theirs = (torch.cat([getattr(one, name) for one in some], axis) for some in (ours, theirs))
            assert (ours - theirs).abs().max() <= tolerance, name


def features_of(prompt: Prompt, kind: type) -> list:
    return [feature for one in prompt.segments for feature in one.features if isinstance(feature, kind)]


def clip_of(shown: np.ndarray, fps: float, audio: Audio) -> VideoPart:
    """As a file has it: whole groups of two frames, the last one twice where it must."""
    num_frames = -(-len(shown) // 2) * 2
    return VideoPart(Video(np.stack([shown[min(index, len(shown) - 1)] for index in range(num_frames)]), fps, audio))


def pictures(seconds: float, fps: float, height: int = 64, width: int = 96) -> np.ndarray:
    """A frame for every begun interval."""
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (int(np.ceil(seconds * fps)), height, width, 3), dtype=np.uint8)


# A block is complete 12.5 ms after its last frame began; 8.0005 s is no whole number of frames.
@pytest.mark.parametrize("seconds", [0.3, 7.99, 8.0, 8.0005, 8.0025, 8.01, 8.02, 16.0, 19.377])
def test_sound_that_comes_in_live_gives_the_prompt_of_the_file(qwen3, seconds):  # noqa: F811
    audio = falling(1, seconds)
    segments, num_live, num_taken_back = listen(qwen3, audio, text=" And now?")
    assert_equal(qwen3, segments, (AudioPart(audio), TextPart(" And now?")))
    assert num_taken_back == 0
    # All whole blocks were given out while the person spoke, but for one whose end needs 2.5 ms more.
    assert num_live >= BLOCK_TOKENS * int((seconds - 0.0025) / BLOCK_S)


@pytest.mark.parametrize("num_samples", [1, 160, 200, 201, 319])
def test_the_shortest_sound_gives_the_prompt_of_the_file(qwen3, num_samples):  # noqa: F811
    audio = Audio(falling(2, 1.0).samples[:num_samples], 16_000)
    segments, _, _ = listen(qwen3, audio)
    assert_equal(qwen3, segments, (AudioPart(audio),))


@pytest.mark.parametrize("fps", LIVE_FPS)
@pytest.mark.parametrize("seconds", [0.5, 3.2, 7.999, 8.0, 8.0005, 8.01, 12.3, 16.01, 23.9])
def test_pictures_and_sound_that_come_in_live_give_the_prompt_of_the_clip(qwen3, seconds, fps):  # noqa: F811
    audio, shown = falling(2, seconds), pictures(seconds, fps)
    segments, num_live, num_taken_back = listen(qwen3, audio, shown, fps, " And now?")
    assert_equal(qwen3, segments, (clip_of(shown, fps, audio), TextPart(" And now?")))
    assert num_taken_back == 0
    assert num_live >= BLOCK_TOKENS * int((seconds - 0.0025) / BLOCK_S)


def test_pictures_wider_than_the_sound_is_long_give_the_prompt_of_the_clip(qwen3):  # noqa: F811
    audio, shown = falling(3, 8.2), pictures(8.2, 1.0, 32, 512)
    segments, _, _ = listen(qwen3, audio, shown, 1.0, "so")
    assert_equal(qwen3, segments, (clip_of(shown, 1.0, audio), TextPart("so")))


@pytest.mark.parametrize("fps", LIVE_FPS)
def test_each_piece_that_is_given_out_holds_one_block_and_the_pictures_of_its_seconds(qwen3, fps):  # noqa: F811
    audio, shown = falling(4, 25.0), pictures(25.0, fps)
    segments, _, _ = listen(qwen3, audio, shown, fps)
    ids = qwen3.engine.spec.ids
    for segment in segments[:3]:
        (mel,) = (feature.mel for feature in segment.features if isinstance(feature, MelBlock))
        assert mel.shape[1] == 100 * BLOCK_S
        assert int((segment.token_ids == ids.audio).sum()) == BLOCK_TOKENS
        assert int((segment.token_ids == ids.video).sum()) == BLOCK_S * fps / 2 * 6


def tone(rise_decades: float) -> Audio:
    """21 s of a faint tone whose power rises by so many decades after 17 s: most of its log-mel is cut at the range."""
    samples = 0.01 * np.sin(np.arange(336_000) * 0.4)
    samples[272_000:] *= 10 ** (rise_decades / 2)
    return Audio(samples.astype(np.float32), 16_000)


@pytest.mark.parametrize("fps", [None, 2.0])
def test_when_it_gets_louder_what_was_given_out_comes_again_with_the_new_range(qwen3, fps):  # noqa: F811
    """Then even the features are those of the file, with the pictures among the sound again."""
    audio = tone(RISE_DECADES + 0.3)
    shown = pictures(21, fps) if fps else ()
    segments, _, num_taken_back = listen(qwen3, audio, shown, fps)
    assert num_taken_back == 2
    assert_equal(qwen3, segments, (clip_of(shown, fps, audio) if fps else AudioPart(audio),))


def test_a_smaller_rise_changes_only_what_comes_after_it(qwen3):  # noqa: F811
    audio = tone(RISE_DECADES - 0.3)
    segments, _, num_taken_back = listen(qwen3, audio)
    assert num_taken_back == 0
    ours, theirs = (
        torch.cat([block.mel for block in features_of(prompt, MelBlock)], 1)
        for prompt in (Prompt(tuple(segments)), rendered(qwen3, (AudioPart(audio),)))
    )
    assert (ours - theirs)[:, 1600:].abs().max() <= TOLERANCE
    assert TOLERANCE < (ours - theirs).abs().max() <= RISE_DECADES / 4


def test_all_that_was_given_out_can_be_given_again(qwen3):  # noqa: F811
    """For a message that begins anew, behind an answer that was taken back."""
    live = LivePrompt(qwen3.engine.spec, qwen3.engine.tokenizer, Cursor(), 2.0)
    live.begin(SYSTEM)
    audio, given = falling(5, 17.0), []
    live.see(pictures(1, 1.0)[0], 0.0)
    for start in range(0, len(audio.samples), 40_000):
        given += live.hear(audio.samples[start : start + 40_000]).segments
    assert len(given) == 2 and live.given().segments == tuple(given)
    assert live.num_given == sum(segment.num_tokens for segment in given)


def test_a_camera_that_comes_late_or_stops_shows_its_nearest_picture(qwen3):  # noqa: F811
    audio, shown = falling(6, 9.0), pictures(1, 1.0)
    live = LivePrompt(qwen3.engine.spec, qwen3.engine.tokenizer, Cursor(), 2.0)
    live.begin(SYSTEM)
    live.hear(audio.samples[:16_000])
    live.see(shown[0], 1.0)
    append = live.hear(audio.samples[16_000:])
    _, rest = live.finish()
    assert_equal(qwen3, [*append.segments, *rest.segments], (clip_of(np.repeat(shown, 18, axis=0), 2.0, audio),))
