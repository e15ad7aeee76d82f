"""Reading and writing of images, videos, weights and checkpoints; atomic writes and locks."""
