"""Former name of ``tfmlc.data.synthesis.blur``."""

from tfmlc.data.synthesis.blur import BlurConfig, blur_levels
from tfmlc.data.synthesis.blur import blur_image as blur_still

__all__ = ["BlurConfig", "blur_levels", "blur_still"]
