"""Device and precision, worker processes, and progress display."""
