"""The settings of the training loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tfmlc.config import Config
from tfmlc.runtime.device import TrainingPrecision

Decay = Annotated[float, Field(ge=0, lt=1)]


class LoopConfig(Config):
    """The settings of the loop. They do not depend on what is trained."""

    steps: int = Field(default=20_000, ge=1, description="number of optimiser steps")
    batch_size: int = Field(default=8, ge=1, description="images per step, over all processes")
    accumulate: int = Field(
        default=1, ge=1, description="number of parts into which each process splits its batch, to save memory"
    )
    optimiser: Literal["adam", "muon"] = Field(
        default="adam", description="adam or muon; muon learns faster from random weights"
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="highest learning rate, after the warm-up")
    final_learning_rate: float = Field(default=1e-6, ge=0, description="lowest learning rate, at the end of the cosine")
    warmup_steps: int = Field(default=200, ge=0, description="steps in which the learning rate rises from zero")
    betas: tuple[Decay, Decay] = Field(default=(0.9, 0.99), description="decay rates of Adam's two averages")
    gradient_clip: float = Field(
        default=0.5, gt=0, description="largest norm of the gradient; larger gradients are scaled down"
    )
    ema_decay: float = Field(
        default=0.999, ge=0, lt=1, description="decay of the averaged weights, which are the result; 0: no averaging"
    )
    precision: TrainingPrecision = Field(
        default="auto", description="precision of the computation; auto: bf16 if the machine computes fast in it"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA if there is a GPU")
    workers: int = Field(default=1, ge=0, description="number of processes that load data")
    save_every_steps: int = Field(default=250, ge=1, description="steps between two saved states")
    trackers: list[Literal["tensorboard", "wandb"]] = Field(
        default=["tensorboard"], description="tools that log the run"
    )
    seed: int = Field(default=0, ge=0, description="seed of everything random but prepared pairs")
