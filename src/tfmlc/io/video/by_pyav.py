"""Decoding with PyAV, packet by packet, which shows where a video is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np
from av.error import FFmpegError

from tfmlc.errors import UserError
from tfmlc.io.video.covers import main_video
from tfmlc.io.video.decoding import Damage, Frame, as_file, broken_promise, upright

if TYPE_CHECKING:
    from av.codec import CodecContext
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

BROKEN, HANGS, LOST = "frames are damaged", "frames depend on damaged ones", "frames are missing"
SPARE_FRAMES = 2  # by which a frame count from the duration in the header can be wrong
LONGER = 1.5  # a step of this many usual frame intervals means that a frame is missing
LARGEST_HEADER = 100  # more bytes between two packets are a lost packet


@dataclass(frozen=True)
class Layout:
    """A container format that stores its packets one after the other.

    Attributes:
        header_bytes: The bytes between a packet's position and its data.
        fillers: The first bytes of other things between packets.
        keeps_time: Whether packets store their time. Then a lost packet also leaves a gap in time.
    """

    header_bytes: int
    fillers: tuple[bytes, ...]
    keeps_time: bool


LAYOUTS = {
    "avi": Layout(8, (b"ix", b"JUNK", b"LIST", b"RIFF", b"idx1"), keeps_time=False),
    "matroska": Layout(  # cues, void, tags, attachments, chapters, block additions
        4, (b"\x1c\x53\xbb\x6b", b"\xec", b"\x12\x54\xc3\x67", b"\x19\x41\xa4\x69", b"\x10\x43\xa7\x70", b"\x75\xa1"),
        keeps_time=True,
    ),
}  # fmt: skip


def decode(path: Path, times: list[float]) -> Iterator[Frame | Damage]:
    """Yield the frames of a video file upright, RGB uint8 ``h w 3``, and its damage.

    The time of each frame, in s, is appended to ``times``. Raises UserError if the size of the frames changes.
    """
    for item in decode_stored(path):
        if isinstance(item, Damage):
            yield item
            continue
        times.append(item.time if item.pts is not None else times[-1] if times else 0.0)
        yield upright(np.asarray(item.to_ndarray(format="rgb24"), np.uint8), item)


def decode_stored(path: Path) -> Iterator[VideoFrame | Damage]:
    """Yield the frames of a video file as they are stored, and its damage.

    A frame is damaged if the decoder says so, or if it depends on a damaged frame, up to the next key frame. A lost
    packet is recognised by a hole in the file. At the end the number of frames is compared with the header. Raises
    UserError if the size of the frames changes.
    """
    try:
        container = av.open(as_file(path), metadata_errors="replace")  # a title can be something else than UTF-8
    except (FFmpegError, OSError):
        return
    with container:
        stream = main_video(container)
        if stream is not None and cast("CodecContext | None", stream.codec_context) is not None:
            yield from _Decoding(path, container, cast("VideoStream", stream)).run()


class _Decoding:
    """One pass over a video file."""

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream) -> None:
        self.path, self.container, self.stream = path, container, stream
        self.intra_only = bool(getattr(stream.codec_context.codec, "intra_only", False))
        stream.thread_type = "AUTO"
        if self.intra_only:  # other codecs continue after an error and mark damaged frames
            stream.codec_context.options = {"err_detect": "explode"}
        self.layout = next((layout for kind, layout in LAYOUTS.items() if kind in container.format.name), None)
        self.waits_for_key = False
        self.hole = False
        self.packets, self.end_s = 0, 0.0
        self.last_s: float | None = None  # time of the last good frame
        self.size: tuple[int, int] | None = None

    def run(self) -> Iterator[VideoFrame | Damage]:
        """Yield frames and damage in order."""
        last_stop: int | None = None
        try:
            for packet in self.container.demux():
                if packet.size and packet.pos is not None and self.layout is not None:
                    self.hole |= last_stop is not None and self._is_hole(self.layout, last_stop, packet.pos)
                    last_stop = packet.pos + self.layout.header_bytes + packet.size
                if packet.pts is not None:
                    self.end_s = max(self.end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream.index == self.stream.index:  # flushing packets have no stream_index
                    self.packets += packet.size > 0
                    yield from self._decode(packet)
        except (FFmpegError, OSError) as error:
            yield Damage(f"{BROKEN} ({error.strerror})", self._now())
        if damage := self._promise():
            yield damage

    def _decode(self, packet: Any) -> Iterator[VideoFrame | Damage]:
        try:
            frames: list[VideoFrame] = packet.decode()
        except FFmpegError:
            self.waits_for_key = not self.intra_only
            yield Damage(BROKEN, self._now() if packet.pts is None else float(packet.pts * packet.time_base))
            return
        for frame in frames:
            yield from self._judged(frame)

    def _judged(self, frame: VideoFrame) -> Iterator[VideoFrame | Damage]:
        """Yield a frame if it can be trusted, and before it the frames that are missing."""
        time_s = self._now() if frame.pts is None else frame.time
        if self.hole and self.layout and (not self.layout.keeps_time or self._jumps_to(time_s)):
            self.hole = False
            self.waits_for_key = not self.intra_only
            yield Damage(LOST, time_s)
        if frame.is_corrupt:
            self.waits_for_key = not self.intra_only
            yield Damage(BROKEN, time_s)
        elif self.waits_for_key and not frame.key_frame:
            yield Damage(HANGS, time_s)
        else:
            self.waits_for_key = False
            self.last_s = time_s
            self._check_size(frame, time_s)
            yield frame

    def _check_size(self, frame: VideoFrame, time_s: float) -> None:
        size = (frame.width, frame.height)
        self.size = self.size or size
        if size != self.size:
            before = f"{self.size[0]}x{self.size[1]}"
            raise UserError(f"{self.path} changes from {before} to {size[0]}x{size[1]} at {time_s:.2f} s: cut it there")

    def _now(self) -> float:
        return self.last_s or 0.0

    def _jumps_to(self, time_s: float) -> bool:
        rate = self.stream.average_rate
        return rate is not None and self.last_s is not None and time_s - self.last_s > LONGER / float(rate)

    def _is_hole(self, layout: Layout, stop: int, start: int) -> bool:
        """Whether the bytes from ``stop`` to ``start`` are a packet that could not be read."""
        if start - stop <= LARGEST_HEADER:
            return False
        with self.path.open("rb") as file:
            file.seek(stop)
            between = file.read(8)
        padded = between[1:] if between[:1] == b"\0" else between  # to an even place
        return not padded.startswith(layout.fillers)

    def _promise(self) -> Damage | None:
        """Return the damage if the file has fewer frames than its header says."""
        promised, rate = self.stream.frames, self.stream.average_rate
        if rate and "avi" in self.container.format.name and round(self.end_s * float(rate)) >= promised:
            return None  # AVI counts dropped frames, too
        if promised:
            return broken_promise(self.packets, promised) if self.packets < promised else None
        duration = self.container.duration
        if not (rate and duration and self.packets and "matroska" in self.container.format.name):
            return None  # other formats only estimate the duration
        missing = int((duration / av.time_base - self.end_s) * float(rate))
        return broken_promise(self.packets, self.packets + missing) if missing > SPARE_FRAMES else None
