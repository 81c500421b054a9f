"""Pictures become upright RGB pixels of exactly the size that the published reader gives them."""

import struct
import zlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from qwen_omni_utils import fetch_image

from app.errors import BadInput
from app.media.decode import MediaLimits, decode_turn, probe
from app.media.image import decode_jpeg, fit_image
from app.types.media import MediaRules, VisionRules
from app.types.turn import FileInput, ImagePart, TurnInput
from tests.make_media import make_image

VISION = VisionRules(14, 2, 2, 56 * 56, 28 * 28 * 1280, 128 * 28 * 28, 768 * 28 * 28, 2.0, 4, 768)
RULES = MediaRules(16_000, VISION)
LIMITS = MediaLimits()


def see(path: Path, vision: VisionRules = VISION, limits: MediaLimits = LIMITS) -> np.ndarray:
    (part,) = decode_turn(TurnInput((FileInput(path),)), replace(RULES, vision=vision), limits)
    assert isinstance(part, ImagePart), part
    return part.image.pixels


def noise(width: int, height: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


SIZES = [(1, 1), (5, 3), (28, 28), (56, 84), (100, 70), (640, 480), (333, 777), (1920, 1080), (3000, 20), (20_000, 120)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_size_and_pixels_equal_the_published_readers(tmp_path, width, height):
    PIL.Image.fromarray(noise(width, height)).save(tmp_path / "a.png", compress_level=1)
    pixels = see(tmp_path / "a.png")
    limits = {"min_pixels": VISION.image_min_pixels, "max_pixels": VISION.image_max_pixels}
    expected = np.asarray(fetch_image({"image": str(tmp_path / "a.png"), **limits}))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "bmp", "avif"])
def test_every_format_shows_its_colour(tmp_path, ending):
    pixels = see(make_image(tmp_path / f"a.{ending}", 64, 48, (200, 30, 60)))
    assert pixels.shape == (56, 56, 3)
    assert np.abs(pixels.astype(int) - (200, 30, 60)).max() <= 4


def modes() -> dict[str, tuple[PIL.Image.Image, tuple[int, int, int]]]:
    """Pictures of every mode and the colour that must be seen."""
    grey16 = PIL.Image.fromarray(np.full((40, 40), 0x8000, np.uint16))
    palette = PIL.Image.new("RGB", (40, 40), (10, 200, 90)).quantize(4)
    see_through_palette = PIL.Image.new("P", (40, 40), 0)
    see_through_palette.putpalette([255, 0, 0])
    see_through_palette.info["transparency"] = 0
    return {
        "1": (PIL.Image.new("1", (40, 40), 1), (255, 255, 255)),
        "L": (PIL.Image.new("L", (40, 40), 77), (77, 77, 77)),
        "LA": (PIL.Image.new("LA", (40, 40), (0, 0)), (255, 255, 255)),
        "I;16": (grey16, (128, 128, 128)),
        "P": (palette, (10, 200, 90)),
        "P, transparent": (see_through_palette, (255, 255, 255)),
        "RGBA, transparent": (PIL.Image.new("RGBA", (40, 40), (255, 0, 0, 0)), (255, 255, 255)),
        "RGBA, half": (PIL.Image.new("RGBA", (40, 40), (0, 0, 0, 128)), (127, 127, 127)),
        "RGBA, opaque": (PIL.Image.new("RGBA", (40, 40), (9, 8, 7, 255)), (9, 8, 7)),
    }


@pytest.mark.parametrize("mode", list(modes()))
def test_every_mode_shows_its_colour_over_white(tmp_path, mode):
    image, colour = modes()[mode]
    image.save(tmp_path / "a.png")
    assert np.abs(see(tmp_path / "a.png").astype(int) - colour).max() <= 1


def test_a_cmyk_jpeg_shows_its_colour(tmp_path):
    PIL.Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = see(tmp_path / "a.jpg")[28, 28]
    assert red > 200 and green < 60 and blue < 60


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_seen_upright(tmp_path, orientation):
    upright = np.zeros((56, 84, 3), np.uint8)
    upright[:28, :28] = 255
    image = PIL.Image.fromarray(upright)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that undoes each orientation
    if orientation in back:
        image = image.transpose(PIL.Image.Transpose(back[orientation]))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(see(tmp_path / "a.png"), upright)
    info = probe(tmp_path / "a.png")
    assert (info.kind, info.width, info.height) == ("image", 84, 56)


def test_broken_camera_data_does_not_spoil_a_good_picture(tmp_path):
    PIL.Image.fromarray(noise(56, 56)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert see(tmp_path / "a.jpg").shape == (56, 56, 3)


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_of_a_moving_picture_the_first_frame_is_seen(tmp_path, ending):
    frames = [PIL.Image.new("RGB", (56, 56), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:], duration=100)
    red, green, _ = see(tmp_path / f"a.{ending}")[28, 28]
    assert red > 200 and green < 50


@pytest.mark.parametrize(("width", "height"), [(201, 1), (1, 201), (2_010, 10)])
def test_a_mere_line_is_refused(tmp_path, width, height):
    with pytest.raises(BadInput, match=rf'^"line.png" has {width} x {height} pixels, too long and narrow'):
        see(make_image(tmp_path / "line.png", width, height))


def test_a_strip_that_small_limits_would_make_vanish_is_refused(tmp_path):
    small = replace(VISION, image_max_pixels=28 * 28 * 16)
    with pytest.raises(BadInput, match="too long and narrow"):
        see(make_image(tmp_path / "strip.png", 1_900, 10), small)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp"])
def test_pixels_beyond_the_limit_are_refused_from_the_header(tmp_path, ending):
    path = make_image(tmp_path / f"a.{ending}", 200, 100)
    # Only the header is left, so decoding would fail with another sentence.
    path.write_bytes(path.read_bytes()[:1_000])
    with pytest.raises(BadInput, match=r"has 200 x 100 pixels and at most 0.01 million can be sent"):
        see(path, limits=replace(LIMITS, max_pixels=10_000))


def test_a_decompression_bomb_is_refused_unread(tmp_path, recwarn, capfd):
    data = make_image(tmp_path / "bomb.png").read_bytes()
    header = b"IHDR" + struct.pack(">II", 20_000, 20_000) + data[24:29]
    (tmp_path / "bomb.png").write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
    with pytest.raises(BadInput, match=r'^"bomb.png" has 20000 x 20000 pixels and at most 50 million'):
        see(tmp_path / "bomb.png")
    assert not list(recwarn) and capfd.readouterr() == ("", "")


def test_20_000_pixels_wide_is_seen_when_it_is_not_too_many_pixels(tmp_path):
    PIL.Image.new("L", (20_000, 2_000), 90).save(tmp_path / "wide.png", compress_level=1)
    pixels = see(tmp_path / "wide.png")
    height, width, _ = pixels.shape
    assert height * width <= VISION.image_max_pixels and 9 < width / height < 11


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "bmp"])
def test_a_picture_that_breaks_off_is_refused(tmp_path, ending, share):
    path = tmp_path / f"a.{ending}"
    PIL.Image.fromarray(noise(200, 150)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadInput, match=rf'^"a.{ending}" is a damaged picture; save it again and upload that\.$'):
        see(path)


def jpeg(width: int = 64, height: int = 48) -> bytes:
    buffer = BytesIO()
    PIL.Image.new("RGB", (width, height), (200, 40, 90)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_a_webcam_frame_is_rgb():
    pixels = decode_jpeg(jpeg())
    assert pixels.shape == (48, 64, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - (200, 40, 90)).max() <= 4
    assert fit_image(pixels, VISION).pixels.shape == (56, 56, 3)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"hello", jpeg()[:-300], jpeg()[:100]], ids=range(5))
def test_a_damaged_webcam_frame_is_refused(data, capfd):
    with pytest.raises(BadInput, match="^A webcam frame is damaged; start the webcam again.$"):
        decode_jpeg(data)
    assert capfd.readouterr() == ("", "")


def test_a_webcam_frame_of_too_many_pixels_is_refused():
    with pytest.raises(BadInput, match="640 x 480"):
        decode_jpeg(jpeg(640, 480), max_pixels=640 * 479)
