"""Making an image upright, and updating its metadata."""

from __future__ import annotations

from dataclasses import replace

from tfmlc.io.images.exif import has_orientation, orientation_of, with_orientation
from tfmlc.io.images.image import BACK, Image, turn
from tfmlc.io.images.xmp import get_property, get_restored, set_property

FIRST_TURNED = 5  # the first EXIF orientation that swaps width and height
IN_XMP = "tiff:Orientation"
SIZES_IN_XMP = (("tiff:ImageWidth", "tiff:ImageLength"), ("exif:PixelXDimension", "exif:PixelYDimension"))


def stored_orientation(exif: bytes | None, xmp: bytes | None) -> int:
    """Return the orientation in the EXIF block of a file, else in its XMP packet, else 1."""
    if has_orientation(exif) or xmp is None:
        return orientation_of(exif)
    said = get_property(xmp, IN_XMP)
    return int(said) if said in set("12345678") else 1


def upright(stored: Image, orientation: int | None = None) -> Image:
    """Make a stored image upright; ``orientation`` is given if the container has its own."""
    if orientation is None:
        orientation = stored_orientation(stored.exif, stored.xmp)
    source = stored.source
    if source is not None:
        size = source.size[::-1] if orientation >= FIRST_TURNED else source.size
        source = replace(source, orientation=orientation, size=size)
    turned = _turned(stored, orientation, said=1)
    return replace(turned, source=source, restored=get_restored(stored.xmp))


def stored_again(image: Image) -> Image:
    """Turn an upright image back to how its file stored it, with the orientation of the file."""
    orientation = 1 if image.source is None else image.source.orientation
    if orientation == 1:
        return image
    return _turned(image, BACK.get(orientation, orientation), said=orientation)


def _turned(image: Image, orientation: int, *, said: int) -> Image:
    """Turn the pixels by ``orientation``, and write ``said`` as the orientation to the metadata."""
    swap = orientation >= FIRST_TURNED
    exif, xmp, resolution = image.exif, image.xmp, image.resolution
    if exif is not None:
        exif = with_orientation(exif, said, swap=swap)
    if xmp is not None:
        xmp = set_property(xmp, IN_XMP, str(said))
        for across, down in SIZES_IN_XMP if swap else ():
            width, height = get_property(xmp, across), get_property(xmp, down)
            if width is not None and height is not None:
                xmp = set_property(set_property(xmp, across, height), down, width)
    if swap and resolution is not None:
        resolution = resolution[::-1]
    pixels = turn(image.pixels, orientation)
    extra = None if image.extra is None else turn(image.extra, orientation)
    return replace(image, pixels=pixels, extra=extra, exif=exif, xmp=xmp, resolution=resolution)
