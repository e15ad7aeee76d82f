"""Deblurring of arrays, pictures and folders."""

from tfmlc.deblur.deblurrer import Deblurrer, GarbageWarning

__all__ = ["Deblurrer", "GarbageWarning"]
