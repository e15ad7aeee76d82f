"""Development of camera raw photos by LibRaw with the package rawpy (extra ``raw``); raw is never written."""

from __future__ import annotations

import io
from typing import Any

from tfmlc.errors import UserError
from tfmlc.io.images.exif import MAKER_NOTE_MOVED, resolution_of, with_orientation
from tfmlc.io.images.formats import FOR_RAW
from tfmlc.io.images.head import Content, Head
from tfmlc.io.images.ifd import Tags, build, keeps_maker_note
from tfmlc.io.images.image import Image, Source
from tfmlc.io.images.tiff import STORAGE, XMP

DEVELOPED = "developed from camera raw: white balance of the camera, sRGB, 16 bits, not brightened"
NO_EXIF = "the EXIF of this kind of raw is not read"
SENSOR = {33421, 33422, *range(50706, 53000)}  # tags of the colour filters and of DNG
SRGB_GAMMA = (2.4, 12.92)
TURNED = (5, 6)  # LibRaw's numbers of the quarter turns


def head_of_raw(content: Content) -> Head:
    """Read the size of the developed photo, which is upright."""
    with _opened(bytes(content[:])) as raw:
        size = raw.sizes
        width, height = (size.height, size.width) if size.flip in TURNED else (size.width, size.height)
    return Head(width, height, 16, orientation=1)


def read_raw(content: bytes) -> Image:
    """Develop a camera raw photo to 16 bits; a note says how. Raises UserError if the extra is not installed."""
    import rawpy

    with _opened(content) as raw:
        pixels: Any = raw.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            output_bps=16,
            output_color=rawpy.ColorSpace.sRGB,
            gamma=SRGB_GAMMA,
        )
        turned = raw.sizes.flip in TURNED
    exif, xmp, notes = _metadata(content)
    exif = None if exif is None else with_orientation(exif, 1, swap=turned)
    source = Source("raw", is_lossless=False, size=(pixels.shape[1], pixels.shape[0]), bits=16)
    resolution = resolution_of(exif)
    return Image(pixels, exif=exif, resolution=resolution, xmp=xmp, source=source, notes=(DEVELOPED, *notes))


def _opened(content: bytes) -> Any:
    try:
        import rawpy
    except ImportError as error:
        raise UserError(f"is a camera raw photo: {FOR_RAW}") from error
    try:
        return rawpy.imread(io.BytesIO(content))
    except rawpy.LibRawFileUnsupportedError as error:
        raise UserError("is a camera raw photo that LibRaw does not know: develop it in a raw converter") from error


def _metadata(content: bytes) -> tuple[bytes | None, bytes | None, list[str]]:
    """Return the EXIF block and the XMP packet of a raw file that is built on TIFF, and notes."""
    try:
        tags = Tags(content)
        tree = tags.tree()
    except ValueError:
        return None, None, [NO_EXIF]
    kept = [entry for entry in tree if entry.tag not in STORAGE | SENSOR]
    xmp = next((entry.data for entry in tree if entry.tag == XMP), None)
    moved = [] if keeps_maker_note(kept) else [MAKER_NOTE_MOVED]
    return (build(tags.order, kept) if kept else None), xmp or None, moved
