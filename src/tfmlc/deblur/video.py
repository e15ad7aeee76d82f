"""Deblurring of videos: every frame is restored; times, colours, rotation and the other streams are kept."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from tfmlc.deblur.marks import Mark, content_of, fingerprint_of
from tfmlc.deblur.pieces import FRAMES, Pieces, folder_of
from tfmlc.deblur.temporal import RestoredFrame, check_temporal, smoothed
from tfmlc.errors import UserError, loss_in_place
from tfmlc.io.files import flush, identity, replaced
from tfmlc.io.locks import folder_lock
from tfmlc.io.video.decoding import Damage
from tfmlc.io.video.encoding import CONTAINERS, CodecName, Encoding, choose_encoding, encode
from tfmlc.io.video.muxing import check_clock, check_streams, join, not_restored
from tfmlc.io.video.pixels import from_rgb, to_rgb, with_changes
from tfmlc.io.video.properties import VideoProperties, read_properties
from tfmlc.runtime.parallel import read_ahead

if TYPE_CHECKING:
    from tfmlc.deblur.deblurrer import Deblurrer

CROPS_OF_FRAME = 2  # are checked for meshes and halos
AHEAD = 2  # frames between decoding, restoring and encoding, which run at the same time
OnFrame = Callable[[int, int | None], None]


class NothingRestoredError(UserError):
    """No frame of a video could be restored; ``why`` is the fault of the first."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} was not restored, no frame could be: {why}")
        self.why = why


@dataclass(frozen=True)
class VideoSettings:
    """How videos are written.

    Attributes:
        codec: ``"h264"``, ``"hevc"``, ``"vp9"``, ``"av1"``, or ``"auto"`` for the codec of the video itself.
        quality: The constant rate factor of the codec, lower is better; None takes a value that looks lossless.
        temporal: The strength of the blend of neighbouring frames against flicker, in [0, 1]. At 0.5 a result
            does not flicker more than its source; 0 turns it off.
    """

    codec: CodecName = "auto"
    quality: int | None = None
    temporal: float = 0.5


@dataclass(frozen=True)
class VideoResult:
    """The result of a video.

    Attributes:
        frames: The number of frames.
        before: The mean sharpness of the frames of the source.
        after: The mean sharpness of the restored frames.
        notes: Remarks, for example about damaged frames.
    """

    frames: int
    before: float
    after: float
    notes: tuple[str, ...]


def deblur_video(
    source: str | Path,
    output: str | Path,
    *,
    deblurrer: Deblurrer | None = None,
    settings: VideoSettings | None = None,
    on_frame: OnFrame | None = None,
) -> VideoResult:
    """Deblur a video file.

    Every frame is restored. Timestamps, rotation, colour range, primaries, transfer characteristic, matrix, chapters
    and metadata are kept. The packets of audio and subtitles are copied. If a run is stopped, the same call goes on
    where it was; the result equals that of a run that was not stopped. The output is written completely or not at
    all.

    Args:
        source: The video.
        output: The new video: ``.mp4``, ``.m4v``, ``.mov``, ``.mkv`` or ``.webm``.
        deblurrer: The deblurrer; None loads the default model.
        settings: The codec, its quality and the temporal blend.
        on_frame: Called with the number of finished frames, and their total if the video says it.

    Returns:
        The number of frames, their sharpness, and notes.

    Raises:
        UserError: If the video cannot be read or written, or another run writes the same output.

    Example:
        >>> deblur_video("missing.mp4", "sharp.mp4")
        Traceback (most recent call last):
        tfmlc.errors.UserError: cannot read missing.mp4: no such file or directory
    """
    source, output, settings = Path(source), Path(output), settings or VideoSettings()
    check_output(output)
    check_temporal(settings.temporal)
    video = read_properties(source)
    if identity(source) == identity(output):
        raise UserError(f"{output} is also the source: choose another output")
    if deblurrer is None:
        from tfmlc.deblur.deblurrer import Deblurrer

        deblurrer = Deblurrer.load("default")
    return restore_video(deblurrer, video, output, settings, on_frame)


def check_output(output: Path) -> None:
    """Raise UserError if a file name does not end like a video that can be written."""
    if output.suffix.lower() not in CONTAINERS:
        raise UserError(f"cannot write the video {output}: use a suffix of {' '.join(CONTAINERS)}")


def fingerprint(deblurrer: Deblurrer, settings: VideoSettings) -> str:
    """Return a fingerprint of the weights and all settings, as 16 hexadecimal digits."""
    return fingerprint_of(deblurrer.fingerprint, settings)


def restore_video(
    deblurrer: Deblurrer, video: VideoProperties, target: Path, settings: VideoSettings, on_frame: OnFrame | None
) -> VideoResult:
    """Restore a video; the target may be the source itself. Arguments and errors are those of ``deblur_video``."""
    suffix = target.suffix.lower()
    encoding = choose_encoding(video, suffix, settings.codec, settings.quality)
    streams = check_streams(video.path, suffix)
    notes = [*streams, *not_restored(video.path, suffix), *_changes(video, encoding, suffix)]
    check_clock(video)
    if target == video.path:
        _check_keeps_all(video, streams)
    size = video.path.stat().st_size
    mark = Mark(fingerprint(deblurrer, settings), size, content_of(video.path))
    try:
        with folder_lock(folder_of(target), private=True, result=target):
            plan = {
                "mark": str(replace(mark, content="")),
                "changed": video.path.stat().st_mtime_ns,
                "encoding": asdict(encoding),
            }
            pieces = Pieces(target, plan, lambda: deblurrer.tile_for(video.height, video.width))
            damages: list[Damage] = []
            with _no_traces(pieces):
                _restore(deblurrer.with_tile(pieces.tile_px), video, pieces, encoding, settings, damages, on_frame)
            tally = pieces.tally
            if tally.kept < tally.frames:
                with replaced(target, by_way_of=pieces.folder) as temporary:
                    join(video, pieces, temporary, suffix, str(mark))
                    flush(temporary)  # before the pieces are removed
            pieces.remove()
    finally:
        with suppress(OSError):
            folder_of(target).rmdir()  # it stays while it holds pieces
    if tally.kept == tally.frames:
        raise NothingRestoredError(video.path, tally.why)
    if tally.kept:
        notes.append(f"{tally.kept} of {tally.frames} frames were kept as they were: {tally.why}")
    return VideoResult(
        tally.frames, tally.before / tally.frames, tally.after / tally.frames, (*notes, *_damage_notes(damages))
    )


def _check_keeps_all(video: VideoProperties, streams: Sequence[str]) -> None:
    """Raise UserError if a video cannot replace itself without a loss: no copy of what is lost would be left.

    All frames are decoded first, because damage that was found later would end a long run.
    """
    from tfmlc.io.video.by_pyav import decode_stored

    losses = [*streams, *video.left_out]
    losses = losses or _damage_notes([item for item in decode_stored(video.path) if isinstance(item, Damage)])
    if losses:
        raise loss_in_place(video.path, losses)


@contextmanager
def _no_traces(pieces: Pieces) -> Generator[None]:
    """After an error, remove the folder's content if no piece is finished: there is nothing to go on with."""
    try:
        yield
    except Exception:
        if not pieces.done:
            pieces.remove()
        raise


def _restore(
    deblurrer: Deblurrer,
    video: VideoProperties,
    pieces: Pieces,
    encoding: Encoding,
    settings: VideoSettings,
    damages: list[Damage],
    on_frame: OnFrame | None,
) -> None:
    """Restore the frames after the finished pieces. Decoding, restoring and encoding run at the same time."""
    start = pieces.tally.frames
    context = min(start, 1) if settings.temporal else 0  # the frame before is blended in, too

    def report(done: int) -> None:
        if on_frame is not None:
            on_frame(done, video.frames)

    report(start)
    decoded = read_ahead(_decoded(video, start - context, damages), AHEAD)
    restored = smoothed(map(partial(_restored, deblurrer), decoded), settings.temporal)
    with closing(read_ahead(islice(restored, context, None), AHEAD)) as frames:
        counted = _counted(frames, start, report)
        while (first := next(counted, None)) is not None:
            pieces.add(chain((first,), islice(counted, FRAMES - 1)), partial(_encode, video, encoding))


def _decoded(video: VideoProperties, start: int, damages: list[Damage]) -> Iterator[RestoredFrame]:
    """Yield the frames from a number on, not yet restored; collect the damage of the whole video."""
    from tfmlc.io.video.by_pyav import decode_stored

    usual = max(1, round(1 / video.rate / video.time_base))
    number, last = 0, -usual
    for item in decode_stored(video.path):
        if isinstance(item, Damage):
            damages.append(item)
            continue
        pts = last + usual if item.pts is None else item.pts
        if number and pts <= last:
            pts = last + 1  # two frames at one time: both are kept
        if number >= start:
            pixels = to_rgb(item)
            yield RestoredFrame(pixels, pixels, item, pts, item.duration or usual)
        number, last = number + 1, pts


def _restored(deblurrer: Deblurrer, frame: RestoredFrame) -> RestoredFrame:
    """Return a frame restored; a result with a fault is not used."""
    faults: list[str] = []
    pixels = deblurrer.restore_pixels(frame.blurry, on_unreliable=faults.append, crops=CROPS_OF_FRAME)
    return replace(frame, pixels=pixels, kept=faults[0] if faults and deblurrer.guarded else "")


def _counted(frames: Iterator[RestoredFrame], done: int, report: Callable[[int], None]) -> Iterator[RestoredFrame]:
    for frame in frames:
        yield frame
        done += 1
        report(done)


def _encode(video: VideoProperties, encoding: Encoding, target: Path, frames: Iterable[RestoredFrame]) -> None:
    """Encode frames; if the pixel format stays, only what was restored changes."""
    if encoding.pix_fmt == video.pix_fmt:
        stored = (with_changes(frame.stored, frame.blurry, frame.pixels, video) for frame in frames)
    else:
        stored = (from_rgb(frame.pixels, video, encoding.pix_fmt) for frame in frames)
    encode(target, stored, video, encoding)


def _changes(video: VideoProperties, encoding: Encoding, suffix: str) -> list[str]:
    """Return notes about what the encoding or the container cannot keep."""
    notes: list[str] = []
    if encoding.pix_fmt != video.pix_fmt:
        notes.append(
            f"its pixels are stored as {encoding.pix_fmt}, because {encoding.codec} cannot keep {video.pix_fmt}"
        )
    if CONTAINERS[suffix] in ("matroska", "webm") and (video.time_base * 1000).denominator != 1:
        notes.append(f"times are rounded to 1 ms, the unit of {suffix}")
    if video.left_out:
        notes.append(f"left out: {', '.join(video.left_out)}")
    return notes


def _damage_notes(damages: Sequence[Damage]) -> list[str]:
    """Describe damage in one line for the places with a time, and one for each damage without."""
    timed = [damage for damage in damages if damage.time_s is not None]
    notes = [damage.why for damage in damages if damage.time_s is None]
    if timed:
        notes.insert(0, f"left out between {timed[0].time_s:.2f} s and {timed[-1].time_s:.2f} s: {timed[0].why}")
    return notes
