"""XMP packets: single properties are read, changed or added, and every other byte is kept."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, unescape

NAMESPACE = "urn:x-tfmlc:xmp/1.0/"
RESTORED = "restored"
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
QUOTES = {'"': "&quot;", "'": "&apos;"}
VALUE = r"(?P<before>\b{0}\s*=\s*[\"']|<{0}(?:\s[^<>]*)?>)(?P<value>[^<>\"']*)(?P<after>[\"']|</{0}\s*>)"
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def get_property(xmp: bytes, name: str) -> str | None:
    """Return the first value of a simple property, an attribute or an element, by its prefixed name.

    >>> get_property(b'<rdf:Description tiff:Orientation="6"/>', "tiff:Orientation")
    '6'
    """
    found = _value_of(name).search(xmp.decode(_encoding_of(xmp), "replace"))
    return None if found is None else unescape(found["value"], {code: sign for sign, code in QUOTES.items()}).strip()


def set_property(xmp: bytes, name: str, value: str) -> bytes:
    """Replace every value of a simple property; a missing property is not added.

    >>> set_property(b'<rdf:Description tiff:Orientation="6" xmp:Rating="6"/>', "tiff:Orientation", "1")
    b'<rdf:Description tiff:Orientation="1" xmp:Rating="6"/>'
    """
    encoding = _encoding_of(xmp)
    text = xmp.decode(encoding, "surrogateescape" if encoding == "utf-8" else "replace")
    changed = _value_of(name).sub(lambda found: found["before"] + escape(value, QUOTES) + found["after"], text)
    return changed.encode(encoding, "surrogateescape") if encoding == "utf-8" else changed.encode(encoding)


def get_restored(xmp: bytes | None) -> str | None:
    """Return the mark of a restored image in a packet; None if there is none."""
    return None if xmp is None else get_property(xmp, f"tfmlc:{RESTORED}")


def set_restored(xmp: bytes | None, mark: str) -> bytes:
    """Add the mark of a restored image to a packet, or to a new packet if there is none.

    >>> get_restored(set_restored(None, "default"))
    'default'
    """
    if xmp is None:
        xmp = PACKET.encode()
    elif get_restored(xmp) is not None:
        return set_property(xmp, f"tfmlc:{RESTORED}", mark)
    described = f'<rdf:Description rdf:about="" xmlns:tfmlc="{NAMESPACE}" tfmlc:{RESTORED}="{escape(mark, QUOTES)}"/>'
    encoding = _encoding_of(xmp)
    end = xmp.rfind("</rdf:RDF>".encode(encoding))
    if end < 0:  # nobody can read this packet: keep it and append a whole one
        return xmp + PACKET.replace("</rdf:RDF>", f"{described}</rdf:RDF>").encode(encoding)
    return xmp[:end] + described.encode(encoding) + xmp[end:]


def _value_of(name: str) -> re.Pattern[str]:
    return re.compile(VALUE.format(name))


def _encoding_of(xmp: bytes) -> str:
    """Return the encoding of a packet: UTF-8, unless its markup has wider characters (XMP part 1, 7.3)."""
    for encoding in ENCODINGS:
        width = len("x".encode(encoding))
        places = [xmp.find(word.encode(encoding)) for word in ("xmpmeta", "rdf:")]
        if any(place >= 0 and place % width == 0 for place in places):
            return encoding
    return ENCODINGS[0]
