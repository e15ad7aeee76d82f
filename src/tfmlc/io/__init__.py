"""Files in and out: images, videos, weights, checkpoints, atomic writes and locks."""
