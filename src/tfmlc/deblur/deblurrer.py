"""Deblurrer: any image in, the same kind of image out, in tiles that fit the memory there is."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tfmlc.deblur.guard import SPARSE, Thumbnail
from tfmlc.deblur.modes import from_array, to_array
from tfmlc.deblur.tiling import Tile, spans
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import tensors_sha256
from tfmlc.io.images import check_range
from tfmlc.io.weights import find_model
from tfmlc.networks import Network, load_network
from tfmlc.runtime.device import Precision, autocast, fast_precision

OVERLAP_PX = 64
LARGEST_TILE_PX = 1024
MOST_TILE_BYTES = 1 << 30  # on a CPU larger tiles are no faster, and a 50-megapixel photo shall run in 4 GB
ARRAYS = ("uint8", "uint16")
UNRELIABLE = "the result does not look like the input: do not trust it"
ROWS = 64  # that are converted from floats at a time
Area = tuple[slice, slice]
SPARSELY: Area = (slice(None, None, SPARSE), slice(None, None, SPARSE))
OnTile = Callable[[int, int], None]
OnUnreliable = Callable[[str], None]


class UnreliableResultWarning(UserWarning):
    """The restored image, shrunk, does not look like the input."""


def _warn(text: str) -> None:
    warnings.warn(text, UnreliableResultWarning, stacklevel=4)  # of the line that called the deblurrer


class Deblurrer:
    """Restores blurry images of any size with a network, tile by tile.

    ``device``: ``"auto"`` (cuda, mps, cpu), or a torch device name. ``precision``: ``"auto"`` takes bf16 where
    the device is fast at it, else fp32. ``tile_px``: side of a tile in px, ``None`` chooses it from the
    free memory, 0 does not tile. ``overlap_px``: how much neighbouring tiles share. The network is moved to the device
    and otherwise left as it is: it may be one that is being trained. No gradient passes.

    >>> import numpy as np
    >>> deblur = Deblurrer.load("default")
    >>> deblur(np.zeros((30, 50, 3), np.uint8)).shape
    (30, 50, 3)
    """

    def __init__(
        self,
        network: Network,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        tile_px: int | None = None,
        overlap_px: int = OVERLAP_PX,
    ) -> None:
        self.device = choose_device(device)
        self.precision: Literal["fp32", "bf16"] = fast_precision(self.device) if precision == "auto" else precision
        self.network = network
        self.network.to(device=self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if tile_px and tile_px < network.size_multiple:
            raise UserError(f"tile of {tile_px} px is smaller than the network's step of {network.size_multiple} px")
        self.tile_px, self.overlap_px = tile_px, overlap_px

    @classmethod
    def load(cls, model: str | Path = "default", **options: Any) -> Deblurrer:
        """A deblurrer with a model by name (``"default"`` ships with the package) or from a weights file."""
        return cls(load_network(find_model(model)), **options)

    @cached_property
    def fingerprint(self) -> str:
        """What an image is restored with, in 16 hexadecimal digits: the weights' values, precision and tiling.

        The same for the same model under another name; a tile that is chosen from the free memory counts as one.
        """
        settings = (tensors_sha256(self.network.state_dict()), self.precision, self.tile_px, self.overlap_px)
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    def __call__(self, image: Any, *, on_tile: OnTile | None = None, on_unreliable: OnUnreliable = _warn) -> Any:
        """Restore an image; the answer has the type, size and depth of what came in.

        Takes a torch float tensor ``b 3 h w`` or ``3 h w`` in [0, 1], a uint8 or uint16 array ``h w c`` or ``h w``
        (c: grey, grey and alpha, RGB, RGB and alpha), or a PIL image: of 8 bits, of 16 (modes ``I;16`` and ``I``), or
        float in [0, 1] (mode ``F``). Other modes of 8 bits become the next of grey and RGB; what a PIL image has in
        ``info`` stays. Alpha is handed through. ``on_tile`` is called with the tiles done and in all, ``on_unreliable``
        with a sentence where the result is unreliable; without it an UnreliableResultWarning is given. Threads pass it,
        because warnings belong to the process. Raises UserError for anything else.
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
                    f"an image array is uint8 or uint16 h w c; this one is {array.dtype} {array.shape}: "
                    "scale it to one of these, or give a tensor b 3 h w in [0, 1]"
                )
            return self.restore_pixels(array, on_tile=on_tile, on_unreliable=on_unreliable)
        raise UserError(f"a deblurrer takes torch tensors, numpy arrays and PIL images, not {type(image).__name__}")

    def _restore_tensor(self, image: Tensor, on_tile: OnTile | None, on_unreliable: OnUnreliable) -> Tensor:
        batch = image[None] if image.dim() == 3 else image
        if batch.dim() != 4 or batch.shape[1] != 3 or not image.is_floating_point():
            raise UserError(f"an image tensor is float b 3 h w; this one is {image.dtype} {tuple(image.shape)}")
        if not batch.numel():
            raise UserError(f"an image has at least one pixel; this one is {tuple(image.shape)}")
        low, high = (float(value) for value in torch.aminmax(batch.detach()))
        if not (low >= -0.01 and high <= 1.01):
            raise UserError(
                f"an image tensor has values in [0, 1]; this one has {low:.3g} to {high:.3g}: scale it first"
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
        """Restore the pixels of a file as ``read_image`` gives them: uint8, uint16 or float32 in [0, 1], ``h w c``.

        As calling the deblurrer, which takes no float arrays, for these often have another range. It works in bands of
        rows, so that of a large image no whole copy in floats is made. Raises UserError for other arrays.
        """
        pixels = image[..., None] if image.ndim == 2 else image
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or str(pixels.dtype) not in (*ARRAYS, "float32"):
            raise UserError(f"an image array is uint8 or uint16 h w c; this one is {image.dtype} {image.shape}")
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
        """Bands of restored rows from top to bottom, each with the number of its first row: float RGB ``3 h w``.

        ``read`` gives the values of an area, ``c h w`` in [0, 1]. Two rows of tiles are held at most.
        """
        height, width = size
        if not height or not width:
            raise UserError(f"an image has at least one pixel; this one is {height} x {width}")
        tile_px, overlap_px = self._tiling(height, width)
        rows, columns = (spans(side, tile_px, overlap_px, self.network.size_multiple) for side in (height, width))
        begun, start, done = torch.zeros(3, 0, width, dtype=torch.float32, device="cpu"), 0, 0
        for row, stop in zip(rows, [*(row.start for row in rows[1:]), height], strict=True):
            band = torch.zeros(3, row.stop - start, width, dtype=torch.float32, device="cpu")
            band[:, : begun.shape[1]] = begun
            for column in columns:
                tile = Tile(row, column)
                restored = self._run(read(tile.area).expand(3, -1, -1)[None])[0]
                band[:, row.start - start :, column.start : column.stop] += restored * tile.weights
                done += 1
                if on_tile is not None:
                    on_tile(done, len(rows) * len(columns))
            yield start, band[:, : stop - start]
            begun, start = band[:, stop - start :], stop

    @torch.inference_mode()
    def _run(self, blurry: Tensor) -> Tensor:
        """Run the network on one tile; where reduced precision gives values that are not finite, in full.

        So are tiles that are one cell wide inside the network: PyTorch's bf16 convolutions of them on a CPU are wrong.
        """
        narrow = blurry.shape[-1] <= self.network.size_multiple
        dtype = next((value.dtype for value in self.network.parameters()), torch.float32)
        blurry = blurry.to(self.device, dtype, memory_format=torch.channels_last)
        for precision in ("fp32",) if narrow else (self.precision, "fp32"):
            with _evaluating(self.network), autocast(self.device, precision):
                restored = cast(Tensor, self.network(blurry)[-1]).float()
            if bool(torch.isfinite(restored).all()):
                return restored.cpu()
        raise UserError(
            "the network gives values that are not finite: its weights do not fit this image, or are damaged"
        )

    def _tiling(self, height: int, width: int) -> tuple[int, int]:
        """Side of a tile and overlap, in px; a side as long as the image means one tile."""
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


@contextmanager
def _evaluating(network: Network) -> Generator[None]:
    """Evaluation mode for one pass; a network in training goes on training."""
    training = network.training
    if training:
        network.eval()
    try:
        yield
    finally:
        if training:
            network.train()


def choose_device(device: str) -> torch.device:
    """``"auto"``: cuda, then mps, then cpu; otherwise the device named, which must be there."""
    if device == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(name)
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device {device!r} is not usable here; leave it out, or use cpu") from error
    return chosen


def largest_tile_px(bytes_per_px: float, device: torch.device) -> int:
    """Side of the largest square tile whose features fit into half of the free memory."""
    if device.type == "cuda":
        budget = torch.cuda.mem_get_info(device)[0] / 2
    else:
        budget = min(psutil.virtual_memory().available / 2, MOST_TILE_BYTES)
    return min(int((budget / bytes_per_px) ** 0.5), LARGEST_TILE_PX)
