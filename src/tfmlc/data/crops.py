"""Former name of ``tfmlc.data.datasets.crops``."""

from tfmlc.data.datasets.crops import PairCrops, prepare_crops

__all__ = ["PairCrops", "prepare_crops"]
