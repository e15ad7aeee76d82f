"""Trains under FSDP2 on CPUs, which accelerate launch starts on GPUs only: ``sharded_run.py STOP_AT ARGUMENTS...``.

The arguments are a run's folder and settings of the preset smoke.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator, DistributedType
from accelerate.utils import FullyShardedDataParallelPlugin
from torch.distributed.tensor import DTensor

from tfmlc.training.presets import load_recipe
from tfmlc.training.train import train_network

CONFIG = Path(__file__).parents[2] / "examples" / "cluster" / "fsdp2.yaml"
whole_init, whole_prepare = Accelerator.__init__, Accelerator.prepare


def init(self: Accelerator, *arguments: Any, **settings: Any) -> None:
    whole_init(self, *arguments, **settings)
    self.state._shared_state["distributed_type"] = DistributedType.FSDP
    self.state.distributed_type = DistributedType.FSDP
    options = yaml.safe_load(CONFIG.read_text())["fsdp_config"]
    os.environ.update({name.upper(): str(value) for name, value in options.items()})  # as accelerate launch does
    self.state.fsdp_plugin = FullyShardedDataParallelPlugin()
    assert self.state.fsdp_plugin.fsdp_version == 2


def prepare(self: Accelerator, *arguments: Any, **settings: Any) -> Any:
    prepared = whole_prepare(self, *arguments, **settings)
    assert all(isinstance(parameter, DTensor) for parameter in prepared[0].parameters())
    return prepared


if __name__ == "__main__":
    Accelerator.__init__, Accelerator.prepare = init, prepare
    stop_at, folder, *settings = sys.argv[1:]
    train_network(load_recipe("smoke", settings), Path(folder), stop_at=int(stop_at) or None)
