"""Networks of spandrel (extra ``spandrel``): architectures that are not in the table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from tfmlc.errors import UserError
from tfmlc.networks.network import Network
from tfmlc.padding import pad_sides

FLOATS_PER_PX = 1500  # about what transformers for restoration keep in memory


class SpandrelNetwork(Network):
    """A network whose architecture spandrel recognised: one stage, RGB in [0, 1].

    Args:
        descriptor: What spandrel's ``ModelLoader`` returned: an image model that keeps the size of the image.

    Raises:
        UserError: If the model enlarges images, needs a mask, or takes or returns other than three channels.
    """

    def __init__(self, descriptor: Any) -> None:
        self._check(descriptor)
        needs = descriptor.size_requirements
        super().__init__(step=needs.multiple_of, floats_per_px=FLOATS_PER_PX)
        self.smallest_px, self.square = max(needs.minimum, 1), bool(needs.square)
        self.architecture: str = descriptor.architecture.name
        self.model, self._call = descriptor.model, descriptor._call_fn  # spandrel's call is for inference only

    @staticmethod
    def _check(descriptor: Any) -> None:
        name = descriptor.architecture.name
        if descriptor.purpose == "Inpainting":
            raise UserError(f"{name} fills masked areas: it does not deblur")
        if descriptor.scale != 1:
            raise UserError(f"this {name} enlarges images {descriptor.scale} times: give weights that keep the size")
        channels = descriptor.input_channels, descriptor.output_channels
        if channels != (3, 3):
            raise UserError(f"this {name} takes {channels[0]} channels and returns {channels[1]}: RGB needs 3 and 3")

    def forward(self, blurry: Tensor) -> tuple[Tensor, ...]:
        height, width = blurry.shape[-2:]
        least = max(height, width, self.smallest_px) if self.square else self.smallest_px
        padded = pad_sides(blurry, right=max(0, least - width), bottom=max(0, least - height))
        return tuple(stage[..., :height, :width] for stage in super().forward(padded))

    def restore(self, blurry: Tensor) -> tuple[Tensor, ...]:
        return (self._call(self.model, blurry),)


def foreign_network(path: Path, tensors: Mapping[str, Tensor]) -> SpandrelNetwork | None:
    """Build the network of a state dict by spandrel; None if spandrel is not installed or does not know the weights.

    Args:
        path: The file, for messages.
        tensors: The state dict, with the official names of the architecture.

    Returns:
        The network, or None.

    Raises:
        UserError: If spandrel knows the model, but it does not restore RGB images of the same size.
    """
    if find_spec("spandrel") is None:
        return None
    import spandrel

    if find_spec("spandrel_extra_arches") is not None:  # architectures whose licences are restricted
        import_module("spandrel_extra_arches").install(ignore_duplicates=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of older forms of torch's functions
            descriptor: Any = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(tensors))
    except Exception:  # it raises what torch and its architectures raise
        return None
    try:
        return SpandrelNetwork(descriptor)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
