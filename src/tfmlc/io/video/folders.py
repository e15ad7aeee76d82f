"""Reading the frames of a folder in the order of their numbers, with gaps where numbers are missing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from tfmlc.errors import UserError
from tfmlc.io.images import read_rgb8
from tfmlc.io.video.decoding import Frame, OnBad
from tfmlc.io.video.search import Video

DIGITS = re.compile(r"\d+")


def frame_numbers(names: Sequence[str]) -> list[int | None]:
    """Return the number of each frame: the only number that changes from name to name.

    Raises UserError if the names have different forms, or two names have the same number.

    >>> frame_numbers(["walk_0012.png", "walk_0013.png"]), frame_numbers(["0001_left.png", "0003_left.png"])
    ([12, 13], [1, 3])
    >>> frame_numbers(["GOPR0372_07_00-000047.png", "GOPR0372_07_00-000048.png"]), frame_numbers(["cover.png"])
    ([47, 48], [None])
    """
    stems = [Path(name).stem for name in names]
    kinds = {DIGITS.sub("#", stem): name for stem, name in zip(stems, names, strict=True)}
    if len(kinds) > 1:
        raise UserError(f"mixes names ({', '.join(list(kinds.values())[:3])}): put each video into its own folder")
    counters = list(zip(*([int(digits) for digits in DIGITS.findall(stem)] for stem in stems), strict=True))
    changing = [counter for counter in counters if len(set(counter)) > 1] or counters[-1:]
    if len(changing) > 1:
        raise UserError(
            f"mixes names ({names[0]}, {names[-1]}: several numbers change): put each video into its own folder"
        )
    numbers: list[int | None] = list(changing[0]) if changing else [None for _ in names]
    taken: dict[int | None, str] = {}
    for number, name in zip(numbers, names, strict=True):
        if (other := taken.setdefault(number, name)) != name:
            raise UserError(f"has one frame twice, {other} and {name}: remove one of them")
    return numbers


def read_folder(video: Video, on_bad: OnBad, tell: Callable[[str], None]) -> Iterator[Frame | None]:
    """Yield the frames of a folder, RGB uint8 ``h w 3``, and None for each gap.

    Gaps are missing numbers and, with ``"skip"``, files that cannot be read.
    """
    try:
        numbers = frame_numbers(video.frames)
    except UserError as error:
        raise UserError(f"{video.path} {error}") from error
    order = sorted(zip(numbers, video.frames, strict=True), key=lambda pair: -1 if pair[0] is None else pair[0])
    step = usual_step([number for number, _ in order if number is not None])
    size: tuple[int, ...] | None = None
    before: int | None = None
    for number, name in order:
        if before is not None and number is not None and number > before + step:
            tell(f"{video.path}: frames {before + step} to {number - step} are missing")
            yield None
        before = number
        try:
            frame = read_rgb8(video.path / name)
        except UserError as error:
            if on_bad == "stop":
                raise
            tell(str(error))
            yield None
            continue
        if size is not None and frame.shape != size:
            raise UserError(
                f"{video.path / name} is {frame.shape[1]}x{frame.shape[0]}, the frames before are {size[1]}x{size[0]}"
            )
        size = frame.shape
        yield frame


def usual_step(numbers: Sequence[int]) -> int:
    """Return the usual difference of neighbouring numbers: 1, or n if every n-th frame was kept.

    >>> usual_step([4, 5, 6, 9]), usual_step([0, 10, 20, 40]), usual_step([7])
    (1, 10, 1)
    """
    steps = Counter(after - before for before, after in pairwise(numbers))
    step, count = steps.most_common(1)[0] if steps else (1, 1)
    return step if 2 * count > sum(steps.values()) and all(one % step == 0 for one in steps) else 1
