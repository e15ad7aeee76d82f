"""Former name of ``tfmlc.data.datasets.pairs``."""

from tfmlc.data.datasets.pairs import Pair, check_pairs, find_pairs, read_pair

__all__ = ["Pair", "check_pairs", "find_pairs", "read_pair"]
