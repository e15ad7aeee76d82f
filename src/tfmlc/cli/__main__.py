"""Run the command line as ``python -m tfmlc.cli``, for launchers that start modules."""

from tfmlc.cli import main

main()
