"""Losses for deblurring."""

from tfmlc.losses.pixel import psnr_loss

__all__ = ["psnr_loss"]
