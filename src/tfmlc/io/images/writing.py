"""Writing of image files; a file is replaced only after the new content has been checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tfmlc.errors import UserError, loss_in_place
from tfmlc.io.files import write_atomically
from tfmlc.io.images.avif import write_avif
from tfmlc.io.images.bmp import write_bmp
from tfmlc.io.images.exif import with_orientation, with_size, with_thumbnail, without_prefix
from tfmlc.io.images.fitting import fit
from tfmlc.io.images.formats import FORMATS
from tfmlc.io.images.image import Image
from tfmlc.io.images.jpeg import write_jpeg
from tfmlc.io.images.photoshop import with_thumbnail as with_preview
from tfmlc.io.images.png import write_png
from tfmlc.io.images.proof import prove
from tfmlc.io.images.thumbnail import thumbnail
from tfmlc.io.images.tiffwriting import write_tiff
from tfmlc.io.images.webp import write_webp
from tfmlc.io.images.xmp import get_restored, set_restored

LEAST_DPI, MOST_DPI = 0.001, 1_000_000  # what every format can hold
WRITERS: dict[str, Callable[[Image], tuple[bytes, list[str]]]] = {
    "JPEG": write_jpeg,
    "PNG": write_png,
    "WEBP": write_webp,
    "AVIF": write_avif,
    "TIFF": write_tiff,
    "BMP": write_bmp,
}


def write_image(path: str | Path, image: Image, *, fast: bool = False) -> list[str]:
    """Write an image completely or not at all, in the format of the name's suffix.

    The new file has the same depth, kind of samples and kind of compression (lossless or lossy) as the file that the
    image was read from, if its format allows it. It is decoded and compared with the image before an existing file is
    replaced.

    Args:
        path: The file.
        image: The image.
        fast: Whether to compress PNG faster: it takes a tenth of the time, and files are a few per cent larger.

    Returns:
        Lines about what could not be kept, such as metadata that the format cannot store.

    Raises:
        UserError: If the suffix is unknown, the image is too large for the format, or the file cannot be written.

    Example:
        >>> import numpy as np
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_image(f"{folder}/a.jpg", Image(np.zeros((2, 3, 4), np.uint8)))
        ['JPEG has no alpha channel: transparent areas become white']
    """
    path = Path(path)
    name = FORMATS.get(path.suffix.lower())
    if name is None:
        raise UserError(f"cannot write {path}: the name must end in one of {' '.join(FORMATS)}")
    try:
        current, stale = _current(image)
        fitted, lost = fit(current, name)
        content, more = write_png(fitted, fast=True) if fast and name == "PNG" else WRITERS[name](fitted)
        more += prove(content, fitted, name, fast=fast)
    except UserError as error:
        raise UserError(f"cannot write {path}: {error}", option=error.option) from error
    except MemoryError as error:
        raise UserError(f"cannot write {path}: it does not fit into memory; close other programs") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"cannot write {path}: the encoder failed ({reason}); nothing was changed, use another format"
        ) from error
    write_atomically(path, content)
    return [*image.notes, *stale, *lost, *more]


def check_keeps_all(path: Path, image: Image) -> None:
    """Raise UserError if an image cannot replace its file without a loss: no copy of what is lost would be left.

    What a new image makes wrong, such as a thumbnail, is no loss.

    Args:
        path: The file.
        image: The image that was read from it.
    """
    try:
        _, lost = fit(image, FORMATS[path.suffix.lower()])
    except UserError as error:
        raise UserError(f"cannot write {path}: {error}", option=error.option) from error
    if losses := [*image.left_out, *lost]:
        raise loss_in_place(path, losses)


def _current(image: Image) -> tuple[Image, list[str]]:
    """Update the mark, the size and the thumbnails in the metadata; also return lines about what is lost."""
    lost: list[str] = []
    resolution = image.resolution
    if resolution is not None and not all(LEAST_DPI <= value <= MOST_DPI for value in resolution):
        across, down = resolution
        lost.append(f"a resolution of {across:.3g} x {down:.3g} dots per inch cannot be and is left out")
        resolution = None
    xmp, exif, photoshop = image.xmp, without_prefix(image.exif), image.photoshop
    if exif is not None:
        exif = with_orientation(exif, 1)
    if image.restored is not None and get_restored(xmp) != image.restored:
        xmp = set_restored(xmp, image.restored)
    height, width = image.pixels.shape[:2]
    source = image.source
    if exif is not None and source is not None and source.size != (width, height):
        exif = with_size(exif, width, height)
    if image.changed or (source is not None and source.orientation != 1):
        if exif is not None:
            exif, is_kept = with_thumbnail(exif, lambda room: thumbnail(image.pixels, most_bytes=room))
            lost += [] if is_kept else ["the EXIF thumbnail is left out: the new one needs more space"]
        if photoshop is not None:
            photoshop = with_preview(photoshop, lambda: thumbnail(image.pixels))
    return replace(image, xmp=xmp, exif=exif, photoshop=photoshop, resolution=resolution), lost
