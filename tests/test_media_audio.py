"""Sound files of every kind become mono float32 at the checkpoint's rate."""

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.errors import BadInput
from app.media.decode import MediaLimits, decode_turn, probe
from app.types.media import Audio, MediaRules, VisionRules
from app.types.turn import AudioPart, FileInput, TurnInput
from tests.make_media import make_image, make_sound, make_video, make_wav, tone

RATE = 16_000
VISION = VisionRules(14, 2, 2, 56 * 56, 28 * 28 * 1280, 128 * 28 * 28, 768 * 28 * 28, 2.0, 4, 768)
RULES = MediaRules(RATE, VISION)
LIMITS = MediaLimits()


def hear(path: Path, limits: MediaLimits = LIMITS, kind: str | None = None) -> Audio:
    (part,) = decode_turn(TurnInput((FileInput(path, kind),)), RULES, limits)
    assert isinstance(part, AudioPart), part
    return part.audio


def loudest_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * RATE / len(samples))


def level_db(samples: np.ndarray) -> float:
    """Against a sine of gain 0.5; the ends, where a filter starts and stops, are left out."""
    middle = samples[RATE // 10 : -RATE // 10]
    return float(20 * np.log10(max(np.sqrt(np.mean(middle**2)) / np.sqrt(0.125), 1e-12)))


def worst_error(samples: np.ndarray, frequency: float) -> float:
    expected = tone(len(samples) / RATE, RATE, frequency=frequency)[:, 0]
    return float(np.abs(samples - expected)[RATE // 10 : -RATE // 10].max())


PLAIN = [
    (8_000, 1, "PCM_16", "wav"),
    (16_000, 1, "PCM_16", "wav"),
    (44_100, 2, "PCM_16", "wav"),
    (48_000, 2, "PCM_24", "wav"),
    (96_000, 1, "PCM_32", "wav"),
    (22_050, 1, "PCM_U8", "wav"),
    (44_100, 6, "FLOAT", "wav"),
    (11_025, 1, "DOUBLE", "wav"),
    (44_105, 1, "FLOAT", "wav"),
    (8_000, 1, "ULAW", "wav"),
    (44_100, 2, "PCM_24", "flac"),
    (48_000, 2, "PCM_16", "aiff"),
    (8_000, 1, "PCM_16", "au"),
]


@pytest.mark.parametrize(("rate", "channels", "subtype", "ending"), PLAIN)
def test_uncompressed_sound_keeps_its_length_and_its_wave(tmp_path, rate, channels, subtype, ending):
    audio = hear(make_wav(tmp_path / f"a.{ending}", 1.2, rate, channels, subtype, frequency=500))
    assert audio.sample_rate == RATE and audio.samples.dtype == np.float32
    assert len(audio.samples) == round(1.2 * rate) / rate * RATE
    tolerance = 0.02 if subtype in ("PCM_U8", "ULAW") else 1e-4
    assert worst_error(audio.samples, 500) < tolerance


COMPRESSED = [
    ("a.mp3", lambda path: make_wav(path, 2, 44_100, 2, "MPEG_LAYER_III")),
    ("a.ogg", lambda path: make_wav(path, 2, 44_100, 1, "VORBIS")),
    ("opus.ogg", lambda path: make_sound(path, 2)),
    ("browser.webm", lambda path: make_sound(path, 2)),
    ("stereo.webm", lambda path: make_sound(path, 2, channels=2)),
    ("streamed.webm", lambda path: make_sound(path, 2, container="webm")),
    ("a.m4a", lambda path: make_sound(path, 2, 44_100, codec="aac", container="mp4")),
    ("a.aac", lambda path: make_sound(path, 2, 48_000, codec="aac")),
    ("adpcm.wav", lambda path: make_wav(path, 2, 22_050, 1, "IMA_ADPCM")),
]


@pytest.mark.parametrize(("name", "make"), COMPRESSED, ids=[name for name, _ in COMPRESSED])
def test_compressed_sound_keeps_its_length_and_its_tone(tmp_path, name, make):
    audio = hear(make(tmp_path / name))
    assert abs(audio.duration_s - 2) < 0.08, audio.duration_s
    assert abs(loudest_hz(audio.samples) - 440) < 2
    assert abs(level_db(audio.samples)) < 1


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
@pytest.mark.parametrize("frequency", [8_500, 10_000])
def test_what_the_rate_cannot_hold_is_gone_and_not_folded_back(tmp_path, rate, frequency):
    audio = hear(make_wav(tmp_path / "a.wav", 1, rate, subtype="FLOAT", frequency=frequency))
    assert level_db(audio.samples) < -90


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_what_the_rate_can_hold_is_kept_up_to_7_khz(tmp_path, rate):
    audio = hear(make_wav(tmp_path / "a.wav", 1, rate, subtype="FLOAT", frequency=7_000))
    assert abs(level_db(audio.samples)) < 0.1


def test_sound_of_the_right_rate_passes_unchanged(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, RATE).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    np.testing.assert_array_equal(hear(tmp_path / "a.wav").samples, samples)


def test_stereo_becomes_the_mean_of_both_sides(tmp_path):
    left = tone(1, RATE)[:, 0]
    soundfile.write(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(hear(tmp_path / "a.wav").samples, left / 2, atol=1e-6)


def test_silence_is_sound(tmp_path):
    audio = hear(make_wav(tmp_path / "a.wav", 1, 44_100, frequency=0))
    assert len(audio.samples) == RATE and not audio.samples.any()


def test_what_is_no_number_is_silent_and_what_is_too_loud_is_cut(tmp_path):
    samples = np.full(RATE, 0.25, np.float32)
    samples[:4] = np.nan, np.inf, -np.inf, 1e30
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    heard = hear(tmp_path / "a.wav").samples
    assert heard[:5].tolist() == [0, 0, 0, 1, 0.25]


@pytest.mark.parametrize("num_samples", [0, 1, 1_599])
def test_less_than_a_tenth_of_a_second_is_refused(tmp_path, num_samples):
    soundfile.write(tmp_path / "blip.wav", np.zeros(num_samples, np.float32), RATE)
    with pytest.raises(BadInput, match=r'^"blip.wav" (lasts less than 0.1 s|holds no sound).*'):
        hear(tmp_path / "blip.wav")


def test_a_tenth_of_a_second_is_enough(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(4_410, np.float32), 44_100)
    assert len(hear(tmp_path / "a.wav").samples) == 1_600


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.webm"])
def test_sound_beyond_the_limit_is_refused_with_the_numbers(tmp_path, name):
    make = make_sound if name.endswith("webm") else make_wav
    subtype = {} if name.endswith("webm") else {"subtype": "MPEG_LAYER_III" if name.endswith("mp3") else "PCM_16"}
    path = make(tmp_path / name, 5.0, 48_000, **subtype)
    with pytest.raises(BadInput, match=rf'^"{name}" lasts 5 s and at most 3 s can be sent; cut it first\.$'):
        hear(path, replace(LIMITS, max_audio_s=3))
    assert abs(hear(path, replace(LIMITS, max_audio_s=5)).duration_s - 5) < 0.1


def test_ten_hours_are_refused_without_decoding_them(tmp_path):
    # A FLAC of silence is tiny; only what the limit allows is ever decoded.
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 1_000, 1, "PCM_16") as file:
        hour = np.zeros(1_000 * 3_600, np.int16)
        for _ in range(10):
            file.write(hour)
    with pytest.raises(BadInput, match="lasts 36000 s and at most 300 s"):
        hear(tmp_path / "long.flac")


@pytest.mark.parametrize("claim_s", [1, 36_000])
def test_a_wrong_length_in_the_header_is_not_believed(tmp_path, claim_s):
    path = make_wav(tmp_path / "a.wav", 2)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    num_bytes = claim_s * RATE * 2
    data[at : at + 4] = num_bytes.to_bytes(4, "little")
    path.write_bytes(data)
    # A shorter claim ends the sound there; a longer one cannot make more of it.
    assert abs(hear(path).duration_s - min(claim_s, 2)) < 0.01


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.webm", "a.m4a"])
def test_of_a_file_that_breaks_off_the_beginning_is_heard(tmp_path, name):
    if name.endswith(("webm", "m4a")):
        codec, options = ("libopus", "webm") if name.endswith("webm") else ("aac", "ipod")
        path = make_sound(tmp_path / name, 4, 48_000, codec=codec, container=options)
    else:
        path = make_wav(tmp_path / name, 4, 48_000, subtype="MPEG_LAYER_III" if name.endswith("mp3") else "PCM_16")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    if name.endswith("m4a"):  # its index stands at the end
        with pytest.raises(BadInput, match="damaged"):
            hear(path)
    else:
        assert 1 < hear(path).duration_s < 3


def test_the_sound_of_a_video_can_be_sent_alone(tmp_path):
    audio = hear(make_video(tmp_path / "a.mp4", 1, with_sound=True), kind="audio")
    assert abs(loudest_hz(audio.samples) - 440) < 2


def test_a_video_without_sound_cannot_be_sent_as_sound(tmp_path):
    with pytest.raises(BadInput, match="holds no sound"):
        hear(make_video(tmp_path / "a.mp4", 1), kind="audio")


def test_a_song_with_a_cover_is_sound(tmp_path):
    cover = make_image(tmp_path / "cover.jpg").read_bytes()
    picture = b"\0image/jpeg\0\x03\0" + cover
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    size = len(frame)
    tag = b"ID3\x03\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + frame
    path = make_wav(tmp_path / "song.mp3", 2, 44_100, 2, "MPEG_LAYER_III")
    path.write_bytes(tag + path.read_bytes())
    assert probe(path).kind == "audio"
    assert abs(hear(path).duration_s - 2) < 0.1


def test_several_sounds_share_the_limit(tmp_path):
    files = tuple(FileInput(make_wav(tmp_path / f"{name}.wav", 3)) for name in "ab")
    with pytest.raises(BadInput, match="^The sounds last 6 s together and at most 4 s"):
        decode_turn(TurnInput(files), RULES, replace(LIMITS, max_audio_s=4))


def test_probing_tells_kind_and_length(tmp_path):
    make_wav(tmp_path / "a.wav", 1.5, 44_100)
    info = probe(tmp_path / "a.wav")
    assert (info.kind, info.has_sound, info.width) == ("audio", True, None) and info.duration_s == 1.5
    assert abs(probe(make_sound(tmp_path / "a.webm", 1.5)).duration_s - 1.5) < 0.02


def test_a_wav_that_only_ffmpeg_reads_is_heard(tmp_path):
    path = make_sound(tmp_path / "a.wav", 1, 44_100, codec="mp2", container="wav")
    assert abs(loudest_hz(hear(path).samples) - 440) < 2


def test_a_wav_of_the_standard_library_is_heard(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
        file.writeframes(b"\0\x10" * 8_000)
    assert len(hear(tmp_path / "a.wav").samples) == RATE
