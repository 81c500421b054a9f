"""Videos become the frames that the published rules pick, upright and resized, and their sound track."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from qwen_omni_utils.v2_5.vision_process import smart_nframes, smart_resize
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize

from app.errors import BadInput
from app.media.decode import MediaLimits, decode_turn, probe
from app.media.video import Timeline, pick_frames
from app.types.media import MediaRules, Video, VisionRules
from app.types.turn import FileInput, TurnInput, VideoPart
from tests.make_media import make_sound, make_video, number_of, rotate_mp4

RATE = 16_000
# Small frames keep the tests fast; the rules are those of the published checkpoint.
VISION = VisionRules(14, 2, 2, 56 * 56, 28 * 28 * 1280, 4 * 28 * 28, 768 * 28 * 28, 2.0, 4, 768)
RULES = MediaRules(RATE, VISION)
LIMITS = MediaLimits()
WEBM = {"video_codec": "libvpx", "audio_codec": "libopus"}


def watch(
    path: Path, limits: MediaLimits = LIMITS, use_video_sound: bool = True, vision: VisionRules = VISION
) -> Video:
    turn = TurnInput((FileInput(path),), use_video_sound)
    (part,) = decode_turn(turn, replace(RULES, vision=vision), limits)
    assert isinstance(part, VideoPart), part
    return part.video


def seen(video: Video) -> list[int]:
    """Which frames of `make_video` these are."""
    return [number_of(frame) for frame in video.frames]


def loudest_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * RATE / len(samples))


def published_picks(num_frames: int, fps: float) -> tuple[list[int], float]:
    """As the published readers do it once they know the number of frames and the rate."""
    count = smart_nframes({"fps": 2.0, "min_frames": 4, "max_frames": 768}, num_frames, fps)
    return torch.linspace(0, num_frames - 1, count).round().long().tolist(), count / num_frames * fps


@pytest.mark.parametrize(
    ("seconds", "fps"), [(2, 10), (3, 25), (3.2, 30), (1, 10), (0.5, 10), (4, 1), (0.3, 10), (0.2, 10), (5, 8)]
)
def test_frames_and_rate_are_those_of_the_published_reader(tmp_path, seconds, fps):
    video = watch(make_video(tmp_path / "a.mp4", seconds, fps))
    indices, sample_fps = published_picks(round(seconds * fps), fps)
    assert seen(video) == indices
    assert video.fps == pytest.approx(sample_fps)
    assert video.frames.dtype == np.uint8 and len(video.frames) % VISION.temporal_patch_size == 0


@pytest.mark.parametrize("num_frames", [2, 5, 7, 75, 299, 1_000, 3_333])
@pytest.mark.parametrize("fps", [5.0, 24.0, 25.0, 30_000 / 1_001, 60.0])
def test_picks_are_those_of_the_published_reader_for_any_length(num_frames, fps):
    timeline = Timeline(tuple(index / fps for index in range(num_frames)), fps, num_frames / fps, 0.0)
    picks = pick_frames(timeline, VISION)
    indices, sample_fps = published_picks(num_frames, fps)
    assert list(picks.indices) == indices and picks.fps == pytest.approx(sample_fps)


def test_pixels_are_those_of_the_published_resize(tmp_path):
    path = make_video(tmp_path / "a.mp4", 1, 4, 320, 240, video_codec="mpeg4")
    with av.open(str(path)) as container:
        original = torch.stack(
            [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        ).permute(0, 3, 1, 2)
    size = smart_resize(240, 320, 28, VISION.video_min_pixels, VISION.video_max_pixels)
    expected = resize(original, list(size), InterpolationMode.BICUBIC, antialias=True).permute(0, 2, 3, 1)
    frames = watch(path).frames
    assert frames.shape == expected.shape
    assert np.abs(frames.astype(int) - expected.numpy().astype(int)).max() <= 1


FORMATS = [
    ("a.mp4", {}),
    ("index_first.mp4", {"options": {"movflags": "faststart"}}),
    ("fragments.mp4", {"options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}}),
    ("a.mov", {}),
    ("a.mkv", {}),
    ("a.webm", WEBM),
    ("recorded.webm", {**WEBM, "options": {"live": "1"}}),
    ("a.avi", {"video_codec": "mpeg4", "audio_codec": "mp2"}),
    ("a.ts", {"container": "mpegts", "audio_codec": "mp2"}),
]


@pytest.mark.parametrize(("name", "how"), FORMATS, ids=[name for name, _ in FORMATS])
def test_every_format_gives_its_frames_and_its_sound(tmp_path, name, how):
    video = watch(make_video(tmp_path / name, 3, 10, with_sound=True, **how))
    assert seen(video) == [0, 6, 12, 17, 23, 29]
    assert video.fps == pytest.approx(2, rel=0.05)
    assert video.audio is not None and video.audio.sample_rate == RATE
    assert abs(video.audio.duration_s - 3) < 0.1 and abs(loudest_hz(video.audio.samples) - 440) < 2


def test_a_recording_of_a_browser_has_no_length_in_its_header(tmp_path):
    path = make_video(tmp_path / "a.webm", 2, with_sound=True, **WEBM, options={"live": "1"})
    with av.open(str(path)) as container:
        assert container.duration is None
    info = probe(path)
    assert info.duration_s == pytest.approx(2, abs=0.05) and info.num_frames == 20


def test_a_camera_that_slows_down_is_sampled_evenly_in_time(tmp_path):
    # 20 frames in the first second, then one each second.
    times = [index / 20 for index in range(20)] + [1.0, 2.0, 3.0, 4.0]
    video = watch(make_video(tmp_path / "a.webm", frame_times=times, **WEBM))
    assert seen(video)[0] == 0 and seen(video)[-1] == 23
    moments = [times[index] for index in seen(video)]
    gaps = np.diff(moments)
    assert gaps.max() <= 1.0 and np.median(gaps) >= 0.5, moments
    assert len(video.frames) / video.fps == pytest.approx(4, abs=0.5)


def test_a_single_frame_fills_the_temporal_patch(tmp_path):
    video = watch(make_video(tmp_path / "a.mp4", 0.1, 10))
    assert seen(video) == [0, 0] and video.fps == VISION.fps


@pytest.mark.parametrize("patch", [3, 4])
def test_the_last_frame_fills_a_longer_temporal_patch(tmp_path, patch):
    video = watch(make_video(tmp_path / "a.mp4", 1, 10), vision=replace(VISION, temporal_patch_size=patch))
    assert len(video.frames) % patch == 0 and seen(video)[:4] == [0, 3, 6, 9] and set(seen(video)[4:]) <= {9}


def test_no_sound_track_is_no_sound(tmp_path):
    path = make_video(tmp_path / "a.mp4")
    assert watch(path).audio is None and not probe(path).has_sound


def test_sound_that_is_not_to_be_used_is_not_read(tmp_path):
    path = make_video(tmp_path / "a.mp4", with_sound=True)
    assert watch(path, use_video_sound=False).audio is None and probe(path).has_sound


def test_a_sound_track_of_less_than_a_tenth_of_a_second_is_none(tmp_path):
    path = make_video(tmp_path / "a.mkv", 1, with_sound=True, sound_seconds=0.05, audio_codec="pcm_s16le")
    assert watch(path).audio is None


def test_a_silent_sound_track_is_heard(tmp_path):
    audio = watch(make_video(tmp_path / "a.mp4", 1, with_sound=True, frequency=0)).audio
    assert audio is not None and not audio.samples.any()


def test_sound_that_starts_later_than_the_picture_stays_in_its_place(tmp_path):
    path = make_video(
        tmp_path / "a.mkv", 2, with_sound=True, sound_seconds=1, sound_start_s=1.0, audio_codec="pcm_s16le"
    )
    samples = watch(path).audio.samples
    assert len(samples) == pytest.approx(2 * RATE, abs=50)
    assert not samples[: RATE - 100].any() and np.abs(samples[RATE + 100 :]).max() > 0.4


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turned_phone_is_seen_upright(tmp_path, degrees):
    # The picture is white in its upper left quarter when it is held as it was filmed.
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48] = 255
    stored = np.ascontiguousarray(np.rot90(picture, degrees // 90))
    path = make_video(tmp_path / "a.mp4", 1, width=stored.shape[1], height=stored.shape[0], picture=stored)
    path = rotate_mp4(path, degrees)
    frame = watch(path, vision=replace(VISION, video_min_pixels=56 * 84)).frames[0].astype(int)
    height, width, _ = frame.shape
    assert width > height and (probe(path).width, probe(path).height) == (96, 64)
    quarters = [frame[: height // 2, : width // 2], frame[height // 2 :, : width // 2], frame[:, width // 2 :]]
    assert quarters[0].mean() > 200 and quarters[1].mean() < 50 and quarters[2].mean() < 50


def test_many_frames_share_the_pixels_of_one_video(tmp_path):
    path = make_video(tmp_path / "a.mp4", 2, 10, 640, 480)
    few = watch(path)
    # More frames per second, and a budget that is spent by them: as fetch_video computes it.
    wide = replace(VISION, video_max_pixels=10**9)
    assert few.frames.shape[1:3] == smart_resize(480, 640, 28, VISION.video_min_pixels, 768 * 28 * 28)
    assert watch(path, vision=wide).frames.shape == few.frames.shape
    small = replace(VISION, video_max_pixels=28 * 28 * 16)
    assert watch(path, vision=small).frames[0].size <= 3 * 28 * 28 * 16


def test_a_video_beyond_the_limit_is_refused_with_the_numbers(tmp_path):
    path = make_video(tmp_path / "long.mp4", 6, 5)
    with pytest.raises(BadInput, match=r'^"long.mp4" lasts 6 s and at most 4 s can be sent; cut it first\.$'):
        watch(path, replace(LIMITS, max_video_s=4))


def test_a_recording_beyond_the_limit_is_refused_without_a_length_in_its_header(tmp_path):
    path = make_video(tmp_path / "long.webm", 6, 5, **WEBM, options={"live": "1"})
    with pytest.raises(BadInput, match=r'^"long.webm" is too long and at most 4 s can be sent; cut it first\.$'):
        watch(path, replace(LIMITS, max_video_s=4))


def test_a_sound_track_beyond_the_limit_is_refused(tmp_path):
    path = make_video(tmp_path / "a.mp4", 1, with_sound=True, sound_seconds=6)
    with pytest.raises(BadInput, match="lasts 6 s and at most 4 s"):
        watch(path, replace(LIMITS, max_video_s=4))


def test_several_videos_share_the_limit(tmp_path):
    files = tuple(FileInput(make_video(tmp_path / f"{name}.mp4", 3, 5)) for name in "ab")
    with pytest.raises(BadInput, match="^The videos last 6 s together and at most 4 s"):
        decode_turn(TurnInput(files), RULES, replace(LIMITS, max_video_s=4))


def test_frames_of_too_many_pixels_are_refused(tmp_path):
    with pytest.raises(BadInput, match="frames of 640 x 480 pixels and at most 0.3 million"):
        watch(make_video(tmp_path / "a.mp4", 1, 2, 640, 480), replace(LIMITS, max_pixels=300_000))


@pytest.mark.parametrize("claim_s", [1, 100_000])
def test_a_wrong_length_in_the_header_is_not_believed(tmp_path, claim_s):
    path = make_video(tmp_path / "a.mp4", 3, 10)
    data = bytearray(path.read_bytes())
    at = data.index(b"mvhd") + 4 + 12
    scale = int.from_bytes(data[at : at + 4], "big")
    data[at + 4 : at + 8] = (claim_s * scale).to_bytes(4, "big")
    path.write_bytes(data)
    assert seen(watch(path)) == [0, 6, 12, 17, 23, 29]


@pytest.mark.parametrize(
    ("name", "how"), [("a.mp4", {"options": {"movflags": "faststart"}}), ("a.webm", WEBM), ("a.mkv", {})]
)
def test_of_a_video_that_breaks_off_the_beginning_is_seen(tmp_path, name, how):
    path = make_video(tmp_path / name, 4, 10, with_sound=True, **how)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames = seen(watch(path))
    assert frames[0] == 0 and frames == sorted(frames) and frames[-1] < 39


def test_a_video_whose_index_is_cut_off_is_refused(tmp_path):
    path = make_video(tmp_path / "cut.mp4", 2)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadInput, match='^"cut.mp4" cannot be read, it is damaged or of an unknown kind'):
        watch(path)


def test_frames_that_are_broken_are_passed_over(tmp_path):
    path = make_video(tmp_path / "a.mkv", 3, 10, video_codec="mjpeg")
    data = bytearray(path.read_bytes())
    starts = [at for at in range(len(data)) if data[at : at + 3] == b"\xff\xd8\xff"]
    for start, end in zip(starts[10:15], starts[11:16]):
        num_bytes = end - start - 64  # the container's own bytes lie between two pictures
        data[start : start + num_bytes] = bytes(num_bytes)
    path.write_bytes(data)
    frames = seen(watch(path))
    assert len(frames) >= 4 and frames[0] == 0 and frames[-1] == 29 and not {10, 11, 12, 13, 14} & set(frames)


def test_a_video_without_frames_is_refused(tmp_path):
    path = make_video(tmp_path / "none.mp4", 2, 10, with_sound=True)
    data = bytearray(path.read_bytes())
    # The first track's sample table: no samples, no chunks, no times.
    for box in (b"stsz", b"stts", b"stsc", b"stco", b"stss"):
        at = data.index(box) + 4
        at += 8 if box == b"stsz" else 4
        data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(BadInput, match='^"none.mp4" holds no picture that can be decoded'):
        watch(path)
    with pytest.raises(BadInput, match="holds no picture"):
        probe(path)


def test_sound_alone_is_no_video(tmp_path):
    path = make_sound(tmp_path / "a.webm")
    with pytest.raises(BadInput, match='^"a.webm" is a sound and not a video; choose another file.$'):
        decode_turn(TurnInput((FileInput(path, "video"),)), RULES, LIMITS)


def test_probing_tells_kind_length_and_size(tmp_path):
    info = probe(make_video(tmp_path / "a.mp4", 2, 10, with_sound=True))
    assert (info.kind, info.has_sound, info.width, info.height) == ("video", True, 96, 64)
    assert info.duration_s == pytest.approx(2, abs=0.1) and info.fps == 10
