"""What becomes of every kind of image and of metadata in every format: kept, converted, or said to be lost."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from round_trip.facts import facts, pixels_of
from round_trip.sources import Source, sources
from tfmlc.io.images import read_image, write_image

TARGETS = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "AVIF": ".avif", "TIFF": ".tif", "BMP": ".bmp"}
LOSSY, LOSSLESS = ("JPEG", "WebP", "AVIF"), ("PNG", "TIFF", "BMP")
NEAR = 0.02  # mean difference that a lossy format makes, white is 1
SILENT = "LOST IN SILENCE"
SAID = {  # words in a note that tell of a loss
    "colour profile": ("colour profile", "became sRGB"),
    "resolution": ("resolution",),
    "IPTC": ("IPTC",),
    "Photoshop resources": ("Photoshop",),
    "XMP": ("XMP",),
    "comment": ("comment", "text (Comment)"),
    "text": ("text (Description)",),
    "further image": ("what follows the image",),
    "further planes": ("planes",),
    "EXIF: maker note at its offset": ("maker note", "store the colour profile, EXIF", "store EXIF"),
    "EXIF: thumbnail": ("EXIF thumbnail", "store the colour profile, EXIF", "store EXIF"),
}
CONVERTED = {"EXIF: thumbnail": "made anew"}


@dataclass(frozen=True)
class Cell:
    """What became of one source in one format: its pixels, each piece of metadata, and what was said."""

    source: Source
    target: str
    pixels: str
    blocks: dict[str, str]
    notes: list[str]


def cells() -> list[Cell]:
    """Every source read and written in every format."""
    with tempfile.TemporaryDirectory() as folder:
        return [cell(source, target, Path(folder)) for source in sources() for target in TARGETS]


def cell(source: Source, target: str, folder: Path) -> Cell:
    """One source, read, changed in nothing but its pixels' age, and written."""
    path, written = folder / f"in{source.suffix}", folder / f"out{TARGETS[target]}"
    path.write_bytes(source.content)
    image = read_image(path)
    notes = write_image(written, image.with_pixels(image.pixels))
    content = written.read_bytes()
    back = read_image(written)
    pixels = _pixels(source, target, content, notes)
    if _difference(back.pixels, source.pixels).mean() > NEAR and "sRGB" not in pixels:
        pixels = "NOT READ BACK"
    before, after = facts(source.content), facts(content)
    if source.turned:
        before = _turned(before)
    blocks = {name: _block(name, before[name], after.get(name), notes) for name in before}
    return Cell(source, target, pixels, blocks, notes)


def _turned(before: dict[str, Any]) -> dict[str, Any]:
    """What a file that was stored turned has to say once it is upright."""
    *others, width, height = before["EXIF"]
    return {**before, "EXIF": [*others, height, width], "resolution": before["resolution"][::-1]}


def _block(name: str, before: Any, after: Any, notes: list[str]) -> str:
    if before == after:
        return CONVERTED.get(name, "kept")
    words = SAID.get(name, ("store the colour profile, EXIF", "store EXIF") if "EXIF" in name else (name,))
    if any(word in note for note in notes for word in words):
        return "said"
    return SILENT


def _pixels(source: Source, target: str, content: bytes, notes: list[str]) -> str:
    """What became of the pixels, in words; a change without its note, or one too large, is ``SILENT``."""
    found, wanted = pixels_of(content), source.pixels
    if target == "TIFF" and "premultiplied" in source.kind:
        found = _divided(found)
    if target == "TIFF" and "plane" in source.kind:
        found = found[..., :3]
    bits = _bits(content, found)
    changes: dict[str, str] = {}
    if wanted.shape[2] in (2, 4) and found.shape[2] in (1, 3) and (wanted[..., -1] != _white(wanted)).any():
        changes["on white"] = "transparent areas become white"
    if "CMYK" in source.kind:
        changes["as sRGB"] = "became sRGB"
    fewer = bits < 8 * wanted.dtype.itemsize or (wanted.dtype.kind == "f") > (found.dtype.kind == "f")
    if fewer and not (source.bits and bits >= source.bits):
        changes[f"{bits} bits"] = f"has {bits} bits per channel"
    if wanted.dtype == np.float64:
        changes["through 32 bits"] = "were reduced to 32"
    if any(not any(words in note for note in notes) for words in changes.values()):
        return SILENT
    difference = _difference(found, wanted)
    if difference.max() == 0:
        how = "exact"
    elif difference.mean() <= NEAR and (source.lossy or changes or target in LOSSY):
        how = "near"
    else:
        return SILENT
    said = f" ({', '.join(changes)}: said)" if changes else ""
    return how + said


def _difference(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """By how much two images of any type differ as they are shown, on white; white is 1."""
    shown = [_shown(one), _shown(other)]
    if (one.shape[2] in (2, 4)) != (other.shape[2] in (2, 4)):
        shown = [image[..., :3] * image[..., 3:] + 1 - image[..., 3:] for image in shown]
    return np.abs(shown[0] - shown[1])


def _shown(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """RGB and alpha in [0, 1]."""
    values = pixels.astype(np.float64) / _white(pixels)
    has_alpha = pixels.shape[2] in (2, 4)
    colour, alpha = (values[..., :-1], values[..., -1:]) if has_alpha else (values, np.ones_like(values[..., :1]))
    return np.concatenate([np.broadcast_to(colour, (*colour.shape[:2], 3)), alpha], axis=2)


def _white(pixels: NDArray[Any]) -> int:
    return 1 if pixels.dtype.kind == "f" else int(np.iinfo(pixels.dtype).max)


def _divided(pixels: NDArray[Any]) -> NDArray[Any]:
    """Straight colours of premultiplied ones."""
    alpha, top = pixels[..., 3:].astype(np.float64), _white(pixels)
    straight = np.minimum(np.rint(pixels[..., :3] / alpha * top), top)
    return np.dstack([straight.astype(pixels.dtype), pixels[..., 3:]])


def _bits(content: bytes, pixels: NDArray[Any]) -> int:
    """Bits a channel of a file; of an AVIF those of its configuration box."""
    if (at := content.find(b"av1C")) >= 0 and content[4:8] == b"ftyp":
        return 12 if content[at + 6] & 0x20 else 10 if content[at + 6] & 0x40 else 8
    return 8 * pixels.dtype.itemsize


def rows() -> list[dict[str, Any]]:
    """All cells as they are kept in results/formats.json."""
    return [
        {
            "source": one.source.format,
            "kind": one.source.kind,
            "target": one.target,
            "pixels": one.pixels,
            "metadata": one.blocks,
            "notes": one.notes,
        }
        for one in cells()
    ]
