"""A round trip through every format: what of an image is kept, converted, or said to be lost."""
