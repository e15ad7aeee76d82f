"""The supported image formats, and the recognition of files by their first bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tfmlc.io.files import open_regular

FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".mpo": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""The suffixes that can be read and written, with their formats."""

RAW_SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw"),
    *(".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
READ_ONLY = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    ".jxl": "JPEG XL",
    **dict.fromkeys(RAW_SUFFIXES, "raw"),
}
"""The suffixes that can be read with an extra (``heic``, ``jxl``, ``raw``), but not written, with their formats."""

WRITTEN_AS = {"HEIC": ".jpg", "JPEG XL": ".jpg", "raw": ".tif"}
"""The suffixes of the results of formats that cannot be written."""

READABLE = "JPEG, PNG, WebP, AVIF, TIFF and BMP"
HEAD_BYTES = 4096
AVIF_BRANDS, HEIC_BRANDS = {b"avif", b"avis"}, {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
SAVE_AS = "save it as JPEG, PNG or TIFF first"
TAKE_A_FRAME = "save the frame you want as PNG first"
UNPACK, GIVE_THE_PHOTO = "unpack it first", "give the photo itself"
FOR_HEIC, FOR_JXL, FOR_RAW = (f"install the extra: pip install 'tfmlc[{extra}]'" for extra in ("heic", "jxl", "raw"))


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        name: Its name, with an article.
        suffixes: Its suffixes.
        remedy: What to do with such a file; empty if it can be read.
        visual: Whether it is a photo or a video, unlike documents and archives.
        package: The package of an extra that reads it; empty if none does.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    remedy: str = ""
    visual: bool = True
    package: str = ""

    @property
    def is_read(self) -> bool:
        """Whether ``read_image`` can read it; HEIC, JPEG XL and camera raw only if their extras are installed."""
        return not self.remedy or (bool(self.package) and has_package(self.package))


KINDS = {
    "JPEG": FileKind("a JPEG photo", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")),
    "PNG": FileKind("a PNG image", (".png",)),
    "WEBP": FileKind("a WebP image", (".webp",)),
    "AVIF": FileKind("an AVIF image", (".avif",)),
    "TIFF": FileKind("a TIFF image", (".tif", ".tiff")),
    "BMP": FileKind("a BMP image", (".bmp", ".dib")),
    "HEIC": FileKind("a HEIC photo", (".heic", ".heif", ".hif"), FOR_HEIC, package="pi_heif"),
    "HEIF": FileKind("a HEIF image of a rare kind", (".avci", ".heics", ".heifs"), SAVE_AS),
    "GIF": FileKind("a GIF file", (".gif",), SAVE_AS),
    "JPEG XL": FileKind("a JPEG XL image", (".jxl",), FOR_JXL, package="pylibjxl"),
    "JPEG 2000": FileKind("a JPEG 2000 image", (".jp2", ".j2k", ".jpx", ".jpf"), SAVE_AS),
    "JPEG XR": FileKind("a JPEG XR image", (".jxr", ".wdp", ".hdp"), SAVE_AS),
    "Photoshop": FileKind("a Photoshop document", (".psd", ".psb"), SAVE_AS),
    "OpenEXR": FileKind("an OpenEXR image", (".exr",), SAVE_AS),
    "Radiance": FileKind("a Radiance HDR image", (".hdr",), SAVE_AS),
    "GIMP": FileKind("a GIMP document", (".xcf",), SAVE_AS),
    "Netpbm": FileKind("a Netpbm image", (".pbm", ".pgm", ".ppm", ".pnm", ".pam", ".pfm"), SAVE_AS),
    "TGA": FileKind("a TGA image", (".tga",), SAVE_AS),
    "DDS": FileKind("a DDS texture", (".dds",), SAVE_AS),
    "QOI": FileKind("a QOI image", (".qoi",), SAVE_AS),
    "icon": FileKind("an icon", (".ico", ".cur", ".icns"), SAVE_AS),
    "SVG": FileKind("an SVG drawing", (".svg", ".svgz"), "export it as PNG first"),
    "raw": FileKind("a camera raw photo", RAW_SUFFIXES, FOR_RAW, package="rawpy"),
    "MP4": FileKind("an MP4 video", (".mp4", ".m4v", ".3gp"), TAKE_A_FRAME),
    "MOV": FileKind("a QuickTime video", (".mov",), TAKE_A_FRAME),
    "MKV": FileKind("a Matroska or WebM video", (".mkv", ".webm"), TAKE_A_FRAME),
    "AVI": FileKind("an AVI video", (".avi",), TAKE_A_FRAME),
    "MPEG": FileKind("an MPEG video", (".mpg", ".mpeg", ".mts", ".m2ts"), TAKE_A_FRAME),
    "ASF": FileKind("a Windows Media video", (".wmv",), TAKE_A_FRAME),
    "PDF": FileKind("a PDF document", (".pdf",), "export the page as PNG first", visual=False),
    "PS": FileKind("a PostScript document", (".ps", ".eps"), "export it as PNG first", visual=False),
    "HTML": FileKind("an HTML page", (), "download the photo itself, not the page that shows it", visual=False),
    "XML": FileKind("an XML file", (), GIVE_THE_PHOTO, visual=False),
    "zip": FileKind("a zip archive", (), UNPACK, visual=False),
    "gzip": FileKind("a gzip archive", (), UNPACK, visual=False),
    "7z": FileKind("a 7z archive", (), UNPACK, visual=False),
    "RAR": FileKind("a RAR archive", (), UNPACK, visual=False),
    "LFS": FileKind("a Git LFS pointer, not the photo", (), "fetch the photo: git lfs pull", visual=False),
    "AppleDouble": FileKind("a macOS companion file (AppleDouble)", (), "give the photo beside it", visual=False),
    "sound": FileKind("a sound file", (), GIVE_THE_PHOTO, visual=False),
}
"""The kinds of files that are recognised, by name; kinds without a remedy can be read and written."""

KIND_OF_SUFFIX = {suffix: kind for kind in KINDS.values() for suffix in kind.suffixes}
MAGIC = (  # where, what, kind
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"BM", "BMP"),
    (8, b"CR\x02", "raw"),
    (0, b"IIRO", "raw"),
    (0, b"IIRS", "raw"),
    (0, b"MMOR", "raw"),
    (0, b"IIU\0", "raw"),
    (0, b"FUJIFILMCCD-RAW", "raw"),
    (0, b"FOVb", "raw"),
    (0, b"\0MRM", "raw"),
    (6, b"HEAPCCDR", "raw"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"GIF8", "GIF"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"),
    (4, b"jP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?R", "Radiance"),
    (0, b"gimp xcf", "GIMP"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"\0\0\1\0", "icon"),
    (0, b"icns", "icon"),
    (0, b"\x1aE\xdf\xa3", "MKV"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF"),
    (0, b"\0\0\1\xba", "MPEG"),
    (0, b"\0\0\1\xb3", "MPEG"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PS"),
    (0, b"PK\3\4", "zip"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!", "RAR"),
    (0, b"version https://git-lfs", "LFS"),
    (0, b"\0\5\x16\7", "AppleDouble"),
    (0, b"ID3", "sound"),
    (0, b"OggS", "sound"),
    (0, b"fLaC", "sound"),
)
RIFF = {b"WEBP": "WEBP", b"AVI ": "AVI", b"WAVE": "sound"}
MARKUP = re.compile(
    rb"(?:<\?xml.*?\?>|<!--.*?-->|<!doctype (?!html)[^>]*>|\s)*+<(!doctype\s+html|\w[\w:]*)", re.I | re.S
)


def has_package(name: str) -> bool:
    """Whether a package of an extra is installed."""
    return find_spec(name) is not None


def is_image_name(path: Path) -> bool:
    """Whether a file has the suffix of an image format that can be read."""
    suffix = path.suffix.lower()
    return suffix in FORMATS or (suffix in READ_ONLY and KIND_OF_SUFFIX[suffix].is_read)


def kind_of_name(path: Path) -> FileKind | None:
    """Return the kind of a file by its suffix; None if it is unknown.

    >>> kind_of_name(Path("holiday.HEIC")).name, kind_of_name(Path("holiday.txt"))
    ('a HEIC photo', None)
    """
    return KIND_OF_SUFFIX.get(path.suffix.lower())


def kind_of_file(path: Path) -> FileKind | None:
    """Return the kind of a file by its first bytes; camera raw files based on TIFF are recognised by their suffix.

    Raises UserError if the file is missing, cannot be read or is not a regular file.
    """
    with open_regular(path) as file:
        return kind_of_bytes(file.read(HEAD_BYTES), path.suffix)


def kind_of_bytes(head: bytes, suffix: str = "") -> FileKind | None:
    """Return the kind of a file by its first bytes and, for camera raw files based on TIFF, its suffix.

    >>> kind_of_bytes(b"GIF89a").name
    'a GIF file'
    >>> kind_of_bytes(b"<!DOCTYPE html><html>").name
    'an HTML page'
    """
    name = next((kind for at, magic, kind in MAGIC if head.startswith(magic, at)), None)
    if head[4:8] == b"ftyp":
        name = _kind_of_brands(head)
    elif head[:4] == b"RIFF":
        name = RIFF.get(head[8:12])
    elif name == "TIFF" and KIND_OF_SUFFIX.get(suffix.lower()) is KINDS["raw"]:
        name = "raw"
    elif name is None:
        name = _kind_of_text(head)
    return KINDS.get(name or "")


def _kind_of_brands(head: bytes) -> str:
    """Return the kind of an ISO base media file by its major and its compatible brands (ISO/IEC 14496-12, 4.3)."""
    size = min(int.from_bytes(head[:4]), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))]
    if brands[0] in (b"mif1", b"msf1", b"miaf"):
        brands = [brand for brand in brands if brand in AVIF_BRANDS | HEIC_BRANDS] or [b"mif1"]
    kinds = {b"crx ": "raw", b"qt  ": "MOV", b"mif1": "HEIF", b"avci": "HEIF", b"jxl ": "JPEG XL"}
    if brands[0] in AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands[0] in HEIC_BRANDS else kinds.get(brands[0], "MP4")


def _kind_of_text(head: bytes) -> str | None:
    if re.match(rb"P[1-7Ff]\s", head):
        return "Netpbm"
    if found := MARKUP.match(head.removeprefix(b"\xef\xbb\xbf")):
        word = found[1].lower().split(b":")[-1]
        return "SVG" if word == b"svg" else "HTML" if word.endswith(b"html") else "XML"
    return None
