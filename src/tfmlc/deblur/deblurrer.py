"""The deblurrer: runs a network on an image of any type and size, in tiles that fit into memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tfmlc.deblur.guard import CROPS, find_fault
from tfmlc.deblur.inference import NotFiniteError
from tfmlc.deblur.marks import fingerprint_of
from tfmlc.deblur.modes import from_array, to_array
from tfmlc.deblur.strength import network_of
from tfmlc.deblur.tiled import OnTile, Pixels, TiledNetwork
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import tensors_sha256
from tfmlc.io.images import check_range
from tfmlc.networks import Network
from tfmlc.runtime.device import Precision, choose_device, fast_precision
from tfmlc.typed import channels_last

OVERLAP_PX = 64
ARRAYS = ("uint8", "uint16")
OnUnreliable = Callable[[str], None]


class UnreliableResultWarning(UserWarning):
    """A result had a fault, such as a mesh, halos or a wrong part; the input is returned as it is."""


def _warn(sentence: str) -> None:
    warnings.warn(sentence, UnreliableResultWarning, stacklevel=5)  # names the line that called the deblurrer


class Deblurrer(TiledNetwork):
    """Restores blurry images of any size with a network.

    Large images are processed in overlapping tiles. Every result is checked for a mesh, halos, wrong colours and parts
    that do not show the image. A result with a fault is made again in fp32; if that does not help, the image is
    returned as it is. The network is moved to the device and is not changed otherwise, so it can be one that is being
    trained. Gradients are not computed.

    Args:
        network: The network.
        device: ``"auto"`` (cuda, mps or cpu) or the name of a torch device.
        precision: ``"fp32"``, ``"bf16"`` or ``"auto"``, which takes bf16 if the device is fast at it.
        tile_px: The largest side of a tile in px. None chooses it by the free memory, 0 processes the whole image at
            once.
        overlap_px: The overlap of neighbouring tiles in px.
        best: Whether to restore each tile in all eight orientations and return the mean (self-ensemble), with twice
            the overlap. The PSNR is higher, details are softer, and it takes about eight times as long.

    Raises:
        UserError: If the device is not available, or the tile is smaller than the network's size multiple.

    Example:
        >>> deblur = Deblurrer.load("default")
        >>> blurry = np.zeros((30, 50, 3), np.uint8)
        >>> restored = deblur(blurry)
        >>> restored.shape, restored.dtype
        ((30, 50, 3), dtype('uint8'))
    """

    def __init__(
        self,
        network: Network,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        tile_px: int | None = None,
        overlap_px: int = OVERLAP_PX,
        best: bool = False,
    ) -> None:
        self.device = choose_device(device)
        self.precision: Literal["fp32", "bf16"] = fast_precision(self.device) if precision == "auto" else precision
        self.network = network
        channels_last(self.network.to(self.device))
        if tile_px and tile_px < network.size_multiple:
            raise UserError(
                f"a tile of {tile_px} px is smaller than the network's size multiple of {network.size_multiple} px"
            )
        self.tile_px, self.best, self.guarded = tile_px, best, True
        self.overlap_px = 2 * overlap_px if best else overlap_px

    @classmethod
    def load(
        cls,
        model: str | Path | tuple[str | Path, str | Path] = "default",
        *,
        strength: float | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        tile_px: int | None = None,
        overlap_px: int = OVERLAP_PX,
        best: bool = False,
    ) -> Deblurrer:
        """Load a deblurrer by the name of a model or from a weights file.

        Args:
            model: A model that ships with the package, such as ``"default"``, or the path of a weights file. With a
                strength it is ``"default"``, or two models of one form: the one of strength 0 and that of strength 1.
            strength: From 0 (fidelity) to 1 (looks): blends the weights of ``"default-psnr"`` and
                ``"default-perceptual"``, or of the two models. None does not blend.
            device: As in the constructor.
            precision: As in the constructor.
            tile_px: As in the constructor.
            overlap_px: As in the constructor.
            best: As in the constructor.

        Returns:
            The deblurrer.

        Raises:
            UserError: If the name is unknown, the file cannot be loaded, a setting is invalid, or two models cannot be
                blended.

        Example:
            >>> Deblurrer.load("default", strength=0.7).fingerprint != Deblurrer.load("default").fingerprint
            True
        """
        network = network_of(model, strength)
        return cls(network, device=device, precision=precision, tile_px=tile_px, overlap_px=overlap_px, best=best)

    def __repr__(self) -> str:
        """Show the network, where it runs and how it is tiled."""
        how = f"device='{self.device}', precision={self.precision!r}, tile_px={self.tile_px}, best={self.best}"
        return f"Deblurrer({self.network.info.name or type(self.network).__name__}, {how})"

    @cached_property
    def fingerprint(self) -> str:
        """A fingerprint of the weights, the precision and the tiling, as 16 hexadecimal digits."""
        settings = (tensors_sha256(self.network.state_dict()), self.precision, self.tile_px, self.overlap_px)
        settings += (*(("best",) if self.best else ()), *(() if self.guarded else ("unguarded",)))
        return fingerprint_of(*settings)

    def with_tile(self, tile_px: int) -> Deblurrer:
        """Return a deblurrer with the same network and settings, but another side of tiles."""
        return self._with(tile_px=tile_px)

    def unguarded(self) -> Deblurrer:
        """Return a deblurrer with the same settings that also returns results with faults, such as a mesh.

        ``on_unreliable`` is called as usual. Use it to measure what a network does.
        """
        return self._with(guarded=False)

    def _with(self, **settings: Any) -> Deblurrer:
        other = copy(self)
        other.__dict__.pop("fingerprint", None)
        other.__dict__.update(settings)
        return other

    @overload
    def __call__(
        self, image: Tensor, *, on_tile: OnTile | None = None, on_unreliable: OnUnreliable = _warn
    ) -> Tensor: ...
    @overload
    def __call__(
        self, image: NDArray[Any], *, on_tile: OnTile | None = None, on_unreliable: OnUnreliable = _warn
    ) -> NDArray[Any]: ...
    @overload
    def __call__(
        self, image: Image.Image, *, on_tile: OnTile | None = None, on_unreliable: OnUnreliable = _warn
    ) -> Image.Image: ...
    def __call__(self, image: Any, *, on_tile: OnTile | None = None, on_unreliable: OnUnreliable = _warn) -> Any:
        """Restore an image.

        Args:
            image: A float tensor ``b 3 h w`` or ``3 h w`` in [0, 1]; a uint8 or uint16 array ``h w c`` or ``h w``
                (grey, grey and alpha, RGB, or RGB and alpha); or a PIL image with 8 bits, with 16 bits (modes
                ``I;16`` and ``I``) or with floats in [0, 1] (mode ``F``). PIL images of other 8-bit modes are
                converted to grey or RGB.
            on_tile: Called with the number of finished tiles and their total.
            on_unreliable: Called with a sentence if the result has a fault and the image is returned as it is. By
                default an UnreliableResultWarning is issued. Use it in threads, because Python's warnings belong to
                the whole process.

        Returns:
            The restored image, of the same type, size and depth. Alpha and the ``info`` of a PIL image are kept.
            A colour in it that means transparent becomes alpha.

        Raises:
            UserError: If the image has another type, shape or range.
        """
        if isinstance(image, Tensor):
            return self._restore_tensor(image, on_tile, on_unreliable)
        if isinstance(image, Image.Image):
            pixels = self.restore_pixels(to_array(image), on_tile=on_tile, on_unreliable=on_unreliable)
            return from_array(pixels, image)
        if isinstance(image, np.ndarray):
            array = cast("NDArray[Any]", image)
            if str(array.dtype) not in ARRAYS:
                raise UserError(
                    f"an image array must be uint8 or uint16 h w c, not {array.dtype} {array.shape}: "
                    "convert it, or give a tensor b 3 h w in [0, 1]"
                )
            return self.restore_pixels(array, on_tile=on_tile, on_unreliable=on_unreliable)
        raise UserError(f"a deblurrer takes torch tensors, numpy arrays and PIL images, not {type(image).__name__}")

    def _restore_tensor(self, image: Tensor, on_tile: OnTile | None, on_unreliable: OnUnreliable) -> Tensor:
        batch = image[None] if image.dim() == 3 else image
        if batch.dim() != 4 or batch.shape[1] != 3 or not image.is_floating_point():
            raise UserError(f"an image tensor must be float b 3 h w, not {image.dtype} {tuple(image.shape)}")
        if not batch.numel():
            raise UserError(f"an image must have at least one pixel; this one is {tuple(image.shape)}")
        low, high = (float(value) for value in torch.aminmax(batch.detach()))
        if not (low >= -0.01 and high <= 1.01):
            raise UserError(
                f"an image tensor must have values in [0, 1]; this one has {low:.3g} to {high:.3g}: scale it first"
            )
        restored = torch.empty(batch.shape, dtype=torch.float32, device="cpu")
        for number, planes in enumerate(batch.detach()):
            pixels = planes.permute(1, 2, 0).float().cpu().numpy()
            answer = self._restored(pixels, on_tile, on_unreliable)
            restored[number] = torch.from_numpy(answer).permute(2, 0, 1)
        return restored.to(image.device, image.dtype).reshape(image.shape)

    def restore_pixels(
        self,
        image: NDArray[Any],
        *,
        on_tile: OnTile | None = None,
        on_unreliable: OnUnreliable = _warn,
        crops: int = CROPS,
    ) -> NDArray[Any]:
        """Restore the pixels of a file that ``read_image`` read.

        Unlike a call of the deblurrer it also takes float arrays, whose range must be [0, 1]. It works in bands of
        rows, so that a large image is never converted to floats as a whole.

        Args:
            image: The pixels: uint8, uint16 or float32 in [0, 1], ``h w c`` or ``h w``.
            on_tile: As in a call of the deblurrer.
            on_unreliable: As in a call of the deblurrer.
            crops: The number of crops in which meshes and halos are looked for.

        Returns:
            The restored pixels, of the same type and shape.

        Raises:
            UserError: If the array has another type, shape or range.
        """
        pixels = image[..., None] if image.ndim == 2 else image
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or str(pixels.dtype) not in (*ARRAYS, "float32"):
            raise UserError(f"an image array must be uint8 or uint16 h w c, not {image.dtype} {image.shape}")
        if pixels.dtype == np.float32:
            check_range(pixels)
        return self._restored(pixels, on_tile, on_unreliable, crops).reshape(image.shape)

    def _restored(
        self, pixels: Pixels, on_tile: OnTile | None, on_unreliable: OnUnreliable, crops: int = CROPS
    ) -> Pixels:
        """Restore an image ``h w c`` and check the result; a result with a fault is made again in fp32.

        If that does not help, ``on_unreliable`` is called and the image itself is returned.
        """
        why, answer = "", pixels
        for deblurrer in (self, *((self._with(precision="fp32"),) if self.precision != "fp32" else ())):
            try:
                answer = deblurrer.restore_tiles(pixels, on_tile)
            except NotFiniteError as error:
                if not self.guarded:
                    raise
                why = str(error)
            else:
                why = find_fault(pixels, answer, crops)
            if not why or not self.guarded:
                break
        if not why:
            return answer
        on_unreliable(why)
        return pixels.copy() if self.guarded else answer
