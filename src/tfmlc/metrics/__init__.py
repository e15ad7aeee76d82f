"""Image quality metrics, and protocols that define exactly how a benchmark computes them."""

from tfmlc.metrics.protocols import PROTOCOLS, score

__all__ = ["PROTOCOLS", "score"]
