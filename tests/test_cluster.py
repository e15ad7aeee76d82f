"""A cluster gives the bytes of the plain run, whatever happens to its workers."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from typer.testing import CliRunner

from conftest import gentle, make_photo
from tfmlc.cli import app
from tfmlc.data.synthesis.sets import SetConfig, synthesize
from tfmlc.deblur.batch import plan_batch, run_batch
from tfmlc.deblur.clustered import Make, run_on_cluster
from tfmlc.errors import UserError
from tfmlc.evaluation.evaluate import evaluate
from tfmlc.evaluation.sources import RestoreSettings
from tfmlc.io.images import Image, write_image
from tfmlc.networks import build_network, save_network
from tfmlc.runtime.cluster import Cluster, check_answers

PHOTOS = 16
pytestmark = pytest.mark.filterwarnings("default")  # Ray has warnings about itself


def make() -> Make:
    torch.manual_seed(0)
    network = build_network("hinet", width=8, depth=3, normalised_levels=(1, 2))
    gentle(network)
    return Make(network, precision="fp32")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(PHOTOS):
        write_image(folder / f"{number}{('.jpg', '.png', '.tif')[number % 3]}", Image(make_photo(40 + number, 60)))
    (folder / "damaged.png").write_bytes((folder / "1.png").read_bytes()[:200])
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_without_ray_one_line_says_what_to_install(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    said = CliRunner().invoke(app, ["deblur", str(photos), "--ray", "-o", str(photos / "out")])
    assert said.exit_code == 2
    assert "pip install 'tfmlc[ray]'" in said.output.splitlines()[-1]


def test_frames_need_their_neighbours(photos: Path) -> None:
    said = CliRunner().invoke(app, ["deblur", str(photos), "--ray", "--frames", "-o", str(photos / "out")])
    assert (said.exit_code, said.output.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("localhost:1", "no Ray cluster answers at localhost:1 "),
        ("nowhere.invalid:6379", "no Ray cluster answers at nowhere.invalid:6379 "),
        ("ray://head:10001", "the address of a Ray cluster is HOST:PORT, not ray://head:10001"),
    ],
)
def test_an_address_without_a_cluster_is_told_at_once(address: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        check_answers(address)


def test_a_node_that_does_not_start_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def late(*_: object, **__: object) -> None:
        raise Exception("The current node timed out\nduring startup.")

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(UserError, match=r"cannot use the Ray cluster of this machine: .* timed out during startup\."):
        list(Cluster().run(lambda: abs, [1]))


@pytest.fixture(scope="module")
def two_machines(store: Any) -> Iterator[Any]:
    """A cluster of two machines with a core each, as far as Ray can tell; they know the store."""
    utils = pytest.importorskip("ray.cluster_utils")
    import ray

    machine = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = utils.Cluster(initialize_head=True, head_node_args=machine)
    cluster.add_node(**machine)
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def workers() -> list[psutil.Process]:
    processes = psutil.Process().children(recursive=True)
    return [process for process in processes if "MapWorker" in "".join(process.cmdline())]


def kill_one_and_stop_one() -> None:
    killed, slow = workers()
    killed.kill()
    slow.suspend()
    threading.Timer(4.0, slow.resume).start()


@pytest.mark.multiprocess
@pytest.mark.usefixtures("two_machines")
def test_a_killed_and_a_slow_worker_change_nothing(photos: Path, tmp_path: Path) -> None:
    plain = list(run_batch(make()(), plan_batch([photos], tmp_path / "plain")))
    batch = plan_batch([photos], tmp_path / "out")
    outcomes = []
    for outcome in run_on_cluster(Cluster(), make(), batch):
        outcomes.append(outcome)
        if len(outcomes) == 3:
            kill_one_and_stop_one()
    assert sorted(outcome.job.source for outcome in outcomes) == sorted(job.source for job in batch.jobs)
    assert content(tmp_path / "out") == content(tmp_path / "plain")
    assert {outcome.error for outcome in outcomes} == {outcome.error for outcome in plain}
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = list(run_on_cluster(Cluster(), make(), batch))
    assert sum(outcome.done_before for outcome in again) == PHOTOS
    assert {path: path.stat().st_mtime_ns for path in made} == made


@pytest.mark.multiprocess
@pytest.mark.usefixtures("two_machines")
def test_a_bucket_is_done_by_workers_one_of_which_dies(photos: Path, tmp_path: Path, store: Any) -> None:
    store.put(str(photos), "bucket/in", recursive=True)
    list(run_batch(make()(), plan_batch([photos], tmp_path / "plain")))
    count = 0
    for _ in run_on_cluster(Cluster(), make(), plan_batch([Path("s3://bucket/in")], Path("s3://bucket/out"))):
        count += 1
        if count == 3:
            workers()[0].kill()
    assert count == PHOTOS + 1
    made = {Path(name).name: store.cat_file(name) for name in store.find("bucket/out")}
    assert made == content(tmp_path / "plain")


@pytest.mark.multiprocess
@pytest.mark.usefixtures("two_machines")
def test_a_set_is_that_of_processes(photos: Path, tmp_path: Path) -> None:
    config = SetConfig(kind="pairs", images="photos", per_photo=2)
    summaries = [
        synthesize([photos], tmp_path / name, config, workers=cluster)
        for name, cluster in (("plain", None), ("out", Cluster()), ("out", Cluster()))
    ]
    assert [(summary.made, summary.kept) for summary in summaries] == [
        (2 * PHOTOS, 0),
        (2 * PHOTOS, 0),
        (0, 2 * PHOTOS),
    ]
    assert summaries[0].errors == summaries[1].errors
    assert len(summaries[0].errors) == 2  # two versions of the damaged photo
    plain, made = (
        {p.relative_to(d): p.read_bytes() for p in d.rglob("*.*")} for d in (tmp_path / "plain", tmp_path / "out")
    )
    rows = [sorted(files.pop(Path("manifest.jsonl")).splitlines()) for files in (plain, made)]
    assert (made, rows[1]) == (plain, rows[0])


@pytest.mark.multiprocess
@pytest.mark.usefixtures("two_machines")
def test_scores_are_those_of_one_machine(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs"
    for folder in ("blur", "sharp"):
        for number in range(5):
            (pairs / folder).mkdir(parents=True, exist_ok=True)
            write_image(pairs / folder / f"{number}.png", Image(make_photo(64 + number, 70)))
    model = tmp_path / "small.safetensors"
    save_network(model, make().network, origin="a test", licence="CC0-1.0")
    scores: list[dict[str, Any]] = []
    for cluster in (None, Cluster()):
        outputs = {name: tmp_path / f"{name}-{cluster}.json" for name in ("blurry", "small")}
        models = {"blurry": outputs["blurry"], str(model): outputs["small"]}
        settings = RestoreSettings(precision="fp32", save=True, cluster=cluster)
        results = evaluate(models, pairs, metrics=["psnr"], protocols=["gopro-hinet"], restoring=settings)
        rows = {name: result["per_image"] for name, result in results.items()}
        scores.append(
            {name: {key: row | {"seconds": 0} for key, row in images.items()} for name, images in rows.items()}
        )
        assert content(outputs["small"].with_suffix(".images"))
    assert scores[0] == scores[1]


@pytest.mark.multiprocess
@pytest.mark.usefixtures("two_machines")
def test_an_item_that_ends_every_worker_is_told_and_the_others_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> Callable[[int], int]:
        return lambda item: item * item if item != 2 else os.kill(os.getpid(), signal.SIGKILL) or 0

    assert dict(Cluster().run(start, range(5))) == {0: 0, 1: 1, 2: None, 3: 9, 4: 16}
    monkeypatch.setattr("tfmlc.runtime.cluster.MOST_BLOCKS", 2)  # the bad item shares its block with good ones
    assert dict(Cluster().run(start, range(5))) == {0: 0, 1: 1, 2: None, 3: 9, 4: 16}


@pytest.mark.multiprocess
@pytest.mark.usefixtures("two_machines")
def test_what_a_user_can_mend_in_a_worker_is_one_line() -> None:
    def start() -> Callable[[int], int]:
        raise UserError("this machine has no such device")

    with pytest.raises(UserError, match="no such device"):
        list(Cluster().run(start, [1, 2]))
    with pytest.raises(UserError, match="no machine of the Ray cluster has 9 cores"):
        list(Cluster(cores=9).run(start, [1]))


@pytest.mark.multiprocess
def test_a_lost_machine_is_done_without(two_machines: Any) -> None:
    import time

    def start() -> Callable[[int], int]:
        return lambda item: time.sleep(0.3) or item

    done = []
    for item, result in Cluster().run(start, range(12)):
        done.append((item, result))
        if len(done) == 2:
            two_machines.remove_node(two_machines.worker_nodes.copy().pop())
    assert sorted(done) == [(item, item) for item in range(12)]
