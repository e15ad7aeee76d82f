"""An image that was restored is known again by its file, whatever the format and whatever XMP it had."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from tfmlc.io.images import Image, read_image, restored_mark, write_image
from tfmlc.io.images.xmp import get_property, get_restored, set_property, set_restored

RATED = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"/></rdf:RDF></x:xmpmeta>'
)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".tif", ".bmp"])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("xmp", [None, RATED, b"no XMP at all"])
def test_a_mark_is_found_again(tmp_path: Path, photo: np.ndarray, suffix: str, deep: bool, xmp: bytes | None) -> None:
    path = tmp_path / f"a{suffix}"
    pixels = photo.astype(np.uint16) * 257 if deep else photo
    write_image(path, Image(pixels, xmp=xmp))
    assert restored_mark(path) is None
    write_image(path, Image(pixels, xmp=xmp, restored='default & "more"'))
    assert restored_mark(path) == 'default & "more"'
    back = read_image(path)
    assert back.restored == 'default & "more"'
    assert xmp is None or (back.xmp is not None and xmp[:150] in back.xmp)
    write_image(path, back)
    assert restored_mark(path) == 'default & "more"'


def test_a_bmp_with_a_mark_is_a_bmp_to_others(tmp_path: Path, photo: np.ndarray) -> None:
    path = tmp_path / "a.bmp"
    assert not write_image(path, Image(photo, restored="default"))
    assert int.from_bytes(path.read_bytes()[2:6], "little") == path.stat().st_size
    assert np.array_equal(np.asarray(PIL.Image.open(path)), photo)
    assert np.array_equal(cv2.imread(str(path)), photo[..., ::-1])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_properties_are_changed_in_place(encoding: str) -> None:
    text = (
        "<rdf:RDF><rdf:Description tiff:Orientation = '6' dc:x=\"ä\"><tiff:Orientation>6</tiff:Orientation></rdf:RDF>"
    )
    wanted = text.replace("6", "1").encode(encoding)
    assert set_property(text.encode(encoding), "tiff:Orientation", "1") == wanted
    assert get_property(wanted, "tiff:Orientation") == "1"
    assert get_property(wanted, "xmp:Rating") is None
    assert get_restored(set_restored(wanted, "<default>")) == "<default>"


def test_bytes_that_are_no_text_stay() -> None:
    xmp = b'<rdf:Description dc:x="\xe9\xff" tiff:Orientation="6"/>'
    assert set_property(xmp, "tiff:Orientation", "1") == xmp.replace(b"6", b"1")
