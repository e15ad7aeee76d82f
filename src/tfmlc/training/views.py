"""The training data of an adapter: augmented views of triplets, or features of such views."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tfmlc.backbones import Backbone
from tfmlc.data.datasets.triplet_sources import TripletSource
from tfmlc.data.datasets.triplets import Alignment
from tfmlc.errors import UserError
from tfmlc.io.files import read_json, write_atomically
from tfmlc.losses.adapter import as_tokens
from tfmlc.runtime.progress import Progress
from tfmlc.training.adapt_config import AdaptConfig

VALIDATED_TOKENS = 256
OTHER_ALIGNMENTS: tuple[Alignment, ...] = ("independent", "nuisance")


class Views:
    """The items that an adapter learns from: augmented images of triplets, or features of such images.

    An item depends on the seed and its index alone. Every epoch takes each triplet once, in a new order. With
    ``config.views`` the features of so many views per triplet are computed first. They are kept in half precision in
    ``folder/features.npy``, and a resumed run uses them again.

    Args:
        triplets: The triplets.
        backbone: The backbone that computes the features.
        config: The settings of the adaptation.
        folder: The folder of the run.
        set_sha256: The sha256 of the triplets' manifest. Features of another set are computed again.
    """

    def __init__(
        self, triplets: TripletSource, backbone: Backbone, config: AdaptConfig, folder: Path, set_sha256: str
    ) -> None:
        self.triplets, self.config, self.set_sha256 = triplets, config, set_sha256
        self.features: NDArray[np.float16] | None = None
        if config.views:
            self.features = self._compute(backbone, folder)

    def __getitem__(self, index: int) -> tuple[Tensor]:
        config, (epoch, place) = self.config, divmod(index, len(self.triplets.names))
        order = np.random.default_rng([config.seed, 1, epoch]).permutation(len(self.triplets.names))
        row = int(order[place])
        if self.features is None:
            rng = np.random.default_rng([config.seed, 2, index])
            return (self.triplets.view(row, config.alignment, rng),)
        members: NDArray[np.float16] = self.features[row, epoch % config.views]
        if config.mode == "token" and members.shape[1] > config.sampled_tokens:
            rng = np.random.default_rng([config.seed, 3, index])
            members = members[:, rng.permutation(members.shape[1])[: config.sampled_tokens]]
        return (torch.from_numpy(members.astype(np.float32)),)

    def _compute(self, backbone: Backbone, folder: Path) -> NDArray[np.float16]:
        config = self.config
        path, note = folder / "features.npy", folder / "features.json"
        info = {
            "backbone": config.backbone,
            "sha256": backbone.info.sha256,
            "settings": config.model_dump(mode="json", include={"block", "alignment", "augmentation", "views", "seed"}),
            "files": list(self.triplets.names),
            "set": self.set_sha256,
        }
        with suppress(UserError, OSError, ValueError, EOFError):  # missing or damaged features are computed again
            if read_json(note) == info:
                return cast("NDArray[np.float16]", np.load(path, mmap_mode="r"))
        folder.mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)  # the features it describes are overwritten next
        made: NDArray[np.float16] | None = None
        count = len(self.triplets.names)
        with Progress("features", count) as progress:
            for row in range(count):
                for view in range(config.views):
                    rng = np.random.default_rng([config.seed, 2, row, view])
                    images = self.triplets.view(row, config.alignment, rng)
                    tokens = features_of(backbone, config, [images])[0]
                    if made is None:
                        shape = (count, config.views, *tokens.shape)
                        made = _new_file(path, shape)
                    made[row, view] = tokens.numpy()
                progress.advance()
        write_atomically(note, json.dumps(info).encode())
        return cast("NDArray[np.float16]", made)


def _new_file(path: Path, shape: tuple[int, ...]) -> NDArray[np.float16]:
    """Make a file of features; raises UserError if the disk has no place. Writing to its pages would end the run."""
    made = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    try:
        if hasattr(os, "posix_fallocate"):
            with path.open("rb+") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink()
        raise UserError(f"cannot write {path}: {error.strerror}; views=0 needs no such file") from error
    return made


def features_of(backbone: Backbone, config: AdaptConfig, members: Sequence[Tensor]) -> Tensor:
    """Compute the features of the images of triplets.

    Args:
        backbone: The backbone.
        config: The settings, which name the block.
        members: The images of each triplet, ``m 3 h w`` in [0, 1].

    Returns:
        The features ``b m n d``, on the CPU.
    """
    with torch.no_grad():
        device = backbone.mean.device
        return torch.stack([as_tokens(backbone(images.to(device), block=config.block)).cpu() for images in members])


def validation_features(backbone: Backbone, config: AdaptConfig, held: TripletSource) -> dict[str, Tensor]:
    """Compute the features of the validation triplets as they are, and for the other alignments.

    Args:
        backbone: The backbone.
        config: The settings of the adaptation.
        held: The validation triplets.

    Returns:
        Features ``b m n d`` by alignment. ``"shared"`` has no random changes.
    """
    rows = range(len(held.names))
    views: dict[str, list[Tensor]] = {"shared": [held.plain(row) for row in rows]}
    for alignment in OTHER_ALIGNMENTS:
        views[alignment] = [held.view(row, alignment, np.random.default_rng([config.seed, 4, row])) for row in rows]
    features = {alignment: features_of(backbone, config, members) for alignment, members in views.items()}
    tokens = features["shared"].shape[-2]
    if config.mode == "token" and tokens > VALIDATED_TOKENS:  # so many tokens are enough for the mean
        chosen = torch.linspace(0, tokens - 1, VALIDATED_TOKENS).long()
        features = {alignment: values[:, :, chosen] for alignment, values in features.items()}
    return features
