"""Writing of TIFF: tifffile stores the pixels, the EXIF block is copied before them, and one directory has both."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tfmlc.errors import UserError
from tfmlc.io.images.exif import UNREADABLE, is_readable, with_thumbnail
from tfmlc.io.images.ifd import LONG, LONG8, SIZES, Entry, Tags, with_first
from tfmlc.io.images.image import Image
from tfmlc.io.images.photoshop import iptc_of
from tfmlc.io.images.tiff import (
    ASSOCIATED,
    IPTC,
    PHOTOSHOP,
    STORAGE,
    UNASSOCIATED,
    XMP,
    multiplied_by_alpha,
)

UNDEFINED, BYTE = 7, 1
OFFSETS = (273, 324)  # of strips, of tiles
MOST_BYTES = (1 << 32) - (1 << 25)
FALLBACKS = {282, 283, 296}  # tags that tifffile always writes


def write_tiff(image: Image) -> tuple[bytes, list[str]]:
    """Return the content of a TIFF file with the kind of samples of its source, and lines about what is lost.

    Raises UserError if it is larger than 4 GB.
    """
    samples, kinds = _samples(image)
    if samples.nbytes > MOST_BYTES:
        raise UserError("TIFF is limited to 4 GB: split the image, or write it as PNG")
    block, lost = _block(image)
    iptc = image.iptc or iptc_of(image.photoshop)
    blocks = ((XMP, BYTE, image.xmp), (IPTC, UNDEFINED, iptc), (PHOTOSHOP, UNDEFINED, image.photoshop))
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        samples if samples.shape[2] > 1 else samples[..., 0],
        byteorder="<" if block is None else Tags(block).order,
        photometric="rgb" if image.pixels.shape[2] >= 3 else "minisblack",
        extrasamples=kinds or None,
        planarconfig="contig" if samples.shape[2] > 1 else None,
        compression="zlib",
        predictor=True,
        iccprofile=image.icc,
        resolution=image.resolution,
        resolutionunit="inch" if image.resolution else None,
        software=False,
        metadata=None,
        extratags=[(tag, kind, len(data), data, True) for tag, kind, data in blocks if data],
    )
    content = buffer.getvalue()
    return content if block is None else _behind(block, content), lost


def _samples(image: Image) -> tuple[NDArray[Any], list[int]]:
    """Return the samples ``h w s`` as they are stored, and the kinds of the samples that are not colours."""
    source, pixels = image.source, image.pixels
    kinds: list[int] = []
    if image.has_alpha:
        premultiplied = source is not None and source.premultiplied
        pixels = multiplied_by_alpha(pixels) if premultiplied else pixels
        kinds.append(ASSOCIATED if premultiplied else UNASSOCIATED)
    samples: NDArray[Any] = pixels
    if image.extra is not None:
        given = () if source is None else source.extra_kinds
        kinds += (*given, *[0] * image.extra.shape[2])[: image.extra.shape[2]]
        samples = np.concatenate([pixels, image.extra.astype(pixels.dtype)], axis=2)
    if samples.dtype == np.float32 and source is not None and source.sample in ("float16", "float64"):
        samples = samples.astype(source.sample)
    return samples, kinds


def _block(image: Image) -> tuple[bytes | None, list[str]]:
    """Return the EXIF block without its thumbnail, and lines about what could not be kept."""
    if image.exif is None:
        return None, []
    if not is_readable(image.exif):
        return None, [UNREADABLE]
    tags = Tags(image.exif)
    if not tags.directory(tags.first)[1]:
        return image.exif, []
    return with_thumbnail(image.exif, lambda _: None)[0], ["TIFF cannot store the EXIF thumbnail"]


def _behind(block: bytes, content: bytes) -> bytes:
    """Put an EXIF block at the start of a TIFF file, where all offsets in the block stay valid."""
    block += bytes(-len(block) % 16)
    shift = len(block)
    whole = bytearray(block + content)
    order = Tags(content).order
    stored: list[Entry] = []
    for entry in Tags(content).entries():
        at, size = entry.at + shift, SIZES[entry.kind]
        if len(entry.data) > 4:
            _add(whole, order, at + 8, LONG, shift)
        if entry.tag in OFFSETS:
            for place in range(entry.where + shift, entry.where + shift + len(entry.data), size):
                _add(whole, order, place, entry.kind, shift)
        stored.append(replace(entry, at=at))
    said = [entry for entry in Tags(block).entries() if entry.tag not in STORAGE]
    stored = [entry for entry in stored if entry.tag not in {entry.tag for entry in said} & FALLBACKS]
    taken = {entry.tag for entry in stored}
    return with_first(bytes(whole), [*stored, *(entry for entry in said if entry.tag not in taken)], 0)


def _add(content: bytearray, order: str, at: int, kind: int, shift: int) -> None:
    letter = {3: "H", LONG: "I", LONG8: "Q"}[kind]
    value = struct.unpack_from(order + letter, content, at)[0]
    struct.pack_into(order + letter, content, at, value + shift)
