"""Deblurring of files and folders by the workers of a Ray cluster: the same jobs as in ``batch``, elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial

from tfmlc.deblur.batch import check_settings, file_restorer, folders_held
from tfmlc.deblur.deblurrer import Deblurrer
from tfmlc.deblur.planning import Batch, Job, Outcome
from tfmlc.deblur.video import VideoSettings
from tfmlc.networks import Network
from tfmlc.runtime.cluster import LOST, Cluster
from tfmlc.runtime.device import Precision
from tfmlc.runtime.progress import Progress


@dataclass(frozen=True)
class Make:
    """Makes a deblurrer on the machine where it is called; the network travels there. Settings as in ``Deblurrer``.

    Attributes:
        network: The network, on the CPU.
        device: The device.
        precision: The precision; ``"auto"`` depends on the machine.
        tile_px: The side of a tile.
        best: Whether all eight orientations are used.
        guarded: Whether results with faults are left out.
    """

    network: Network
    device: str = "auto"
    precision: Precision = "auto"
    tile_px: int | None = None
    best: bool = False
    guarded: bool = True

    def __call__(self) -> Deblurrer:
        """Return the deblurrer."""
        made = Deblurrer(
            self.network, device=self.device, precision=self.precision, tile_px=self.tile_px, best=self.best
        )
        return made if self.guarded else made.unguarded()


def run_on_cluster(
    cluster: Cluster,
    make: Make,
    batch: Batch,
    *,
    video: VideoSettings | None = None,
    again: bool = False,
    allow_large: bool = False,
    least_px: float = 0.0,
) -> Generator[Outcome]:
    """Restore the photos and videos of a batch on a cluster, with one deblurrer per worker.

    Files are skipped, kept and reported as in ``run_batch``, and the results are the same. All workers must reach the
    files by the same paths. A result is written completely or not at all, so that a file whose worker died is made
    again from its start. A file on which several workers died has failed.

    Args:
        cluster: The cluster.
        make: Makes the deblurrer of a worker.
        batch: The plan.
        video: As in ``run_batch``.
        again: As in ``run_batch``.
        allow_large: As in ``run_batch``.
        least_px: As in ``run_batch``.

    Yields:
        The outcome of each file, as they are finished.

    Raises:
        UserError: If the cluster does not answer, another run uses a folder, or ``again`` is used in place.
    """
    settings = video or VideoSettings()
    check_settings(batch, settings, again=again, as_frames=False)
    plan = replace(batch, jobs=())  # the workers need what holds for all jobs
    options = {"again": again, "allow_large": allow_large, "least_px": least_px}
    start = partial(_start, make, partial(file_restorer, batch=plan, video=settings, **options))
    on_gpu = make.device.partition(":")[0] in {"auto", "cuda"}
    with folders_held(batch), Progress("files", len(batch.jobs)) as progress:
        for job, outcome in cluster.run(start, batch.jobs, on_gpu=on_gpu):
            progress.advance()
            yield outcome or Outcome(job, error=f"{job.source} {LOST}")


def _start(make: Make, restorer: Callable[[Deblurrer], Callable[[Job, None], Outcome]]) -> Callable[[Job], Outcome]:
    restore = restorer(make())
    return lambda job: restore(job, None)
