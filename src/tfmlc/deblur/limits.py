"""The score from which on an image counts as blurred; apart, because the command line shows it without torch."""

BLURRY_PX = 4.5  # of motion; 19 of 20 sharp photos have less
