"""Where an adapter's triplets come from: a synthesized set, or sharp photos that are blurred on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tfmlc.data.datasets.synthetic import SharpCrops
from tfmlc.data.datasets.triplets import Alignment, Augmentation, Triplet, augmented, centred, read_triplet
from tfmlc.data.synthesis.blur import BlurConfig, blur_levels


class TripletSource(Protocol):
    """Triplets by number, each seen differently whenever it is drawn."""

    @property
    def names(self) -> Sequence[str]:
        """The files of the sharp images, one per triplet."""
        ...

    def view(self, row: int, alignment: Alignment, rng: np.random.Generator) -> Tensor:
        """Return an augmented view of a triplet, ``m 3 crop_px crop_px`` in [0, 1], the sharp image first."""
        ...

    def plain(self, row: int) -> Tensor:
        """Return a triplet without augmentation, ``m 3 crop_px crop_px`` in [0, 1]: always the same."""
        ...

    def motion_px(self, row: int) -> float:
        """Return the motion of the strongest blur of a triplet without augmentation, in px."""
        ...


class StoredTriplets:
    """The triplets of a synthesized set.

    Args:
        triplets: The triplets.
        augmentation: The settings of the crops and changes.
    """

    def __init__(self, triplets: Sequence[Triplet], augmentation: Augmentation) -> None:
        self.triplets, self.augmentation = triplets, augmentation
        self.names = [str(triplet.files[0]) for triplet in triplets]

    def view(self, row: int, alignment: Alignment, rng: np.random.Generator) -> Tensor:
        """Return an augmented view of a triplet."""
        images = read_triplet(self.triplets[row], self.augmentation.crop_px)
        return augmented(images, self.augmentation, alignment, rng)

    def plain(self, row: int) -> Tensor:
        """Return the central crops of a triplet's images."""
        return centred(self.triplets[row], self.augmentation.crop_px)

    def motion_px(self, row: int) -> float:
        """Return the motion of the strongest blur of a triplet, in px."""
        return self.triplets[row].motion_px


class SyntheticTriplets:
    """Triplets that are made from sharp photos whenever they are drawn.

    With the alignment ``"independent"``, each image shows another part of the photo under the same motion, as in the
    released code.

    Args:
        photos: The photos.
        count: The number of triplets in an epoch. They take the photos in turn.
        augmentation: The settings of the crops and changes.
        blur: The settings of the blur.
        levels: The number of levels of blur.
        scale: The range of the random factor by which photos are shrunk.

    Raises:
        UserError: If all photos are smaller than a crop.
    """

    def __init__(
        self,
        photos: Sequence[Path],
        count: int,
        augmentation: Augmentation,
        *,
        blur: BlurConfig,
        levels: int,
        scale: tuple[float, float] = (0.4, 1.0),
    ) -> None:
        self.wide_px = augmentation.crop_px + 2 * augmentation.nuisance.shift_px
        self.crops = SharpCrops(photos, self.wide_px, scale, setting="augmentation.crop_px plus twice its shift_px")
        self.augmentation, self.blur, self.levels = augmentation, blur, levels
        self.names = [str(self.crops.photos[row % len(self.crops.photos)]) for row in range(count)]

    def view(self, row: int, alignment: Alignment, rng: np.random.Generator) -> Tensor:
        """Return an augmented view of new images of a photo."""
        if alignment != "independent":
            return augmented(self._draw(row, rng)[0], self.augmentation, alignment, rng)
        factor, blur = self.crops.draw_factor(rng), rng.integers(2**63)  # the images differ in their place alone
        images = [
            self._draw(row, rng, only=member, factor=factor, blur=np.random.default_rng(blur))[0][-1]
            for member in range(self.levels + 1)
        ]
        return augmented(images, self.augmentation, alignment, rng)

    def plain(self, row: int) -> Tensor:
        """Return the middle of images of a photo."""
        margin, side = self.augmentation.nuisance.shift_px, self.augmentation.crop_px
        images = torch.stack(self._draw(row, self._fixed(row))[0])
        return images[..., margin : margin + side, margin : margin + side].float() / 255

    def motion_px(self, row: int) -> float:
        """Return the motion of the strongest blur of a triplet without augmentation, in px."""
        return self._draw(row, self._fixed(row), only=0)[1]

    def _fixed(self, row: int) -> np.random.Generator:
        """Return the source of randomness of a triplet without augmentation."""
        return np.random.default_rng([5, row])

    def _draw(
        self,
        row: int,
        rng: np.random.Generator,
        *,
        only: int | None = None,
        factor: float | None = None,
        blur: np.random.Generator | None = None,
    ) -> tuple[list[Tensor], float]:
        """Return a sharp crop of a photo and its blurred versions, uint8 ``3 wide_px wide_px``, and their motion in px.

        With ``only``, the last image is the one of that number, and no other one is blurred. ``factor`` shrinks the
        photo, and ``blur`` draws the motion; by default both are drawn by ``rng``.
        """
        crop, margin = self.crops.draw(rng, Path(self.names[row]), factor)
        levels = blur_levels(crop, self.blur, blur or rng, levels=self.levels, margin_px=margin, only=only)
        blurry, sharp, record = levels
        return [torch.from_numpy(image).permute(2, 0, 1) for image in (sharp, *blurry)], record.strength_px


class JoinedTriplets:
    """Several sources one after another.

    Args:
        sources: The sources.
    """

    def __init__(self, sources: Sequence[TripletSource]) -> None:
        self.rows = [(source, row) for source in sources for row in range(len(source.names))]
        self.names = [name for source in sources for name in source.names]

    def view(self, row: int, alignment: Alignment, rng: np.random.Generator) -> Tensor:
        """Return an augmented view of a triplet."""
        source, place = self.rows[row]
        return source.view(place, alignment, rng)

    def plain(self, row: int) -> Tensor:
        """Return a triplet without augmentation."""
        source, place = self.rows[row]
        return source.plain(place)

    def motion_px(self, row: int) -> float:
        """Return the motion of the strongest blur of a triplet without augmentation, in px."""
        source, place = self.rows[row]
        return source.motion_px(place)
