"""The door between picture files and arrays: depth, alpha, orientation, EXIF and colour profile survive."""

from tfmlc.images.picture import FORMATS, Picture, Pixels, find_pictures, is_image_name, natural_key, to_depth
from tfmlc.images.reading import read_image, read_rgb8, read_size
from tfmlc.images.writing import write_image

__all__ = [
    "FORMATS",
    "Picture",
    "Pixels",
    "find_pictures",
    "is_image_name",
    "natural_key",
    "read_image",
    "read_rgb8",
    "read_size",
    "to_depth",
    "write_image",
]
