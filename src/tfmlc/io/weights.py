"""Where weights are found: in the package, in files, or by download."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tfmlc.errors import UserError, unknown_name
from tfmlc.io.downloads import download as download_file
from tfmlc.runtime.progress import Progress

SHIPPED = Path(__file__).parent.parent / "pretrained"
SHIPPED_BACKBONES = SHIPPED / "loss"
BEST = "default-perceptual"  # "default" means this model
FROM_FIDELITY_TO_LOOKS = ("default-psnr", BEST)  # the ends of strength 0 to 1
FOLDER_VARIABLE = "TFMLC_WEIGHTS"
SUFFIXES = (".safetensors", ".pt", ".pth")


@dataclass(frozen=True)
class Download:
    """A weights file that can be downloaded.

    Attributes:
        url: Its address, or the name of the file if it ships with the package.
        sha256: Its checksum or the start of it; empty if its publisher states none.
        licence: Its licence.
    """

    url: str
    sha256: str
    licence: str

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.url.rsplit("/", 1)[-1]


def shipped_models() -> dict[str, Path]:
    """Return the files of the models that ship with the package, by name."""
    files = {path.stem: path for path in sorted(SHIPPED.glob("*.safetensors"))}
    return {"default": files[BEST], **files}


def find_model(model: str | Path) -> Path:
    """Return the weights file of a model.

    Args:
        model: The name of a model that ships with the package, or a path. Relative paths are also searched in the
            folder that the environment variable ``TFMLC_WEIGHTS`` names.

    Returns:
        The path of the file.

    Raises:
        UserError: If the name is unknown.

    Example:
        >>> find_model("default").name
        'default-perceptual.safetensors'
    """
    shipped = shipped_models()
    if str(model) in shipped:
        return shipped[str(model)]
    path = Path(model)
    kept = Path(os.environ.get(FOLDER_VARIABLE, ".")) / path
    if path.suffix and not path.exists() and kept.is_file():
        return kept
    if path.suffix or path.exists() or path.parent != Path():
        return path
    raise unknown_name("model", str(model), shipped)


def find_weights(name: str, download: Download) -> Path:
    """Return the weights file of a backbone, and download it if it is not on this machine.

    It is searched in the folder that the environment variable ``TFMLC_WEIGHTS`` names, under its official name or
    one that begins with ``name``, and in torch's cache (``TORCH_HOME``), where downloads are kept. Raises UserError
    if it cannot be downloaded.
    """
    kept = kept_weights(name, download)
    if kept is None:
        kept = _cached(download)
        _fetch(name, download, kept)
    return kept


def shipped_backbone(name: str) -> Path | None:
    """Return the weights file of a backbone that ships with the package, else None."""
    path = SHIPPED_BACKBONES / f"{name}.safetensors"
    return path if path.exists() else None


def kept_weights(name: str, download: Download) -> Path | None:
    """Return the weights file of a backbone if it is on this machine, else None."""
    if shipped := shipped_backbone(name):
        return shipped
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        if not Path(folder).is_dir():
            raise UserError(f"the environment variable {FOLDER_VARIABLE} names {folder}, which is not a folder")
        found = sorted(path for path in Path(folder).iterdir() if path.suffix in SUFFIXES)
        official = [path for path in found if path.name == download.file]
        for path in official or [path for path in found if path.name.startswith((f"{name}.", f"{name}-"))]:
            return path
    cached = _cached(download)
    return cached if cached.exists() else None


def _cached(download: Download) -> Path:
    from torch.hub import get_dir

    return Path(get_dir()) / "checkpoints" / download.file


def _fetch(name: str, download: Download, path: Path) -> None:
    Progress(name).say(f"downloading {download.url} ({download.licence})")
    try:
        sha256 = download_file(download.url, path, download.sha256)
    except UserError as error:
        raise UserError(
            f"no weights for {name}: {error}; download {download.file} by other means into {path.parent} or the "
            f"folder that the environment variable {FOLDER_VARIABLE} names, or give its path"
        ) from error
    Progress(name).say(f"{path}: sha256 {sha256}")
