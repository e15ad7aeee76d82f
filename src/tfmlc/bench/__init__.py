"""What things cost on this machine: ratios from one run, never a test."""
