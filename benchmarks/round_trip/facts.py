"""What a file holds, found without tfmlc: by Pillow, tifffile, imagecodecs and in the bytes themselves."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pylibjxl
import tifffile
from numpy.typing import NDArray
from PIL import Image

from round_trip.blocks import EXIF, GPS, ICC, INTEROP, IPTC, MAKER_NOTE, ODD_ENTRY, PHOTOSHOP, XMP
from round_trip.sources import COMMENT, LIGHT, TEXTS

TAGS = (0x010F, 0x013B)
PHOTO_TAGS = (0x829A, 0x9003, 0x9286, 0xA002, 0xA003)
SWAPPED_ENTRY = struct.pack("<HHI4s", *struct.unpack(">HHI4s", ODD_ENTRY))
SOI, TIFF_HEADS = b"\xff\xd8", (b"MM\0*", b"II*\0")


def facts(content: bytes) -> dict[str, Any]:
    """Every piece of metadata that is found in a file's content, under a name of its own."""
    if content[4:8] == b"ftyp" and b"hvc1" in content:
        kind, info, exif = "HEIC", {"icc_profile": ICC if ICC in content else None}, _loaded(content)
    elif content[4:8] == b"JXL " or content[:2] == b"\xff\x0a":
        blocks = pylibjxl.decode(content, metadata=True)[1]
        content = blocks.get("exif", b"") + blocks.get("xmp", b"")  # they are compressed in the file
        kind, exif, info = "JPEG XL", _loaded(content), {"icc_profile": blocks.get("icc")}
    elif content[:4] in TIFF_HEADS:  # Pillow does not open every kind of TIFF
        kind, exif = "TIFF", _loaded(content)
        info = {"icc_profile": exif.get(0x8773)}
    else:
        with Image.open(io.BytesIO(content)) as image:
            kind, info, exif = image.format or "", dict(image.info), image.getexif()
    photo = exif.get_ifd(EXIF)
    profile = _raw_profile(content)
    found: dict[str, Any] = {
        "colour profile": info.get("icc_profile"),
        "EXIF": [*(_plain(exif.get(tag)) for tag in TAGS), *(_plain(photo.get(tag)) for tag in PHOTO_TAGS)],
        "EXIF: position": {tag: _plain(value) for tag, value in exif.get_ifd(GPS).items()},
        "EXIF: interoperability": dict(exif.get_ifd(INTEROP)),
        "EXIF: maker note at its offset": _offset_of_maker_note(content),
        "EXIF: an entry of no known type": ODD_ENTRY in content or SWAPPED_ENTRY in content,
        "EXIF: thumbnail": _has_thumbnail(content),
        "XMP": XMP in content,
        "IPTC": IPTC in content or IPTC in profile,
        "Photoshop resources": PHOTOSHOP in content or PHOTOSHOP in profile,
        "resolution": _resolution(info, exif),
        "comment": COMMENT in content,
        "text": TEXTS[1][1] in content,
        "further image": _further_image(content),
        "further planes": kind == "TIFF" and _further_planes(content),
        **{name: name.encode() + data in content for name, data in LIGHT.items()},
    }
    found["cICP"] = found["cICP"] or b"nclx" + struct.pack(">HH", 9, 16) in content
    if not any(found["EXIF"]):
        found["EXIF"] = None
    return {name: value for name, value in found.items() if value}


def pixels_of(content: bytes) -> NDArray[Any]:
    """The pixels of a file, ``h w c``, on the scale of their type; alpha as it is stored."""
    if content[:4] in TIFF_HEADS:
        pixels = tifffile.imread(io.BytesIO(content))
    elif content[:4] == b"\x89PNG":
        pixels = imagecodecs.png_decode(content)
    elif content[4:12] == b"ftypavif":
        pixels = imagecodecs.avif_decode(content)
        if pixels.dtype == np.uint16:
            bits = 12 if pixels.max() > 1023 else 10
            pixels = (pixels << (16 - bits)) | (pixels >> (2 * bits - 16))
    else:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _loaded(content: bytes) -> Image.Exif:
    """The tags behind the first TIFF header."""
    exif = Image.Exif()
    found = [at for head in TIFF_HEADS if (at := content.find(head)) >= 0]
    if found:
        exif.load(content[min(found) :])
    return exif


def _plain(value: Any) -> Any:
    return float(value) if hasattr(value, "numerator") else [float(one) for one in value] if _is_list(value) else value


def _is_list(value: Any) -> bool:
    return isinstance(value, tuple) and all(hasattr(one, "numerator") for one in value)


def _has_thumbnail(content: bytes) -> bool:
    """Whether the second directory points to a JPEG that can be decoded."""
    header = content.find(b"MM\0*")
    if header < 0:
        return False
    block = content[header:]
    first = int.from_bytes(block[4:8])
    entries = int.from_bytes(block[first : first + 2])
    second = int.from_bytes(block[first + 2 + 12 * entries :][:4])
    tags: dict[int, int] = {}
    for at in range(second + 2, second + 2 + 12 * int.from_bytes(block[second : second + 2]), 12):
        tags[int.from_bytes(block[at : at + 2])] = int.from_bytes(block[at + 8 : at + 12])
    if not second or 0x0201 not in tags:
        return False
    small = block[tags[0x0201] : tags[0x0201] + tags[0x0202]]
    if not small.startswith(SOI):
        return False
    with Image.open(io.BytesIO(small)) as image:
        image.load()
        return max(image.size) <= 160


def _offset_of_maker_note(content: bytes) -> int | None:
    """Where the maker note is, counted from the TIFF header before it: what it says of itself hangs on that."""
    at = content.find(MAKER_NOTE)
    header = max(content.rfind(b"MM\0*", 0, max(at, 0)), content.rfind(b"II*\0", 0, max(at, 0)))
    return None if at < 0 or header < 0 else at - header


def _resolution(info: dict[str, Any], exif: Image.Exif) -> tuple[int, int] | None:
    dpi = info.get("dpi") or (exif.get(0x011A), exif.get(0x011B))
    return None if None in dpi else (round(float(dpi[0])), round(float(dpi[1])))


def _raw_profile(content: bytes) -> bytes:
    """Photoshop's resources in the hexadecimal text of a PNG."""
    at = content.find(b"zTXtRaw profile type iptc\0\0")
    if at < 0:
        return b""
    size = int.from_bytes(content[at - 4 : at])
    text = zlib.decompress(content[at + 27 : at + 4 + size])
    return bytes.fromhex("".join(text.decode().split("\n")[3:]))


def _further_image(content: bytes) -> bool:
    """Whether the index of a JPEG points to a second one."""
    if content[:2] != SOI or b"MPF\0" not in content:
        return False
    with Image.open(io.BytesIO(content)) as image:
        if getattr(image, "n_frames", 1) < 2:
            return False
        image.seek(1)
        image.load()
        return True


def _further_planes(content: bytes) -> bool:
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        return any(int(kind) == 0 for kind in page.extrasamples)
