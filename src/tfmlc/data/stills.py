"""Former name of ``tfmlc.data.datasets.synthetic``."""

from tfmlc.data.datasets.synthetic import ShakenPhotos, detail, to_tensor

__all__ = ["ShakenPhotos", "detail", "to_tensor"]
