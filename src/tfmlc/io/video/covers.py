"""Covers: images that belong to a video. Matroska holds them as attached files, and MP4 as metadata."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfmlc.io.video.decoding import as_file

if TYPE_CHECKING:
    from av.container import OutputContainer

TYPES = {"mjpeg": ("image/jpeg", "cover.jpg"), "png": ("image/png", "cover.png"), "bmp": ("image/bmp", "cover.bmp")}
"""The media type and the file name of covers that have none, by FFmpeg's name of the codec."""


def is_cover(stream: Any) -> bool:
    """Whether a stream is a cover, which FFmpeg counts as video."""
    from av.stream import Disposition

    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def main_video(container: Any) -> Any:
    """Return the video stream of a file that a player shows; None if it has only covers."""
    best = container.streams.best("video")
    if best is None or not is_cover(best):
        return best
    return next((stream for stream in container.streams.video if not is_cover(stream)), None)


def can_attach(cover: Any) -> bool:
    """Whether the type of a cover is known, which Matroska stores."""
    return "mimetype" in _described(cover) or _codec(cover) in TYPES


def attach(output: OutputContainer, source: Path, cover: Any) -> None:
    """Attach a cover of a video to a new Matroska file, byte for byte."""
    import av

    container: Any = av.open(as_file(source), metadata_errors="replace")  # the other reader must not lose its place
    with container:
        packets = container.demux(container.streams[cover.index])
        content = next((bytes(packet) for packet in packets if packet.size), b"")
    described, (usual_type, usual_name) = _described(cover), TYPES.get(_codec(cover), ("", "cover"))
    name, kind = described.pop("filename", usual_name), described.pop("mimetype", usual_type)
    output.add_attachment(name, kind, content).metadata.update(described)


def _described(cover: Any) -> dict[str, str]:
    return {key.lower(): value for key, value in cover.metadata.items()}


def _codec(cover: Any) -> str:
    return "" if cover.codec_context is None else cover.codec_context.codec.canonical_name
