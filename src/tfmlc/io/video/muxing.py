"""Joining of encoded frames with the other streams of a video, whose packets are copied byte for byte."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfmlc.errors import UserError
from tfmlc.io.video.covers import attach, can_attach, is_cover, main_video
from tfmlc.io.video.decoding import as_file
from tfmlc.io.video.encoding import CONTAINERS
from tfmlc.io.video.properties import VideoProperties, open_video, with_mark

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

OF_THE_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder")  # metadata that a new file has itself
ALPHA = "alpha_mode"  # metadata that would be wrong of frames without transparency
STATISTICS = ("BPS", "NUMBER_OF_BYTES", "NUMBER_OF_FRAMES", "_STATISTICS_")  # in Matroska, of the packets of a stream
APPLE = "com.apple."  # keys that MP4 and MOV hold only in a metadata atom of their own
IN_APPLE_PLAYERS = "hvc1"  # the tag with which they play HEVC
WITH_EDIT_LISTS = ("mp4", "mov")  # which say where sound starts; elsewhere all of it is played
BEFORE_START = 2  # packets of sound with which a decoder starts
BACK_FRAMES = 3  # by which the times of damaged videos can be out of order


@dataclass(frozen=True)
class Piece:
    """A file with encoded frames, and the time and duration of each in units of the video's time base."""

    path: Path
    times: Sequence[tuple[int, int]]


def check_streams(source: Path, suffix: str) -> list[str]:
    """Check that a container can hold the other streams of a video.

    Args:
        source: The video.
        suffix: The suffix of the container.

    Returns:
        Notes about streams of other kinds and about transparency, which are left out.

    Raises:
        UserError: If the container cannot hold an audio or subtitle stream, or its codec is not known.
    """
    left_out: Counter[str] = Counter()
    with open_video(source) as container:
        chosen = main_video(container)
        for stream in container.streams:
            if stream is chosen or _is_chapters(stream) or _fits(stream, suffix):
                continue
            if stream.type in ("audio", "subtitle"):
                raise _does_not_fit(source, stream, suffix)
            timecode = stream.type == "data" and "timecode" in stream.metadata
            left_out["cover" if is_cover(stream) else "timecode" if timecode else f"{stream.type} stream"] += 1
        transparent = _is_transparent(chosen)
    notes = [f"{count} {kind}{'s are' if count > 1 else ' is'} left out" for kind, count in left_out.items()]
    return [*notes, *(["its transparency is left out"] if transparent else [])]


def not_restored(source: Path, suffix: str) -> list[str]:
    """Return notes about further video streams, as of dash cameras, which are copied and stay blurry.

    Attached images, such as covers, are not meant.
    """
    with open_video(source) as container:
        chosen = main_video(container)
        restored = chosen.index
        others = [
            str(stream.index)
            for stream in container.streams.video
            if stream is not chosen and not is_cover(stream) and _fits(stream, suffix)
        ]
    if not others:
        return []
    copied = f"stream {others[0]} is" if len(others) == 1 else f"streams {', '.join(others)} are"
    return [f"only its video stream {restored} is restored: {copied} copied unchanged"]


def _does_not_fit(source: Path, stream: Any, suffix: str) -> UserError:
    without = (
        f"copy the file without that stream first, for example with "
        f"ffmpeg -i {source.name} -map 0 -map -0:{stream.index} -c copy new{source.suffix}"
    )
    if stream.codec_context is None:
        return UserError(f"{source}: the codec of its {stream.type} stream {stream.index} is not known: {without}")
    codec = stream.codec_context.codec.canonical_name
    others = " or ".join(other for other in CONTAINERS if _fits(stream, other))
    if others:
        remedy = f"use an output in {others}"
    elif stream.type == "audio":
        remedy = f"convert the sound first, for example with ffmpeg -i {source.name} -map 0 -c copy -c:a aac new.mkv"
    else:
        remedy = without
    return UserError(f"{source}: {suffix} cannot hold its {stream.type} stream ({codec}): {remedy}")


def check_clock(video: VideoProperties) -> None:
    """Check that the times of a video do not jump back; its packets are read for that, but no frame is decoded.

    Args:
        video: The properties of the video.

    Raises:
        UserError: If a time is earlier than the one before by more than a few frames.
    """
    from av.error import FFmpegError

    least = round(BACK_FRAMES / video.rate / video.time_base)
    with open_video(video.path) as container, suppress(FFmpegError, OSError):  # the decoder tells of damage
        stream, last = main_video(container), None
        for packet in container.demux(stream):
            if packet.dts is None:
                continue
            if last is not None and packet.dts < last - least:
                raise UserError(
                    f"the clock of {video.path} jumps back at {float(last * video.time_base):.2f} s, as in files that "
                    f"are joined by copying: write it with new times first, for example with "
                    f"ffmpeg -fflags +genpts -i {video.path.name} -c copy new.mkv"
                )
            last = packet.dts


def _is_transparent(stream: Any) -> bool:
    """Whether a video has an alpha channel; that of WebM lies beside the frames, and decoders do not return it."""
    stored = stream.codec_context.format
    in_frames = stored is not None and any(component.is_alpha for component in stored.components)
    return in_frames or any((key.lower(), value) == (ALPHA, "1") for key, value in stream.metadata.items())


def join(video: VideoProperties, pieces: Iterable[Piece], target: Path, suffix: str, mark: str) -> None:
    """Write a video from the pieces of its encoded frames and the other streams of the source.

    Args:
        video: The properties of the source.
        pieces: The pieces in order; there is at least one. They are read one by one.
        target: The new file.
        suffix: The suffix of its container.
        mark: The text of the mark of a restored video.

    Raises:
        UserError: If the new file does not have all frames, or the container refuses a stream.
    """
    from av.error import FFmpegError

    try:
        frames = _join(video, pieces, target, suffix, mark)
    except FFmpegError as error:
        if isinstance(error, OSError):  # the disk, not the container
            raise
        remedy = (
            "use an output in .mkv"
            if suffix != ".mkv"
            else "copy it without its other streams first, for example with "
            f"ffmpeg -i {video.path.name} -map 0:v -map 0:a? -c copy new.mkv"
        )
        raise UserError(
            f"{video.path}: its streams cannot be written to {suffix} ({error.strerror}): {remedy}"
        ) from error
    _check_count(target, frames)


def _join(video: VideoProperties, pieces: Iterable[Piece], target: Path, suffix: str, mark: str) -> int:
    """Write the new file; return how many frames it was given."""
    import av

    piece, *_ = islice(pieces, 1)
    with open_video(video.path) as source, open_video(piece.path) as first:
        metadata = {key: value for key, value in source.metadata.items() if key not in OF_THE_FILE}
        keyed = CONTAINERS[suffix] in ("mp4", "mov") and any(key.startswith(APPLE) for key in metadata)
        options = {"movflags": "use_metadata_tags"} if keyed else {}
        with av.open(as_file(target), "w", format=CONTAINERS[suffix], options=options) as output:
            output.metadata.update(with_mark(metadata, mark))
            output.set_chapters(source.chapters())
            chosen = main_video(source)
            copies: dict[int, Any] = {}
            for stream in source.streams:
                if stream is not chosen and not _fits(stream, suffix):
                    continue
                if is_cover(stream) and CONTAINERS[suffix] == "matroska":
                    attach(output, video.path, stream)
                else:
                    copies[stream.index] = _add(output, first.streams.video[0] if stream is chosen else stream, stream)
            restored = copies.pop(chosen.index)
            restored.time_base = video.time_base
            restored.set_display_matrix(video.display_matrix)
            if restored.codec_context.codec.canonical_name == "hevc" and CONTAINERS[suffix] != "matroska":
                restored.codec_context.codec_tag = IN_APPLE_PLAYERS
            output.start_encoding()
            others = _others(source, copies, cuts=CONTAINERS[suffix] not in WITH_EDIT_LISTS)
            packets = merge(_frames(pieces, restored, video), others, key=_time)
            frames = 0
            for packet in packets:
                frames += packet.stream is restored
                output.mux(packet)
    return frames


def _is_chapters(stream: Any) -> bool:
    """Whether a stream holds the chapters of an MP4 or MOV, which the new file gets by ``set_chapters``."""
    from av.stream import Discard

    return stream.type == "data" and stream.discard == Discard.all and bool(stream.container.chapters())


def _fits(stream: Any, suffix: str) -> bool:
    """Whether a container can hold a copy of a stream: tried, because FFmpeg's own table is not complete."""
    import av
    from av.error import FFmpegError

    if is_cover(stream) and CONTAINERS[suffix] != "mp4":  # as video, they would be a track of one frame, or nothing
        return CONTAINERS[suffix] == "matroska" and can_attach(stream)
    try:
        with av.open(io.BytesIO(), "w", format=CONTAINERS[suffix]) as output:
            added = _add(output, stream, stream)
            output.start_encoding()
            if stream.type == "data":  # a timecode is only refused at the end of a file that has a packet of it
                packet = av.Packet(bytes(4))
                packet.pts, packet.dts, packet.duration, packet.time_base = 0, 0, 1, stream.time_base
                packet.stream = added
                output.mux(packet)
    except (FFmpegError, ValueError):
        return False
    return True


def _add(output: OutputContainer, like: Any, source: Any) -> Any:
    """Add a stream with the encoding of one stream, and with the metadata of the source's stream."""
    added = output.add_stream_from_template(like, opaque=True)
    added.disposition = source.disposition
    old = () if like is source else STATISTICS
    added.metadata.update(
        {
            key: value
            for key, value in source.metadata.items()
            if key.lower() not in ("encoder", ALPHA) and not key.upper().startswith(old)
        }
    )
    return added


def _frames(pieces: Iterable[Piece], stream: Stream, video: VideoProperties) -> Iterator[Packet[Any]]:
    for piece in pieces:
        with open_video(piece.path) as container:
            packets = (packet for packet in container.demux(video=0) if packet.size)
            for packet, (pts, duration) in zip(packets, piece.times, strict=True):
                packet.pts = packet.dts = pts
                packet.duration, packet.time_base, packet.stream = duration, video.time_base, stream
                yield packet


def _others(source: InputContainer, copies: dict[int, Any], *, cuts: bool) -> Iterator[Packet[Any]]:
    """Yield the packets of the other streams; with ``cuts`` without sound that is not to be heard."""
    for packet in source.demux([source.streams[index] for index in copies]) if copies else ():
        if packet.size and not _ends_texts(packet) and not (cuts and _is_cut_off(packet)):
            packet.stream = copies[packet.stream.index]
            yield packet


def _ends_texts(packet: Packet[Any]) -> bool:
    """Whether a packet only ends the last text of an MP4; the new file gets one of its own."""
    return packet.stream.type == "subtitle" and not packet.duration and bytes(packet) == b"\0\0"


def _is_cut_off(packet: Packet[Any]) -> bool:
    """Whether a packet of sound lies before the start that the edit list of an MP4 says.

    The last two before it are not meant: a decoder needs them.
    """
    if packet.stream.type != "audio" or not packet.is_discard or packet.pts is None or not packet.duration:
        return False
    return packet.pts + BEFORE_START * packet.duration <= 0


def _time(packet: Packet[Any]) -> Fraction:
    ticks = packet.dts if packet.dts is not None else packet.pts
    return (ticks or 0) * (packet.time_base or Fraction(1))


def _check_count(path: Path, wanted: int) -> None:
    with open_video(path) as container:
        stream = main_video(container)
        found = sum(packet.size > 0 for packet in container.demux(stream)) if stream is not None else 0
    if found != wanted:
        raise UserError(f"{path.name} holds {found} of {wanted} frames: its disk is damaged or full")
