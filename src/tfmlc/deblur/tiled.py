"""A network that runs over the tiles of an image, band by band, so that a large image fits into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tfmlc.deblur.inference import run_network
from tfmlc.deblur.tiling import Tile, largest_tile_px, spans
from tfmlc.errors import UserError
from tfmlc.networks import Network

ROWS = 64  # so many rows are converted from floats at a time
Area = tuple[slice, slice]
Pixels = NDArray[Any]
OnTile = Callable[[int, int], None]


class TiledNetwork:
    """A network, where it runs, and how an image is cut into tiles; ``Deblurrer`` says what the settings mean."""

    network: Network
    device: torch.device
    precision: Literal["fp32", "bf16"]
    tile_px: int | None
    overlap_px: int
    best: bool

    def tile_for(self, height: int, width: int) -> int:
        """Return the side of the tiles of an image with the memory that is free now, in px; 0 for the whole image."""
        tile, _ = self._tiling(height, width)
        return 0 if tile >= max(height, width) else tile

    def restore_tiles(self, pixels: Pixels, on_tile: OnTile | None) -> Pixels:
        """Restore an image ``h w c``, uint8, uint16 or float32; the result is not checked. Alpha is kept."""
        is_float = pixels.dtype == np.float32
        top = 1 if is_float else int(np.iinfo(pixels.dtype).max)
        colours = 1 if pixels.shape[2] <= 2 else 3

        def read(area: Area) -> Tensor:
            part = pixels[(*area, slice(colours))].astype(np.float32)
            return torch.from_numpy(part).permute(2, 0, 1) * (1 / top)

        answer = np.empty_like(pixels)
        for start, band in self._bands(read, pixels.shape[:2], on_tile):
            for row in range(0, band.shape[1], ROWS):
                rows = slice(start + row, start + min(row + ROWS, band.shape[1]))
                values = band[:, row : row + ROWS].clamp(0, 1).mul(top)
                values = values if is_float else values.round()
                if colours == 1:
                    values = values.mean(dim=0, keepdim=True)
                    values = values if is_float else values.round()
                answer[rows, :, :colours] = values.permute(1, 2, 0).numpy().astype(pixels.dtype)
                answer[rows, :, colours:] = pixels[rows, :, colours:]
        return answer

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
