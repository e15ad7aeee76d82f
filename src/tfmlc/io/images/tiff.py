"""Reading of TIFF: tifffile decodes the pixels, and all tags are kept."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import TiffImagePlugin

from tfmlc.errors import UserError
from tfmlc.io.images.avif import widen
from tfmlc.io.images.exif import MAKER_NOTE_MOVED, ORIENTATION, resolution_of
from tfmlc.io.images.head import Content, Head
from tfmlc.io.images.ifd import Entry, Tags, build, keeps_maker_note
from tfmlc.io.images.image import BAND_ROWS, FLOAT_RANGE, Image, Pixels, Sample, Source, white_of
from tfmlc.io.images.modes import simplify
from tfmlc.io.images.photoshop import iptc_of, resources
from tfmlc.io.images.tiffpages import CodingTags

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, CMYK, YCBCR = range(7)
PHOTOMETRICS = {5: "CMYK", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32844: "LogL", 32845: "LogLuv"}
RAW_PHOTOMETRICS, DNG_VERSION = (32803, 34892), 50706
XMP, IPTC, PHOTOSHOP, ICC, LAYERS, SMALLER = 700, 33723, 34377, 34675, 37724, 330
NO_LAYERS = "Photoshop's layers are left out; the merged image is kept"
ASSOCIATED, UNASSOCIATED = 1, 2
SUBFILE, OLD_SUBFILE = 254, 255
REDUCED, MASK_OF_ANOTHER, OLD_REDUCED = 1, 4, 2  # bits of the subfile type; a value of the old one
UNCOMPRESSED, NEW_JPEG = 1, 7
LOSSY = (6, NEW_JPEG, 33003, 33005, 34712, 34892, 50001, 50002)  # compressions that are or can be lossy
STORAGE = {  # tags that say how the pixels are stored, or whose content is stored in other fields
    *(*range(254, 260), *range(262, 267), 273, *range(277, 282), 284, *range(288, 294), 317, *range(320, 326)),
    *(SMALLER, 332, 333, 334, 336, 338, 339, 340, 341, 342, 343, 347, *range(512, 522), 529, 530, XMP, IPTC),
    *(PHOTOSHOP, ICC, LAYERS),
}
DEEP_KINDS: dict[str, Sample] = {"float16": "float16", "float32": "float32", "float64": "float64"}


@dataclass(frozen=True)
class Planes:
    """Decoded samples.

    Attributes:
        pixels: The samples ``h w s``: first grey or RGB, then extra samples.
        colours: The number of samples that are grey or RGB.
        extra_kinds: The kinds of the extra samples.
    """

    pixels: NDArray[Any]
    colours: int
    extra_kinds: tuple[int, ...]


def head_of_tiff(content: Content) -> Head:
    """Read the size and the metadata of the image of a TIFF that ``read_tiff`` reads."""
    tags = Tags(content)
    entries = _main_entries(tags)
    width, height = (tags.number(entries.get(tag)) for tag in (256, 257))
    if not width or not height:
        raise ValueError("its size is missing")
    bits, samples = max(tags.numbers(entries.get(258)) or [1]), tags.number(entries.get(277)) or 1
    xmp = entries[XMP].data if XMP in entries else None
    turned = entries.get(ORIENTATION)
    exif = None if turned is None else build(tags.order, [turned])
    return Head(width, height, max(1, bits // 8) * samples, exif, xmp)


def _main_entries(tags: Tags) -> dict[int, Entry]:
    """Return the entries of the first image that is no smaller copy or mask of another, or of the first one."""
    first: dict[int, Entry] | None = None
    for _, found, _ in tags.chain():
        entries = {entry.tag: entry for entry in found}
        kind = tags.number(entries.get(SUBFILE)) or (tags.number(entries.get(OLD_SUBFILE)) == OLD_REDUCED)
        if not kind & (REDUCED | MASK_OF_ANOTHER):
            return entries
        first = first or entries
    return first or {}


def read_tiff(content: bytes) -> Image:
    """Read a TIFF as it is stored, with its tags.

    Supported are 8 and 16 bits and floats (other depths are scaled up); grey, RGB, palettes and CMYK with 8 bits; and
    alpha and further planes. Raises UserError for several images, camera raw, and other kinds of numbers and colours.
    """
    tags = Tags(content)
    if tags.find(DNG_VERSION) is not None:
        raise UserError("is a camera raw photo (DNG): name it .dng")
    with tifffile.TiffFile(cast(BinaryIO, CodingTags(content))) as file:
        page, notes, left_out = _main_page(file)
        _check(page)
        head = head_of_tiff(content)
        if (page.imagewidth, page.imagelength) != (head.width, head.height):  # the limits were applied to the latter
            raise ValueError("its tags tell two sizes")
        planes = _planes(page, content)
        at = page.offset
    tree = tags.tree(at)
    named = {entry.tag: entry.data for entry in tree}
    icc = named.get(ICC) or None
    if int(page.photometric) == CMYK:
        planes, icc, more = _cmyk_to_rgb(planes, icc)
        notes = [*notes, *more]
    kept = [entry for entry in tree if entry.tag not in STORAGE]
    exif = build(tags.order, kept) if kept else None
    photoshop = named.get(PHOTOSHOP)
    unreadable = photoshop is not None and not resources(photoshop)[0]
    photoshop = None if unreadable else photoshop
    lost = {
        MAKER_NOTE_MOVED: not keeps_maker_note(kept),
        "a Photoshop block that cannot be read is left out": unreadable,
        NO_LAYERS: LAYERS in named,
        "smaller copies of the image are left out": SMALLER in named,
        "64 bits per channel were reduced to 32": str(page.dtype) == "float64",
    }
    pixels, extra, premultiplied, kinds = _parted(planes)
    return Image(
        pixels,
        icc=icc,
        exif=exif,
        resolution=resolution_of(exif),
        xmp=named.get(XMP) or None,
        iptc=named.get(IPTC) or iptc_of(photoshop),
        photoshop=photoshop,
        extra=extra,
        source=replace(_source(page, pixels), premultiplied=premultiplied, extra_kinds=kinds),
        notes=(*notes, *(note for note, applies in lost.items() if applies)),
        left_out=(*left_out, *([NO_LAYERS] if LAYERS in named else [])),
    )


def _source(page: tifffile.TiffPage, pixels: Pixels) -> Source:
    return Source(
        "TIFF",
        is_lossless=int(page.compression) not in LOSSY,
        size=(pixels.shape[1], pixels.shape[0]),
        bits=int(page.bitspersample),
        sample=DEEP_KINDS.get(str(page.dtype), "uint"),
    )


def _cmyk_to_rgb(planes: Planes, icc: bytes | None) -> tuple[Planes, bytes | None, Sequence[str]]:
    """Convert CMYK to RGB; return the planes, the profile of the RGB values, and notes."""
    simple = simplify(Pillow.fromarray(np.ascontiguousarray(planes.pixels[..., :4]), "CMYK"), icc)
    pixels = np.concatenate([simple.pixels, planes.pixels[..., 4:]], axis=2)
    return Planes(pixels, 3, planes.extra_kinds), simple.icc, simple.notes


def _main_page(file: tifffile.TiffFile) -> tuple[tifffile.TiffPage, list[str], list[str]]:
    """Return the full-size image, a line about smaller copies and masks, and the same line if there are masks.

    Raises UserError for several images.
    """
    pages = [cast(tifffile.TiffPage, file.pages[index]) for index in range(len(file.pages))]
    full = [page for page in pages if not (page.subfiletype & (REDUCED | MASK_OF_ANOTHER))]
    if len(full) > 1:
        raise UserError(f"holds {len(full)} images: save the one you want as a separate file")
    chosen = full[0] if full else pages[0]
    others = len(pages) - 1
    notes = [f"{others} smaller copies or masks of the image are left out"] if others else []
    masked = any(page is not chosen and page.subfiletype & MASK_OF_ANOTHER for page in pages)
    return chosen, notes, notes if masked else []


def _check(page: tifffile.TiffPage) -> None:
    """Raise UserError, which names what the page holds, if it is not supported."""
    photometric, kind = int(page.photometric), str(page.dtype)
    if photometric in RAW_PHOTOMETRICS:
        raise UserError("is a camera raw photo: develop it in a raw converter and save it as TIFF or PNG first")
    if photometric not in range(7) or (photometric == CMYK and kind != "uint8"):
        colours = PHOTOMETRICS.get(photometric, f"colours of kind {photometric}")
        what = f"{colours} of {page.bitspersample} bits" if photometric == CMYK else colours
        raise UserError(f"is a TIFF in {what}: save it as RGB of 8 or 16 bits first")
    if kind not in ("bool", "uint8", "uint16", *DEEP_KINDS):
        said = {"i": "signed integers", "u": "integers", "c": "complex numbers"}.get(kind[:1], "numbers")
        raise UserError(
            f"is a TIFF of {said} of {page.bitspersample} bits, whose value of white is not known: "
            "save it with 8 or 16 unsigned bits per channel, or as float in [0, 1]"
        )
    if page.axes not in ("YX", "YXS", "SYX"):
        raise UserError(f"is a TIFF of {page.ndim} dimensions ({page.axes}): save one plane of it as a separate TIFF")
    if photometric in (RGB, YCBCR) and page.samplesperpixel < 3:
        raise UserError(
            f"is a TIFF that is marked as RGB but has {page.samplesperpixel} channels: save it as grey or RGB"
        )


def _planes(page: tifffile.TiffPage, content: bytes) -> Planes:
    """Decode the samples, on the scale of their type and with black at zero."""
    photometric, bits = int(page.photometric), page.bitspersample
    ends = (at + size for at, size in zip(page.dataoffsets, page.databytecounts, strict=False))
    if max(ends, default=0) > len(content):
        raise ValueError("it ends before its last strip")
    if not page.is_contiguous and len(page.dataoffsets) < math.prod(page.chunked):
        raise ValueError(f"it names {len(page.dataoffsets)} of its {math.prod(page.chunked)} strips or tiles")
    if photometric == YCBCR and int(page.compression) != NEW_JPEG:
        return Planes(_from_colour_differences(page, io.BufferedReader(CodingTags(content))), 3, ())
    samples = np.asarray(page.asarray())
    samples = samples[..., None] if page.axes == "YX" else samples
    samples = np.moveaxis(samples, 0, 2) if page.axes == "SYX" else samples
    colours = {CMYK: 4, RGB: 3, YCBCR: 3}.get(photometric, 1)
    kinds = tuple(int(kind) for kind in page.extrasamples)
    kinds = (*kinds, *[0] * (samples.shape[2] - colours))[: samples.shape[2] - colours]
    if photometric == PALETTE and page.colormap is not None:
        return Planes(np.concatenate([_coloured(page.colormap, samples[..., 0]), samples[..., 1:]], axis=2), 3, kinds)
    if samples.dtype.kind in "bu" and bits not in (8, 16):
        samples = samples.astype(np.uint8 if bits < 8 else np.uint16)
        samples = widen(samples, bits) if bits > 8 else samples * np.uint8(255 // ((1 << bits) - 1))
    if photometric == WHITE_IS_ZERO:
        top = white_of(samples)
        samples = np.concatenate([samples.dtype.type(top) - samples[..., :1], samples[..., 1:]], axis=2)
    if samples.dtype.kind == "u":
        return Planes(samples, colours, kinds)
    low, high = float(samples.min()), float(samples.max())
    if not (low >= FLOAT_RANGE[0] and high <= FLOAT_RANGE[1]):
        raise UserError(
            f"is a TIFF of {bits} bits per channel, float, with values from {low:.3g} to {high:.3g}: "
            "scale them so that black is 0 and white is 1, and save it again"
        )
    return Planes(samples.astype(np.float32), colours, kinds)


def _from_colour_differences(page: tifffile.TiffPage, file: io.BufferedReader) -> NDArray[Any]:
    """Decode YCbCr; OpenCV reads what is not compressed, because some versions of Pillow take it for truncated."""
    if int(page.compression) != UNCOMPRESSED or str(page.dtype) != "uint8" or page.samplesperpixel != 3:
        return simplify(TiffImagePlugin.TiffImageFile(file), None).pixels
    how = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(file.read(), np.uint8), how)
    if pixels is None:
        raise ValueError("its YCbCr samples cannot be decoded")
    return np.asarray(pixels, np.uint8)


def _coloured(colormap: NDArray[Any], index: NDArray[Any]) -> NDArray[Any]:
    """Apply a palette; its 16 bits become 8 if no information is lost."""
    colours = np.asarray(colormap, np.uint16).T
    if (colours % 257 == 0).all():
        colours = (colours // 257).astype(np.uint8)
    elif (colours % 256 == 0).all():
        colours = (colours // 256).astype(np.uint8)
    return colours[index]


def _parted(planes: Planes) -> tuple[Pixels, Pixels | None, bool, tuple[int, ...]]:
    """Split samples into pixels with straight alpha and other planes.

    Also returns whether the colours were premultiplied, and the kinds of the other planes.
    """
    alphas = [at for at, kind in enumerate(planes.extra_kinds) if kind in (ASSOCIATED, UNASSOCIATED)]
    taken = planes.colours + alphas[0] if alphas else -1
    channels = [*range(planes.colours), *([taken] if alphas else [])]
    others = [at for at in range(planes.colours, planes.pixels.shape[2]) if at != taken]
    pixels = np.ascontiguousarray(planes.pixels[..., channels])
    premultiplied = bool(alphas) and planes.extra_kinds[alphas[0]] == ASSOCIATED
    if premultiplied:
        pixels = divided_by_alpha(pixels)
    extra = np.ascontiguousarray(planes.pixels[..., others]) if others else None
    kinds = tuple(planes.extra_kinds[at - planes.colours] for at in others)
    return pixels, extra, premultiplied, kinds


def divided_by_alpha(pixels: Pixels) -> Pixels:
    """Divide premultiplied colours by alpha; colours stay where alpha is zero."""
    answer = pixels.copy()
    top = float(white_of(pixels))
    for row in range(0, len(pixels), BAND_ROWS):
        band = pixels[row : row + BAND_ROWS].astype(np.float64)
        alpha = band[..., -1:]
        straight = np.divide(band[..., :-1] * top, alpha, out=band[..., :-1].copy(), where=alpha > 0)
        if pixels.dtype != np.float32:
            straight = np.rint(np.minimum(straight, top))
        answer[row : row + BAND_ROWS, :, :-1] = straight
    return answer


def multiplied_by_alpha(pixels: Pixels) -> Pixels:
    """Multiply colours by alpha; this reverses ``divided_by_alpha`` exactly.

    >>> pixels = np.array([[[3, 2, 1, 7], [200, 0, 255, 255]]], np.uint8)
    >>> bool((multiplied_by_alpha(divided_by_alpha(pixels)) == pixels).all())
    True
    """
    answer = pixels.copy()
    top = float(white_of(pixels))
    for row in range(0, len(pixels), BAND_ROWS):
        band = pixels[row : row + BAND_ROWS].astype(np.float64)
        product = band[..., :-1] * band[..., -1:] / top
        answer[row : row + BAND_ROWS, :, :-1] = product if pixels.dtype == np.float32 else np.rint(product)
    return answer
