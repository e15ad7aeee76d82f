"""The loop in many processes, in parts, under a signal, and on values that are not finite."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tfmlc.errors import OutOfRangeError, UserError
from tfmlc.training.batches import BAD_BATCH
from tfmlc.training.loop import Loop
from tfmlc.training.loop_config import LoopConfig
from tfmlc.training.machine import tracker_settings, writing_logs
from tfmlc.training.presets import load_recipe
from tfmlc.training.state import STATE
from tfmlc.training.task import Task
from tfmlc.training.train import start_network, train_network

SAME = 1e-3
SMOKE = ["loop.steps=6", "loop.batch_size=4", "loop.precision=fp32", "loop.workers=0"]
SMOKE.append("loop.gradient_clip=0.01")  # Adam enlarges the rounding of tiny gradients less
PATIENCE_S = 300


class Numbers:
    """Item ``i`` is a small vector and what a line makes of it."""

    def __init__(self, broken_at: int = -1) -> None:
        self.broken_at = broken_at

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs = torch.randn(4, generator=torch.Generator().manual_seed(index))
        return inputs, inputs.sum()[None] * (float("nan") if index == self.broken_at else 1.0)


def squared(module: nn.Module, batch: Any) -> dict[str, Tensor]:
    return {"loss": (module(batch[0]) - batch[1]).square().mean()}


def line_loop(folder: Path, data: Numbers | None = None, **settings: Any) -> Loop:
    config = LoopConfig(**{"steps": 12, "workers": 0, "precision": "fp32", "trackers": [], **settings})
    torch.manual_seed(0)
    return Loop(Task(nn.Linear(4, 1), squared, data or Numbers()), config, folder).resume()


FEATURES = ["loss.kind=fmlc", "loss.backbone=alexnet", "loss.weights=random", "loss.block=1", "loss.weight=10"]


def relative_difference(one: Path, two: Path, photos: Path) -> float:
    """How far two runs' weights are apart, relative to how far the first came from its start."""
    network = start_network(load_recipe("smoke", [f"data.photos=[{photos}]"]).network)
    start = {name: value.detach() for name, value in network.state_dict().items()}
    weights, others = (load_file(folder / "weights.safetensors") for folder in (one, two))
    assert weights.keys() == others.keys() == start.keys()
    apart, way = (
        torch.cat([(weights[name] - other[name]).flatten() for name in start]).norm() for other in (others, start)
    )
    return float(apart / way)


def test_parts_of_a_batch_give_the_step_of_the_whole(tmp_path: Path, photos: Path) -> None:
    for parts in (1, 2, 4):
        config = load_recipe("smoke", [f"data.photos=[{photos}]", *SMOKE, f"loop.accumulate={parts}"])
        train_network(config, tmp_path / str(parts))
    assert relative_difference(tmp_path / "1", tmp_path / "2", photos) < SAME
    assert relative_difference(tmp_path / "1", tmp_path / "4", photos) < SAME
    with pytest.raises(UserError, match="must be a multiple of 3"):
        train_network(load_recipe("smoke", [f"data.photos=[{photos}]", *SMOKE, "loop.accumulate=3"]), tmp_path / "3")


def in_two_processes(*command: str) -> None:
    """Run a Python command twice at a time, as accelerate launch would on a CPU."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    shared |= {"ACCELERATE_USE_CPU": "true"}
    processes = [
        subprocess.Popen(
            [sys.executable, *command],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            errors = process.communicate(timeout=PATIENCE_S)[1]
            assert process.returncode == 0, errors.decode()
    finally:
        for process in processes:
            process.kill()  # one waits for the other, even where that has failed


@pytest.mark.multiprocess
@pytest.mark.parametrize("loss", [[], FEATURES], ids=["pixels", "features"])
def test_two_processes_give_the_result_of_one(tmp_path: Path, photos: Path, loss: list[str]) -> None:
    """To rounding: sums in another order."""
    settings = [f"data.photos=[{photos}]", *SMOKE, *loss, "loop.device=cpu"]
    train_network(load_recipe("smoke", settings), tmp_path / "one")
    in_two_processes("-m", "tfmlc.cli", "train", "smoke", *settings, "-o", str(tmp_path / "two"))
    assert relative_difference(tmp_path / "one", tmp_path / "two", photos) < SAME


CLUSTER = Path(__file__).parents[2] / "examples" / "cluster"
SRUN = """#!/bin/bash
shift
for node in 0 1; do SLURM_NODEID=$node "$@" & done
wait -n && wait -n
"""


@pytest.mark.multiprocess
@pytest.mark.parametrize("by", ["ddp.yaml", "train.sbatch"])
def test_the_example_of_a_cluster_trains_as_one_process_does(tmp_path: Path, photos: Path, by: str) -> None:
    """The script of Slurm runs with commands that stand for Slurm's, on two nodes with one process each."""
    settings = [f"data.photos=[{photos}]", *SMOKE, "loop.device=cpu"]
    train_network(load_recipe("smoke", settings), tmp_path / "one")
    arguments = ["smoke", *settings, "-o", str(tmp_path / "two")]
    for name, script in (("srun", SRUN), ("scontrol", "#!/bin/sh\necho localhost\n")):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    nodes = {"SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "here", "GPUS_PER_NODE": "1", "MAIN_PORT": port}
    places = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    config = ["--config_file", str(CLUSTER / by), "--num_processes", "2", "--main_process_port", port]
    launch = (
        ["accelerate", "launch", *config, "-m", "tfmlc.cli", "train"] if by == "ddp.yaml" else ["bash", CLUSTER / by]
    )
    run = subprocess.run(
        [*launch, *arguments],
        env={**os.environ, **nodes, "PATH": places, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()
    assert run.stdout.decode().count("weights: ") == 1  # of the main process
    assert relative_difference(tmp_path / "one", tmp_path / "two", photos) < SAME


@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
def test_a_job_whose_time_is_up_goes_back_into_the_queue(tmp_path: Path) -> None:
    """The commands that stand for Slurm's write down what they are asked for."""
    said = tmp_path / "said"
    srun = f"#!/bin/bash\ntrap 'echo saved >> {said}; exit 143' TERM\necho starts >> {said}\nsleep 60 & wait\n"
    for name, script in (("srun", srun), ("scontrol", f'#!/bin/sh\necho "$@" >> {said}\n')):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    places = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_NODELIST": "here", "SLURM_JOB_ID": "7"}
    job = subprocess.Popen(["bash", CLUSTER / "train.sbatch"], env={**os.environ, **places}, start_new_session=True)
    try:
        while "starts" not in (said.read_text() if said.exists() else ""):
            time.sleep(0.02)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(PATIENCE_S) == 143
    finally:
        os.killpg(job.pid, signal.SIGKILL)
    assert said.read_text().splitlines() == ["show hostnames here", "starts", "saved", "requeue 7"]


@pytest.mark.multiprocess
def test_fsdp_gives_the_result_of_one_process_and_resumes(tmp_path: Path, photos: Path) -> None:
    settings = [f"data.photos=[{photos}]", *SMOKE, "loop.device=cpu", "loop.save_every_steps=3"]
    train_network(load_recipe("smoke", settings), tmp_path / "one")
    script = str(Path(__file__).with_name("sharded_run.py"))
    for stop_at in ("3", "0"):
        in_two_processes(script, stop_at, str(tmp_path / "two"), *settings)
    assert relative_difference(tmp_path / "one", tmp_path / "two", photos) < SAME
    states = [load_file(tmp_path / name / STATE) for name in ("one", "two")]
    assert {key: value.shape for key, value in states[0].items()} == {k: v.shape for k, v in states[1].items()}


@pytest.mark.multiprocess
def test_sigterm_saves_and_the_same_command_goes_on(tmp_path: Path, photos: Path) -> None:
    settings = [f"data.photos=[{photos}]", "loop.steps=400", "loop.save_every_steps=400"]
    command = [sys.executable, "-m", "tfmlc.cli", "train", "smoke", *settings, "-o", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    while not list((tmp_path / "run" / "log").rglob("events*")) and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=PATIENCE_S)[1].decode()
    assert process.returncode == 143
    assert "run the same command to continue" in said
    stopped = line_of(said)
    assert 0 < stopped < 400
    loop = train_network(load_recipe("smoke", settings), tmp_path / "run", stop_at=stopped + 2)
    assert load_file(loop.with_name(STATE))


def line_of(said: str) -> int:
    return int(said.split("stopped by SIGTERM at step ")[1].split(maxsplit=1)[0])


def test_a_batch_that_is_not_finite_is_kept_and_the_state_intact(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not finite \(at step 5\): .*saved in .*bad-batch\.safetensors"):
        line_loop(tmp_path, Numbers(broken_at=5 * 8 + 3), save_every_steps=5).run()
    batch = load_file(tmp_path / BAD_BATCH)
    assert torch.isnan(batch["part0.1"][3]).all()
    assert batch["part0.0"].shape == (8, 4)
    assert line_loop(tmp_path, save_every_steps=5).step == 5
    state = load_file(tmp_path / STATE)
    assert all(bool(torch.isfinite(value).all()) for value in state.values())


class Dies(Numbers):
    """Its process is killed at an item, as the system does where memory runs out."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == 3 * 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


class Refuses(Numbers):
    """Has an item that cannot be read; the error is long, as with long paths."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == 3 * 8:
            raise UserError(f"{'photos/' * 120}a.png is damaged")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.multiprocess)])
def test_an_item_that_cannot_be_read_is_told_in_its_own_words(tmp_path: Path, workers: int) -> None:
    with pytest.raises(UserError) as error:
        line_loop(tmp_path, Refuses(), workers=workers).run()
    assert str(error.value) == f"{'photos/' * 120}a.png is damaged"


@pytest.mark.multiprocess
def test_a_loading_process_that_dies_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a process that loads data died \(.*\): .*workers=0"):
        line_loop(tmp_path, Dies(), workers=1, save_every_steps=1).run()
    assert line_loop(tmp_path, save_every_steps=1).step < 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_logs_on_a_full_disk_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The thread that writes them fails first, and then the run."""

    def write() -> None:
        Path("/dev/full").write_bytes(b"a record")

    def log() -> None:
        with writing_logs(tmp_path):
            thread = threading.Thread(target=write)
            thread.start()
            thread.join()
            write()

    with pytest.raises(UserError, match=r"cannot write the logs in .*: No space left on device; .*loop\.trackers=\[\]"):
        log()
    assert not capsys.readouterr().err


def test_a_loss_that_refuses_its_input_stops_the_run_in_one_line(tmp_path: Path) -> None:
    loop = line_loop(tmp_path)

    def refuse(module: nn.Module, batch: Any) -> dict[str, Tensor]:
        raise OutOfRangeError("restored must lie in [0, 1]; it reaches from -3 to 9")

    loop.objective = refuse
    with pytest.raises(UserError, match=r"from -3 to 9 \(at step 0\): lower loop\.learning_rate.*saved in"):
        loop.run()
    assert (tmp_path / BAD_BATCH).is_file()


def test_fp16_leaves_out_steps_that_overflow(tmp_path: Path) -> None:
    loop = line_loop(tmp_path, precision="fp16", device="cpu", steps=40)
    loop.scaler._init_scale = 2.0**40  # gradients overflow until the scale has come down
    before = [value.clone() for value in loop.plain.parameters()]
    loop.run(stop_at=1)
    assert all(torch.equal(one, two) for one, two in zip(before, loop.plain.parameters(), strict=True))
    loop.run()
    assert loop.scaler.get_scale() < 2.0**40
    assert not any(torch.equal(one, two) for one, two in zip(before, loop.plain.parameters(), strict=True))
    again = line_loop(tmp_path, precision="fp16", device="cpu", steps=40)
    assert again.scaler.get_scale() == loop.scaler.get_scale()


def test_changed_settings_are_listed_and_can_be_forced(tmp_path: Path) -> None:
    line_loop(tmp_path).run(stop_at=4)
    with pytest.raises(UserError, match=r"loop\.batch_size 8 -> 4, loop\.seed 0 -> 1.*--force"):
        line_loop(tmp_path, batch_size=4, seed=1)
    config = LoopConfig(steps=12, workers=0, precision="fp32", trackers=[], batch_size=4)
    assert Loop(Task(nn.Linear(4, 1), squared, Numbers()), config, tmp_path).resume(force=True).step == 4


def test_another_optimiser_can_be_forced(tmp_path: Path) -> None:
    line_loop(tmp_path, optimiser="muon").run(stop_at=4)
    config = LoopConfig(steps=12, workers=0, precision="fp32", trackers=[], optimiser="adam")
    loop = Loop(Task(nn.Linear(4, 1), squared, Numbers()), config, tmp_path).resume(force=True)
    loop.run()
    assert loop.step == 12


def test_runs_of_folders_with_one_name_have_ids_of_their_own(tmp_path: Path) -> None:
    folders = [tmp_path / "one" / "run", tmp_path / "two" / "run"]
    ids = [tracker_settings(folder, ["wandb"])["wandb"]["id"] for folder in folders]
    assert ids[0] != ids[1]
    assert tracker_settings(folders[0], ["wandb"])["wandb"]["id"] == ids[0]
    assert tracker_settings(tmp_path / "three", ["tensorboard"]) == {}


def test_no_gpu_where_one_is_asked_for(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match=r"loop\.device=cuda, but torch finds no GPU"):
        line_loop(tmp_path, device="cuda")


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfmlc.training.machine.find_spec", lambda _: None)
    with pytest.raises(UserError, match="names wandb, which is not installed: pip install wandb"):
        line_loop(tmp_path, trackers=["wandb"])
