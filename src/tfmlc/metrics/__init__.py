"""Metrics and the protocols that say exactly how they are computed."""

from tfmlc.metrics.protocols import PROTOCOLS, score

__all__ = ["PROTOCOLS", "score"]
