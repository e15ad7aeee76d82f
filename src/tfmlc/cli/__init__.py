"""The command line: one short function a verb, which imports its step only when called."""

from tfmlc.cli.learning import adapt, reproduce_study, reproduce_table1, reproduce_table2, reproduce_table3, train
from tfmlc.cli.measuring import bench_loss, bench_step, bench_synthesize, evaluate, report
from tfmlc.cli.photos import deblur, models_convert, models_fetch, models_info, models_list
from tfmlc.cli.pictures import synthesize_pairs, synthesize_triplets
from tfmlc.cli.verbs import app

__all__ = [
    "adapt",
    "app",
    "bench_loss",
    "bench_step",
    "bench_synthesize",
    "deblur",
    "evaluate",
    "main",
    "models_convert",
    "models_fetch",
    "models_info",
    "models_list",
    "report",
    "reproduce_study",
    "reproduce_table1",
    "reproduce_table2",
    "reproduce_table3",
    "synthesize_pairs",
    "synthesize_triplets",
    "train",
]


def main() -> None:
    """Entry point of the ``tfmlc`` command."""
    app()
