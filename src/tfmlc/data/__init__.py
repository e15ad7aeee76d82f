"""Synthetic blur, and the datasets that training reads."""

from tfmlc.data.synthesis.windows import BlurWindow, blur_windows

__all__ = ["BlurWindow", "blur_windows"]
