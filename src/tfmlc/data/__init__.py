"""Blur made from sharp photos and films, and datasets of it."""

from tfmlc.data.windows import BlurWindow, blur_windows

__all__ = ["BlurWindow", "blur_windows"]
