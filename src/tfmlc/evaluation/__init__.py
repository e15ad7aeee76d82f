"""Evaluation of models: scores of datasets, tables, reports and diagnosis of losses."""

from tfmlc.metrics import PROTOCOLS, score

__all__ = ["PROTOCOLS", "score"]
