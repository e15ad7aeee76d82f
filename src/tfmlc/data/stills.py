"""Former name of ``tfmlc.data.datasets.synthetic``."""

from tfmlc.data.datasets.pairs import detail
from tfmlc.data.datasets.synthetic import SyntheticPairs as ShakenPhotos
from tfmlc.io.images.tensors import to_tensor

__all__ = ["ShakenPhotos", "detail", "to_tensor"]
