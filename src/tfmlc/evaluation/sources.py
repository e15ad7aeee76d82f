"""The sources of restored images: a network, a folder that another program filled, or the blurry images themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tfmlc.data.datasets.pairs import BlurKind, Pair
from tfmlc.deblur import Deblurrer
from tfmlc.deblur.deblurrer import OnUnreliable
from tfmlc.errors import UserError, different_sizes
from tfmlc.evaluation.identity import files_sha256
from tfmlc.evaluation.official import official_inference
from tfmlc.io.checkpoint import tensors_sha256
from tfmlc.io.images import find_images, read_rgb8
from tfmlc.io.images.tensors import to_tensor
from tfmlc.io.weights import find_model
from tfmlc.networks import Network, load_network
from tfmlc.networks.local_statistics import with_local_statistics
from tfmlc.runtime.cluster import Cluster
from tfmlc.runtime.device import Precision, choose_device

BLURRY, SHARP, TLC = "blurry", "sharp", "+tlc"
Restored = NDArray[Any]
Restore = Callable[[Pair, NDArray[np.uint8], OnUnreliable], Restored]


@dataclass(frozen=True)
class RestoreSettings:
    """How models restore the blurry images.

    Attributes:
        device: ``"auto"`` or the name of a torch device.
        precision: As in ``Deblurrer``.
        tile_px: As in ``Deblurrer``.
        save: Whether to keep the restored images in ``FILE.images``, for a report.
        cluster: The Ray cluster that restores and scores, instead of this machine alone.
        official: Whether to restore as the official code of the network does, in fp32: HINet in crops of 256 px, others
            the whole image. Numbers of papers were made like that. Otherwise the deblurrer restores.
        blur_kind: Only for GoPro: which blurry images are restored, as in ``find_pairs``.
    """

    device: str = "auto"
    precision: Precision = "auto"
    tile_px: int | None = None
    save: bool = False
    cluster: Cluster | None = None
    official: bool = False
    blur_kind: BlurKind = "blur"

    def __post_init__(self) -> None:
        """Raise UserError if the official way is combined with settings that it has not."""
        if self.official and (self.tile_px is not None or self.precision == "bf16"):
            raise UserError("the official way says how images are cut, and runs in fp32: give no tile and no bf16")


DEFAULTS = RestoreSettings()


@dataclass(frozen=True)
class Source:
    """A source of restored images.

    Attributes:
        model: The model, as the user named it.
        info: What the scores file says about the model, such as its fingerprint.
        restore: Returns the restored image of a pair.
        device: The device it runs on.
        files: The files of images that are restored already, by pair.
    """

    model: str
    info: dict[str, Any]
    restore: Restore
    device: str = "cpu"
    files: dict[str, Path] = field(default_factory=dict[str, Path])


def find_source(
    model: str, pairs: Sequence[Pair], settings: RestoreSettings = DEFAULTS, *, floats: bool = False
) -> Source:
    """Return the source for a model's name, a weights file, a folder of restored images, or ``"blurry"``.

    With ``floats`` a network returns float images in [0, 1], without rounding. Raises UserError if the model is
    unknown, or the folder does not have one image per pair.
    """
    if model == BLURRY:
        return Source(model, {"model": BLURRY}, lambda _, blurry, __: blurry)
    if Path(model).is_dir():
        files = _restored_files(Path(model), pairs)
        name = name_in_reports(Path(model).resolve())
        info = {"model": name, "restored_sha256": files_sha256(Path(model), files.values())}
        return Source(model, info, lambda pair, blurry, _: _read_restored(files[pair.name], blurry), files=files)
    plain = model.removesuffix(TLC)
    network = load_network(find_model(plain))
    info: dict[str, Any] = {
        "model": (name_in_reports(Path(plain).absolute()) if Path(plain).exists() else plain) + model[len(plain) :],
        "network": network.info.name,
        "sha256": network.info.sha256 or tensors_sha256(network.state_dict()),
    }
    if model.endswith(TLC):
        network = with_local_statistics(network)
        info["local_statistics"] = True
    if settings.official:
        device = choose_device(settings.device)
        info |= {"precision": "fp32", "tile_px": "official"}
        return Source(model, info, partial(_as_official, network.to(device).eval(), floats=floats), str(device))
    tile_px = settings.tile_px
    deblurrer = Deblurrer(network, device=settings.device, precision=settings.precision, tile_px=tile_px)
    deblurrer = deblurrer.unguarded()  # a result with a fault has scores, too
    info |= {"precision": deblurrer.precision, "tile_px": "auto" if tile_px is None else tile_px}

    def restore(_: Pair, blurry: NDArray[np.uint8], on_unreliable: OnUnreliable) -> Restored:
        if not floats:
            return deblurrer(blurry, on_unreliable=on_unreliable)
        restored: torch.Tensor = deblurrer(to_tensor(blurry), on_unreliable=on_unreliable)
        return np.ascontiguousarray(restored.permute(1, 2, 0).numpy(), np.float32)

    return Source(model, info, restore, str(deblurrer.device))


def _as_official(network: Network, _: Pair, blurry: NDArray[np.uint8], __: OnUnreliable, *, floats: bool) -> Restored:
    device = next(network.parameters()).device
    restored = official_inference(network, to_tensor(blurry)[None].to(device))[0].clamp(0, 1)
    pixels = np.ascontiguousarray(restored.permute(1, 2, 0).cpu().numpy(), np.float32)
    return pixels if floats else np.rint(pixels * 255).astype(np.uint8)


def name_in_reports(path: Path) -> str:
    """Return the name of a model's file or folder; with its parent if reports name the input or the truth like it.

    >>> name_in_reports(Path("/mine/model")), name_in_reports(Path("/mine/sharp"))
    ('model', 'mine/sharp')
    """
    return "/".join(path.parts[-2:]) if path.name in (BLURRY, SHARP) else path.name


def _restored_files(folder: Path, pairs: Sequence[Pair]) -> dict[str, Path]:
    """Return the restored image of each pair; raises UserError if an image is missing or surplus."""
    found: dict[str, Path] = {}
    for path, name in find_images(folder):
        if (twin := found.setdefault(str(name.with_suffix("")), path)) != path:
            raise UserError(f"{twin} and {path} belong to the same pair: remove one of them")
    wanted = {str(Path(pair.name).with_suffix("")): pair for pair in pairs}
    if alone := [name for name in wanted if name not in found]:
        missing = f"{alone[0]}, the restored image for {wanted[alone[0]].sharp}"
        raise UserError(f"{folder} lacks {missing} ({len(alone)} missing in total)")
    if extra := [name for name in found if name not in wanted]:
        raise UserError(f"{found[extra[0]]} belongs to no pair of the dataset ({len(extra)} in total): remove it")
    return {pair.name: found[name] for name, pair in wanted.items()}


def _read_restored(path: Path, blurry: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = read_rgb8(path)
    if image.shape != blurry.shape:
        raise different_sizes(path, image.shape, "its blurry image", blurry.shape)
    return image
