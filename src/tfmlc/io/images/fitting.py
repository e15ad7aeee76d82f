"""What each format can store, and the reduction of an image to it; each loss is reported."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tfmlc.errors import UserError
from tfmlc.io.images.image import BAND_ROWS, Image, Part, Pixels, to_depth, white_of
from tfmlc.io.images.pngtext import TEXTS, text_of

JPEG_COMMENT, COMMENT = "FE", b"Comment"  # the marker, the keyword in PNG
MOST_COMMENT_BYTES = 65_533
EXTENDED_XMP, MULTI = b"http://ns.adobe.com/xmp/extension/\0", b"MPF\0"  # first bytes of JPEG segments


@dataclass(frozen=True)
class Room:
    """What a format can store.

    Attributes:
        name: The name of the format.
        bits: The possible bits per channel.
        alpha: Whether it has an alpha channel.
        fields: The fields of ``Image`` that it can store.
        most_side_px: The maximum length of a side.
        most_px: The maximum number of pixels.
        says_depth: Whether a lower depth is reported here; if not, the writer of the format reports it.
    """

    name: str
    bits: tuple[int, ...] = (8,)
    alpha: bool = True
    fields: tuple[str, ...] = ()
    most_side_px: int = (1 << 31) - 1
    most_px: int = 1 << 62
    says_depth: bool = True


ROOMS = {
    "JPEG": Room("JPEG", (8,), alpha=False, fields=("icc", "exif", "xmp", "iptc", "resolution"), most_side_px=65_500),
    "PNG": Room("PNG", (8, 16), fields=("icc", "exif", "xmp", "iptc", "resolution", "cicp")),
    "WEBP": Room("WebP", (8,), fields=("icc", "exif", "xmp", "resolution"), most_side_px=16_383),
    "AVIF": Room(
        "AVIF",
        (8, 16),
        fields=("icc", "exif", "xmp", "resolution", "cicp"),
        most_side_px=32_768,
        most_px=16_384 * 16_384,
        says_depth=False,
    ),
    "TIFF": Room("TIFF", (8, 16, 32), fields=("icc", "exif", "xmp", "iptc", "resolution", "extra")),
    "BMP": Room("BMP", (8,), alpha=False, fields=("xmp", "resolution"), most_px=(1 << 32) // 4),
}
"""What each format can store, by the names in ``FORMATS``. AVIF's writer reports that it stores 10 or 12 of 16 bits."""

LABELS = {
    "icc": "the colour profile",
    "exif": "EXIF",
    "xmp": "XMP",
    "iptc": "IPTC and Photoshop data",
    "resolution": "the resolution",
    "cicp": "the colour description (cICP)",
    "extra": "the planes that are neither colour nor alpha",
}
PART_LABELS = {
    "gAMA": "the gamma (gAMA)",
    "cHRM": "the primaries (cHRM)",
    "mDCV": "the mastering display (mDCV)",
    "mDCv": "the mastering display (mDCV)",
    "cLLI": "the light level (cLLI)",
    "cLLi": "the light level (cLLI)",
    "tEXt": "text",
    "zTXt": "text",
    "iTXt": "text",
    "tIME": "the time of the last change (tIME)",
    "bKGD": "the background colour (bKGD)",
    "FE": "the comment",
    "trailer": "what follows the image (gain map, depth, video)",
}
UNSAID = (
    "sRGB",
    "sBIT",
    "iCCP",
    "pHYs",
    "oFFs",
    "sPLT",
)  # say the same as a file without them, or are stored in fields of Image
SRGB_GAMMA, SRGB_PRIMARIES = 45455, (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


def fit(image: Image, format_name: str) -> tuple[Image, list[str]]:
    """Reduce an image to what a format can store; also return lines about what is lost.

    Raises UserError if the image is too large for the format.
    """
    room = ROOMS[format_name]
    _check_size(image, room)
    lost: list[str] = []
    pixels = image.pixels
    depth = max((bits for bits in room.bits if bits <= image.bits), default=8)
    if depth != image.bits:
        if room.says_depth:
            lost.append(f"{room.name} has {depth} bits per channel")
        pixels = to_depth(pixels, depth)
    if image.has_alpha and not room.alpha:
        lost.append(f"{room.name} has no alpha channel: transparent areas become white")
        pixels = on_white(pixels)
    there = {
        "icc": image.icc,
        "exif": image.exif,
        "xmp": image.xmp,
        "iptc": image.iptc or image.photoshop,
        "resolution": image.resolution,
        "cicp": image.cicp,
        "extra": None if image.extra is None else True,
    }
    gone = [name for name, value in there.items() if value is not None and name not in room.fields]
    labels = [LABELS[name] for name in gone]
    parts = tuple(moved for part in image.parts for moved in _moved(part, format_name))
    labels += [label for part in parts if part.format != format_name and (label := _label(part, image))]
    if labels:
        lost.append(f"{room.name} cannot store {', '.join(dict.fromkeys(labels))}")
    kept = replace(image, pixels=pixels, parts=tuple(part for part in parts if part.format == format_name))
    return replace(kept, **dict.fromkeys(gone)), lost


def on_white(pixels: Pixels) -> Pixels:
    """Composite an image with alpha on white."""
    top = white_of(pixels)
    laid = np.empty((*pixels.shape[:2], pixels.shape[2] - 1), pixels.dtype)
    for row in range(0, len(pixels), BAND_ROWS):
        band = pixels[row : row + BAND_ROWS].astype(np.float32)
        alpha = band[..., -1:] / top
        over = band[..., :-1] * alpha + top * (1 - alpha)
        laid[row : row + BAND_ROWS] = over if pixels.dtype == np.float32 else np.rint(over)
    return laid


def _check_size(image: Image, room: Room) -> None:
    height, width = image.pixels.shape[:2]
    if not height or not width:
        raise UserError("the image has no pixels")
    most = f"{room.most_side_px} px per side"
    if max(height, width) <= room.most_side_px:
        if height * width <= room.most_px:
            return
        most = f"{room.most_px // 1_000_000} megapixels"
    raise UserError(f"it has {width}x{height} px, but {room.name} allows {most}: write PNG or TIFF, or scale it")


def _moved(part: Part, format_name: str) -> list[Part]:
    """Convert a comment to the form of the new format; return any other part unchanged."""
    if part.format == "JPEG" and part.name == JPEG_COMMENT and format_name == "PNG":
        text = part.data.rstrip(b"\0")
        if text.isascii() or not _is_utf8(text):
            return [Part("PNG", "tEXt", COMMENT + b"\0" + text.replace(b"\0", b" "))]
        return [Part("PNG", "iTXt", COMMENT + bytes(5) + text.replace(b"\0", b" "))]
    if part.format == "PNG" and part.name in TEXTS and format_name == "JPEG":
        keyword, text = text_of(part.name, part.data)
        if keyword == COMMENT and text is not None and len(text) <= MOST_COMMENT_BYTES:
            return [Part("JPEG", JPEG_COMMENT, text)]
    return [part]


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _label(part: Part, image: Image) -> str | None:
    """Return the name of a part that is left out; None if a file without it means the same."""
    if part.format == "PNG":
        return _label_of_chunk(part, image)
    return _label_of_segment(part) if part.format == "JPEG" else f"{part.format} chunk {part.name}"


def _label_of_chunk(part: Part, image: Image) -> str | None:
    srgb = {
        "gAMA": SRGB_GAMMA.to_bytes(4),
        "cHRM": b"".join(value.to_bytes(4) for value in SRGB_PRIMARIES),
    }
    if part.name in UNSAID or (part.name in srgb and (image.icc is not None or part.data == srgb[part.name])):
        return None
    if part.name in TEXTS:
        return f"text ({part.data.split(bytes(1))[0].decode('latin-1')})"
    return PART_LABELS.get(part.name, f"PNG chunk {part.name}")


def _label_of_segment(part: Part) -> str:
    if part.data.startswith(EXTENDED_XMP):
        return "extended XMP"
    if part.data.startswith(MULTI):  # the index of further images
        return PART_LABELS["trailer"]
    return PART_LABELS.get(part.name) or f"JPEG segment APP{int(part.name, 16) - 0xE0}"
