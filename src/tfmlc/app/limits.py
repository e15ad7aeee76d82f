"""What the page takes; apart, because the command line shows the defaults without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tfmlc.errors import UserError

UPLOAD_MB, MEGAPIXELS, PORT = 500, 100.0, 7860
MB = 1 << 20  # as browsers count


@dataclass(frozen=True)
class Limits:
    """The limits of one file.

    Attributes:
        upload_mb: The size of a file in MB.
        megapixels: The size of a photo, or of a frame of a video, in millions of pixels.
    """

    upload_mb: int = UPLOAD_MB
    megapixels: float = MEGAPIXELS

    def check(self, path: Path) -> None:
        """Raise UserError if a file is not a photo or video or is too large; only its header is read."""
        from tfmlc.io.images import read_size
        from tfmlc.io.video import is_video_name, read_properties

        if is_video_name(path):
            video = read_properties(path)
            width, height = video.width, video.height
        else:
            width, height = read_size(path)
        if width * height > self.megapixels * 1e6:
            raise UserError(
                f"{path} has {width}x{height} px, which is more than the {self.megapixels:g} megapixels that this page "
                "takes: make it smaller, or use tfmlc deblur on the command line"
            )
        if path.stat().st_size > self.upload_mb * MB:
            raise UserError(f"{path} has more than the {self.upload_mb} MB that this page takes: split it")
