"""Pictures in files and JPEG frames in bytes to RGB pixels of the size that a checkpoint takes; knows no video."""

import struct
import zlib
from io import BytesIO

import cv2
import numpy as np
import PIL.Image
from PIL import ImageOps
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile
from qwen_omni_utils.v2_5.vision_process import MAX_RATIO, smart_resize

from app.errors import BadInput
from app.media.limits import MediaInfo, MediaLimits
from app.media.source import ByteReader, Source
from app.types.media import Image, VisionRules

# What Pillow's decoders raise for broken files (its own Image.open expects the middle four).
_BROKEN = (
    OSError, SyntaxError, IndexError, TypeError, struct.error, ValueError, EOFError, zlib.error, RuntimeError,
)  # fmt: skip
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
# "BM" alone may begin a text.
_BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)
_ORIENTATION_TAG = 0x0112
# The four EXIF orientations that swap width and height.
_SIDEWAYS = (5, 6, 7, 8)


def find_format(head: bytes) -> type[ImageFile] | None:
    """The Pillow reader for these first bytes, or None.

    The readers are used without `PIL.Image.open`: it warns on the console about sizes that are refused here anyway.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile
    if head.startswith(b"\xff\xd8\xff"):
        return JpegImageFile
    if head.startswith((b"GIF87a", b"GIF89a")):
        return GifImageFile
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WebPImageFile
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return BmpImageFile
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return AvifImageFile
    return None


def refuse_heic(source: Source) -> None:
    if source.head[4:8] == b"ftyp" and source.head[8:12] in _HEIC_BRANDS:
        raise BadInput(f"{source.name} is a HEIC photo, which cannot be read here; save it as JPEG and upload that.")


def probe_image(source: Source, limits: MediaLimits) -> MediaInfo:
    image = _open(source, limits)
    width, height = image.size
    try:
        sideways = image.getexif().get(_ORIENTATION_TAG) in _SIDEWAYS
    except _BROKEN:
        sideways = False
    width, height = (height, width) if sideways else (width, height)
    return MediaInfo("image", None, False, width, height)


def decode_image(source: Source, rules: VisionRules, limits: MediaLimits) -> Image:
    """First frame, upright, alpha over white, resized by the published rule; raises BadInput."""
    image = _open(source, limits)
    try:
        image.load()
        image = _to_rgb(_upright(image))
    except _BROKEN:
        raise BadInput(f"{source.name} is a damaged picture; save it again and upload that.") from None
    except MemoryError:
        raise BadInput(f"{source.name} is too large a picture for this machine; make it smaller first.") from None
    return fit_image(np.asarray(image), rules, source.name)


def decode_jpeg(data: bytes, max_pixels: int = MediaLimits.max_pixels) -> np.ndarray:
    """One JPEG frame of a webcam to RGB pixels uint8 `[height, width, 3]`, not resized; raises BadInput."""
    broken = BadInput("A webcam frame is damaged; start the webcam again.")
    try:
        width, height = JpegImageFile(BytesIO(data)).size
    except _BROKEN:
        raise broken from None
    # libjpeg decodes a frame without its end mark to grey and says so on the console.
    if b"\xff\xd9" not in data[-64:]:
        raise broken
    if width * height > max_pixels:
        raise BadInput(f"A webcam frame has {width} x {height} pixels; choose a smaller picture size of the webcam.")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        raise broken from None
    if pixels is None:
        raise broken
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def fit_image(pixels: np.ndarray, rules: VisionRules, name: str = "The picture") -> Image:
    """Resize RGB pixels `[height, width, 3]` as the published reader does; raises BadInput for a mere line."""
    height, width = pixels.shape[:2]
    size = fitted_size(height, width, rules.factor, rules.image_min_pixels, rules.image_max_pixels, name)
    return Image(resize(pixels, size))


def fitted_size(height: int, width: int, factor: int, min_pixels: int, max_pixels: int, name: str) -> tuple[int, int]:
    """(height, width) by `smart_resize`; raises BadInput where that rule knows no answer."""
    fitted = (0, 0)
    if max(height, width) <= MAX_RATIO * min(height, width):
        fitted = smart_resize(height, width, factor, min_pixels, max_pixels)
    # With small limits the rule rounds the short side of a long strip down to nothing.
    if min(fitted) == 0:
        raise BadInput(f"{name} has {width} x {height} pixels, too long and narrow to be seen; crop it first.")
    return fitted


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """RGB pixels to (height, width), bicubic with anti-aliasing as Pillow does it."""
    if pixels.shape[:2] == size:
        return np.ascontiguousarray(pixels)
    height, width = size
    return np.array(PIL.Image.fromarray(pixels).resize((width, height), PIL.Image.Resampling.BICUBIC))


def _open(source: Source, limits: MediaLimits) -> PIL.Image.Image:
    """Read the header only, and check the size that it claims before anything is decoded."""
    reader = find_format(source.head)
    assert reader is not None, source.name
    try:
        image = reader(ByteReader(source.file))
        width, height = image.size
    except PIL.Image.DecompressionBombError:  # a GIF frame that is larger than its own canvas
        raise BadInput(f"{source.name} has too many pixels; make it smaller first.") from None
    except _BROKEN:
        raise BadInput(f"{source.name} is a damaged picture; save it again and upload that.") from None
    if width < 1 or height < 1:
        raise BadInput(f"{source.name} is a picture without pixels; save it again and upload that.")
    if width * height > limits.max_pixels:
        raise BadInput(
            f"{source.name} has {width} x {height} pixels and at most {limits.max_pixels / 1e6:g} million can be sent; "
            "make it smaller first."
        )
    return image


def _upright(image: PIL.Image.Image) -> PIL.Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _BROKEN:  # broken camera data beside a good picture
        return image


def _to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """8-bit RGB; transparent pixels over white, as the published reader does for RGBA."""
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips 16-bit grey to white.
        return PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        return PIL.Image.fromarray(np.clip(np.asarray(image) / 256, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")
