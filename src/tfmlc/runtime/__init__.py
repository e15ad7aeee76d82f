"""What a run uses of the machine: device and precision, processes, progress."""
