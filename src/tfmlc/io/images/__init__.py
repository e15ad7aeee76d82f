"""Reading and writing of image files, with all their metadata."""

from tfmlc.io.images.formats import FORMATS, READ_ONLY, WRITTEN_AS, FileKind, is_image_name, kind_of_file, kind_of_name
from tfmlc.io.images.image import Image, Pixels, check_range, to_depth
from tfmlc.io.images.reading import read_image, read_rgb8, read_size, restored_mark
from tfmlc.io.images.search import Found, find_images, natural_key, nothing_found, search_images, skipped_line
from tfmlc.io.images.writing import check_keeps_all, write_image

__all__ = [
    "FORMATS",
    "READ_ONLY",
    "WRITTEN_AS",
    "FileKind",
    "Found",
    "Image",
    "Pixels",
    "check_keeps_all",
    "check_range",
    "find_images",
    "is_image_name",
    "kind_of_file",
    "kind_of_name",
    "natural_key",
    "nothing_found",
    "read_image",
    "read_rgb8",
    "read_size",
    "restored_mark",
    "search_images",
    "skipped_line",
    "to_depth",
    "write_image",
]
