"""Evaluation: scores of models on datasets, tables and reports, and diagnosis of losses."""

from tfmlc.metrics import PROTOCOLS, score

__all__ = ["PROTOCOLS", "score"]
