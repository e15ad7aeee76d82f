"""Small videos made for the tests, with PyAV."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.packet import Packet
from av.video.frame import VideoFrame

from conftest import make_photo

os.environ.setdefault("SVT_LOG", "1")
SOUND_RATE = 48_000


@dataclass(frozen=True)
class Clip:
    """What a test video is like; ``pts`` are in ticks of 1/12800 s, one frame each."""

    width: int = 64
    height: int = 48
    pts: Sequence[int] = tuple(range(0, 10 * 512, 512))
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    colours: tuple[int, int, int, int] = (1, 1, 1, 1)  # range, primaries, transfer, matrix
    sound: str | None = "aac"
    subtitles: str | None = None
    rotation: float | None = None
    cut_at: int | None = None
    interlaced: bool = False


def write_clip(path: Path, clip: Clip | None = None) -> Path:
    """Write a panning view; with ``cut_at`` another scene begins there."""
    clip = clip or Clip()
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(clip.codec, rate=25, options=_options(clip))
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, clip.pix_fmt
        context = stream.codec_context
        stream.time_base = Fraction(1, 12_800)
        context.time_base = Fraction(1, 25) if clip.codec.startswith(("mpeg1", "mpeg2")) else stream.time_base
        context.color_range, context.color_primaries, context.color_trc, context.colorspace = clip.colours
        if clip.rotation is not None:
            stream.set_display_rotation(clip.rotation)
        sound: Any = container.add_stream(clip.sound, rate=SOUND_RATE) if clip.sound else None
        if clip.sound == "wmav2":
            sound.bit_rate = 128_000  # it has no default
        texts: Any = container.add_mux_stream(clip.subtitles) if clip.subtitles else None
        container.metadata["title"] = "Rome"
        for number, pts in enumerate(clip.pts):
            frame = VideoFrame.from_ndarray(view(clip, number), format="rgb24").reformat(
                format=clip.pix_fmt, dst_color_range=clip.colours[0] or 1
            )
            frame.pts, frame.time_base = pts, Fraction(1, 12_800)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            _add_sound(container, sound, float(max(clip.pts) + 512) / 12_800)
        if texts is not None:
            _add_text(container, texts, clip.subtitles == "mov_text")
    return path


def view(clip: Clip, number: int) -> np.ndarray:
    """The pixels of one frame, RGB."""
    scene = make_photo(clip.height, clip.width + 2 * len(clip.pts))
    if clip.cut_at is not None and number >= clip.cut_at:
        scene = 255 - scene[::-1]
    return np.ascontiguousarray(scene[:, 2 * number : 2 * number + clip.width])


def _options(clip: Clip) -> dict[str, str]:
    options = {
        "libx264": {"crf": "10", "preset": "ultrafast"},
        "libx265": {"x265-params": "log-level=none:bframes=0:lossless=1"},
    }
    chosen = options.get(clip.codec, {"crf": "10"} if clip.codec.startswith("lib") else {})
    return {**chosen, "x264-params": "interlaced=1"} if clip.interlaced else chosen


def _add_sound(container: Any, stream: Any, seconds: float) -> None:
    total, size = int(seconds * SOUND_RATE), 960
    for start in range(0, total, size):
        time = np.arange(start, start + size, dtype=np.float32) / SOUND_RATE
        wave = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
        planar = stream.codec_context.format.is_planar
        kind = "fltp" if planar else "flt"
        samples = np.stack([wave, wave]) if planar else np.stack([wave, wave], 1).reshape(1, -1)
        if stream.codec_context.format.name.startswith("s16"):
            kind, samples = "s16", (samples * 32_767).astype(np.int16)
        frame = AudioFrame.from_ndarray(samples, format=kind, layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _add_text(container: Any, stream: Any, counted: bool) -> None:
    for number, text in enumerate((b"Hello", b"world")):
        content = len(text).to_bytes(2) + text if counted else text
        packet = Packet(content)
        packet.pts = packet.dts = 120 * number
        packet.duration, packet.time_base, packet.stream = 100, Fraction(1, 1000), stream
        container.mux(packet)
