"""Sets of pairs or triplets, made from photos and videos, with a manifest that says how each image was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tfmlc.config import Config
from tfmlc.data.synthesis.blur import BlurConfig
from tfmlc.data.synthesis.making import Made, make_synthetic, make_video
from tfmlc.data.synthesis.manifest import Manifest
from tfmlc.data.synthesis.planning import Kind, folders, plan_synthetic, sort_inputs
from tfmlc.data.synthesis.sheet import write_sheet
from tfmlc.data.synthesis.videos import VideoBlurConfig
from tfmlc.errors import UserError
from tfmlc.io.locks import folder_lock
from tfmlc.io.video import find_videos
from tfmlc.runtime.cluster import LOST, Cluster
from tfmlc.runtime.parallel import call_each
from tfmlc.runtime.progress import Progress


class SetConfig(Config):
    """The settings of a synthesized set."""

    kind: Kind = Field(default="triplets", description="what to make: pairs or triplets")
    images: Literal["photos", "frames"] = Field(
        default="frames", description="what the images in a folder are: single photos, or the frames of a video"
    )
    per_photo: int = Field(default=1, ge=1, description="number of blurry versions of each photo")
    seed: int = Field(default=0, ge=0, description="seed of everything random")
    blur: BlurConfig = Field(default=BlurConfig(), description="blur of photos")
    video: VideoBlurConfig = Field(default=VideoBlurConfig(), description="blur of videos")


@dataclass
class Summary:
    """The result of a run.

    Attributes:
        made: The number of pairs or triplets made.
        kept: The number of pairs or triplets kept from earlier runs.
        remarks: Remarks about the sources.
        errors: The errors of sources that could not be processed.
    """

    made: int = 0
    kept: int = 0
    remarks: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list[str])

    def add(self, made: Made) -> None:
        """Add the result of one photo or video."""
        self.made += sum(bool(row.get("files")) for row in made.rows)
        self.remarks += made.remarks
        self.errors += [made.error] if made.error else []


def synthesize(
    inputs: Iterable[Path], output: Path, config: SetConfig, *, workers: int | Cluster | None = None
) -> Summary:
    """Make a set of pairs or triplets, with a manifest and a contact sheet ``sheet.png``.

    Results of an earlier run with the same settings are kept. If a source cannot be read, it is reported in the
    summary, and the other sources are processed.

    Args:
        inputs: Video files, photos, and folders of either.
        output: The folder of the set.
        config: The settings.
        workers: The number of processes, or a Ray cluster whose workers reach the files by the same paths. None takes
            one process per core.

    Returns:
        The summary.

    Raises:
        UserError: If the folder was made with other settings or sources, or another run is working in it.
    """
    video_blur = config.video.model_copy(update={"levels": 1} if config.kind == "pairs" else {})
    video_paths, photos = sort_inputs(inputs, config.images)
    planned = plan_synthetic(photos, config.per_photo, config.seed, leave_out=output)
    videos = find_videos(video_paths, leave_out=output, of_frames=config.images == "frames")
    names, summary = folders(config.kind, video_blur.levels), Summary()
    settings: dict[str, Any] = {"kind": config.kind, "folders": names}
    settings |= {"blur": config.blur.model_dump(mode="json")} if photos else {}
    settings |= {"video": video_blur.model_dump(mode="json")} if video_paths else {}
    with folder_lock(output):
        manifest = Manifest(output, settings)
        sources = {image.name: image.source for image in planned} | {video.name: video.path for video in videos}
        _check_same_sources(manifest.whole, sources, output, config.seed)
        whole = {row["name"]: row for row in manifest.whole}
        kept = [image for image in planned if whole.get(image.name, {}).get("seed") == list(image.seed)]
        summary.kept = len(kept) + sum("window" in row for row in whole.values())
        synthetic_job = partial(make_synthetic, output=output, names=names, blur=config.blur)
        video_job = partial(make_video, output=output, names=names, config=video_blur, whole=frozenset(whole))
        done = {image.name for image in kept} | _finished(manifest.whole)
        jobs = _jobs(synthetic_job, [(one, one.name, one.source) for one in planned], done)
        jobs |= _jobs(video_job, [(one, one.name, one.path) for one in videos], done)
        for made in _made(jobs, config.kind, workers):
            manifest.add(made.rows)
            summary.add(made)
    summary.errors.sort()
    try:
        write_sheet(output)
    except UserError as error:  # as on a full disk: what failed before is said, too
        summary.errors.append(str(error))
    return summary


def _jobs(
    make: Callable[..., Made], items: Iterable[tuple[Any, str, Path]], done: Container[str]
) -> dict[Callable[[], Made], Path]:
    """Return the jobs of the items, with their names and sources, that are not done, and the source of each."""
    return {partial(make, item): source for item, name, source in items if name not in done}


def _made(jobs: Mapping[Callable[[], Made], Path], kind: Kind, workers: int | Cluster | None) -> Generator[Made]:
    """Run jobs, each of which makes the images of a source; yield what they made, as they are finished."""
    waiting = list(jobs)
    results = workers.call(waiting) if isinstance(workers, Cluster) else call_each(waiting, workers)
    with Progress(kind, len(jobs)) as progress:
        for job, made in results:
            yield made or Made(error=f"{jobs[job]} {LOST}")
            progress.advance()


def _check_same_sources(
    rows: Iterable[Mapping[str, Any]], sources: Mapping[str, Path], output: Path, seed: int
) -> None:
    """Raise UserError if rows of earlier runs have another seed, or are of other sources with the same names."""
    for row in rows:
        if row.get("seed", [seed])[0] != seed:
            raise UserError(f"{output} was made with seed {row['seed'][0]}: use this seed, or another folder")
        source = sources.get(row["name"])
        if source is not None and row.get("source") != str(source):
            raise UserError(
                f"{source} has the same name as {row.get('source')}, from which {output} was made: "
                "rename it, or choose another folder"
            )


def _finished(rows: Iterable[dict[str, Any]]) -> set[str]:
    """Return the names of the videos whose windows are all complete."""
    rows = list(rows)
    windows = Counter(row.get("video") for row in {row["name"]: row for row in rows}.values() if "window" in row)
    return {row["name"] for row in rows if "windows" in row and windows[row["name"]] == row["windows"]}
