"""Scores one can believe: metrics, protocols, evaluation, diagnosis, costs."""

from tfmlc.evaluation.protocols import PROTOCOLS, score

__all__ = ["PROTOCOLS", "score"]
