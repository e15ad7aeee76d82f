"""All commands: one file per command. Each command imports what it needs when it runs."""

from tfmlc.cli import (
    adapt,
    bench,
    blurriness,
    data,
    deblur,
    evaluate,
    models,
    page,
    report,
    reproduce,
    synthesize,
    train,
)
from tfmlc.cli.tree import app, refuse_empty_paths

__all__ = [
    "adapt",
    "app",
    "bench",
    "blurriness",
    "data",
    "deblur",
    "evaluate",
    "models",
    "page",
    "report",
    "reproduce",
    "synthesize",
    "train",
]

refuse_empty_paths(app)
