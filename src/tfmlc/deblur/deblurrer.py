"""The deblurrer: runs a network on an image of any type and size, in tiles that fit into memory."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tfmlc.deblur.guard import SPARSE, Thumbnail
from tfmlc.deblur.inference import run_network
from tfmlc.deblur.modes import from_array, to_array
from tfmlc.deblur.tiling import Tile, largest_tile_px, spans
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import tensors_sha256
from tfmlc.io.images import check_range
from tfmlc.io.weights import find_model
from tfmlc.networks import Network, load_network
from tfmlc.runtime.device import Precision, choose_device, fast_precision
from tfmlc.typed import channels_last

OVERLAP_PX = 64
ARRAYS = ("uint8", "uint16")
UNRELIABLE = "the result does not look like the input: do not trust it"
ROWS = 64  # so many rows are converted from floats at a time
Area = tuple[slice, slice]
SPARSELY: Area = (slice(None, None, SPARSE), slice(None, None, SPARSE))
OnTile = Callable[[int, int], None]
OnUnreliable = Callable[[str], None]


class UnreliableResultWarning(UserWarning):
    """The restored image differs from the blurry image even at low resolution."""


def _warn(sentence: str) -> None:
    warnings.warn(sentence, UnreliableResultWarning, stacklevel=4)  # names the line that called the deblurrer


class Deblurrer:
    """Restores blurry images of any size with a network.

    Large images are processed in overlapping tiles. The network is moved to the device and is not changed otherwise,
    so it can be one that is being trained. Gradients are not computed.

    Args:
        network: The network.
        device: ``"auto"`` (cuda, mps or cpu) or the name of a torch device.
        precision: ``"fp32"``, ``"bf16"`` or ``"auto"``, which takes bf16 if the device is fast at it.
        tile_px: The side of a tile in px. None chooses it by the free memory, 0 processes the whole image at once.
        overlap_px: The overlap of neighbouring tiles in px.
        best: Whether to restore each tile in all eight orientations and return the mean (self-ensemble), with twice
            the overlap. It takes eight times as long.

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
        self.tile_px, self.best = tile_px, best
        self.overlap_px = 2 * overlap_px if best else overlap_px

    @classmethod
    def load(
        cls,
        model: str | Path = "default",
        *,
        device: str = "auto",
        precision: Precision = "auto",
        tile_px: int | None = None,
        overlap_px: int = OVERLAP_PX,
        best: bool = False,
    ) -> Deblurrer:
        """Load a deblurrer by the name of a model or from a weights file.

        Args:
            model: A model that ships with the package, such as ``"default"``, or the path of a weights file.
            device: As in the constructor.
            precision: As in the constructor.
            tile_px: As in the constructor.
            overlap_px: As in the constructor.
            best: As in the constructor.

        Returns:
            The deblurrer.

        Raises:
            UserError: If the name is unknown, the file cannot be loaded, or a setting is invalid.
        """
        network = load_network(find_model(model))
        return cls(network, device=device, precision=precision, tile_px=tile_px, overlap_px=overlap_px, best=best)

    def __repr__(self) -> str:
        """Show the network, where it runs and how it is tiled."""
        how = f"device='{self.device}', precision={self.precision!r}, tile_px={self.tile_px}, best={self.best}"
        return f"Deblurrer({self.network.info.name or type(self.network).__name__}, {how})"

    @cached_property
    def fingerprint(self) -> str:
        """A fingerprint of the weights, the precision and the tiling, as 16 hexadecimal digits."""
        settings = (tensors_sha256(self.network.state_dict()), self.precision, self.tile_px, self.overlap_px)
        settings += ("best",) if self.best else ()
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    def tile_for(self, height: int, width: int) -> int:
        """Return the side of the tiles of an image with the memory that is free now, in px; 0 for the whole image."""
        tile, _ = self._tiling(height, width)
        return 0 if tile >= max(height, width) else tile

    def with_tile(self, tile_px: int) -> Deblurrer:
        """Return a deblurrer with the same network and settings, but another side of tiles."""
        other = copy(self)
        other.tile_px = tile_px
        other.__dict__.pop("fingerprint", None)
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
            on_unreliable: Called with a sentence if the result is unreliable. By default an UnreliableResultWarning
                is issued. Use it in threads, because Python's warnings belong to the whole process.

        Returns:
            The restored image, of the same type, size and depth. Alpha and the ``info`` of a PIL image are kept.

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
            read = partial(_part, planes)
            seen = Thumbnail()
            for start, band in self._bands(read, planes.shape[1:], on_tile):
                seen.add(start, band)
                restored[number, :, start : start + band.shape[1]] = band.clamp(0, 1)
            if seen.differs_from(read(SPARSELY)):
                on_unreliable(UNRELIABLE)
        return restored.to(image.device, image.dtype).reshape(image.shape)

    def restore_pixels(
        self, image: NDArray[Any], *, on_tile: OnTile | None = None, on_unreliable: OnUnreliable = _warn
    ) -> NDArray[Any]:
        """Restore the pixels of a file that ``read_image`` read.

        Unlike a call of the deblurrer it also takes float arrays, whose range must be [0, 1]. It works in bands of
        rows, so that a large image is never converted to floats as a whole.

        Args:
            image: The pixels: uint8, uint16 or float32 in [0, 1], ``h w c`` or ``h w``.
            on_tile: As in a call of the deblurrer.
            on_unreliable: As in a call of the deblurrer.

        Returns:
            The restored pixels, of the same type and shape.

        Raises:
            UserError: If the array has another type, shape or range.
        """
        pixels = image[..., None] if image.ndim == 2 else image
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or str(pixels.dtype) not in (*ARRAYS, "float32"):
            raise UserError(f"an image array must be uint8 or uint16 h w c, not {image.dtype} {image.shape}")
        is_float = pixels.dtype == np.float32
        if is_float:
            check_range(pixels)
        top = 1 if is_float else int(np.iinfo(pixels.dtype).max)
        colours = 1 if pixels.shape[2] <= 2 else 3

        def read(area: Area) -> Tensor:
            part = pixels[(*area, slice(colours))].astype(np.float32)
            return torch.from_numpy(part).permute(2, 0, 1) * (1 / top)

        answer, seen = np.empty_like(pixels), Thumbnail()
        for start, band in self._bands(read, pixels.shape[:2], on_tile):
            seen.add(start, band)
            for row in range(0, band.shape[1], ROWS):
                rows = slice(start + row, start + min(row + ROWS, band.shape[1]))
                values = band[:, row : row + ROWS].clamp(0, 1).mul(top)
                values = values if is_float else values.round()
                if colours == 1:
                    values = values.mean(dim=0, keepdim=True)
                    values = values if is_float else values.round()
                answer[rows, :, :colours] = values.permute(1, 2, 0).numpy().astype(pixels.dtype)
                answer[rows, :, colours:] = pixels[rows, :, colours:]
        if seen.differs_from(read(SPARSELY)):
            on_unreliable(UNRELIABLE)
        return answer.reshape(image.shape)

    def _bands(
        self, read: Callable[[Area], Tensor], size: Sequence[int], on_tile: OnTile | None
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield bands of restored rows from top to bottom, float RGB ``3 h w``, each with its first row's number.

        ``read`` returns the values of an area, ``c h w`` in [0, 1]. At most two rows of tiles are in memory.
        """
        height, width = size
        if not height or not width:
            raise UserError(f"an image must have at least one pixel; this one is {height} x {width}")
        tile_px, overlap_px = self._tiling(height, width)
        rows, columns = (spans(side, tile_px, overlap_px, self.network.size_multiple) for side in (height, width))
        begun, start, done = torch.zeros(3, 0, width, dtype=torch.float32, device="cpu"), 0, 0
        for row, stop in zip(rows, [*(row.start for row in rows[1:]), height], strict=True):
            band = torch.zeros(3, row.stop - start, width, dtype=torch.float32, device="cpu")
            band[:, : begun.shape[1]] = begun
            for column in columns:
                tile = Tile(row, column)
                restored = self._restore(read(tile.area).expand(3, -1, -1)[None])[0]
                band[:, row.start - start :, column.start : column.stop] += restored * tile.weights
                done += 1
                if on_tile is not None:
                    on_tile(done, len(rows) * len(columns))
            yield start, band[:, : stop - start]
            begun, start = band[:, stop - start :], stop

    def _restore(self, blurry: Tensor) -> Tensor:
        """Restore one tile, ``1 3 h w``: once, or in the eight orientations of a square."""
        if not self.best:
            return run_network(self.network, blurry, self.device, self.precision)
        mean = torch.zeros_like(blurry, device="cpu")
        for quarters, mirrored in product(range(4), (False, True)):
            turned = blurry.flip(3) if mirrored else blurry
            turned = turned.rot90(quarters, (2, 3))
            restored = run_network(self.network, turned, self.device, self.precision).rot90(-quarters, (2, 3))
            mean += (restored.flip(3) if mirrored else restored) / 8
        return mean

    def _tiling(self, height: int, width: int) -> tuple[int, int]:
        """Return the side and the overlap of tiles in px; with a side as long as the image there is one tile."""
        step = self.network.size_multiple
        whole = -(-max(height, width) // step) * step
        if self.tile_px == 0:
            return whole, 0
        tile = self.tile_px or largest_tile_px(self.network.bytes_per_px, self.device)
        tile = max(tile // step * step, step)
        if tile >= whole:
            return whole, 0
        return tile, min(self.overlap_px, tile // 4)


def _part(planes: Tensor, area: Area) -> Tensor:
    return planes[(slice(None), *area)].float()
