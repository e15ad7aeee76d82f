"""Where weights come from: those that ship in the package, by name; files; and downloads that are checked."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from tfmlc.errors import UserError, unknown_name
from tfmlc.runtime.progress import Progress

SHIPPED = Path(__file__).parent.parent / "pretrained"
BEST = "default-psnr"  # what the name "default" stands for
FOLDER_VARIABLE = "TFMLC_WEIGHTS"
WARNINGS = {  # of models that ship, by name
    "default-perceptual": f"draws a faint mesh of 4 px over every image, {BEST} does not",
}
SUFFIXES = (".safetensors", ".pt", ".pth")


@dataclass(frozen=True)
class Download:
    """A weights file on the net: address, sha256 (or how it begins; empty where its owner states none), licence."""

    url: str
    sha256: str
    licence: str

    @property
    def file(self) -> str:
        """Name of the file."""
        return self.url.rsplit("/", 1)[-1]


def shipped_models() -> dict[str, Path]:
    """Deblurring models in the package, by name; ``default`` is the one to use."""
    files = {path.stem: path for path in sorted(SHIPPED.glob("*.safetensors"))}
    return {"default": files[BEST], **files}


def shipped_warning(path: Path) -> str | None:
    """What to know of a model before it is used, if it is one that ships.

    >>> shipped_warning(shipped_models()["default-perceptual"])
    'draws a faint mesh of 4 px over every image, default-psnr does not'
    """
    return WARNINGS.get(path.stem) if path.parent == SHIPPED else None


def find_model(model: str | Path) -> Path:
    """The weights file behind a model's name or path; an unknown name is answered with the nearest one.

    Files are also looked for in the folder that ``TFMLC_WEIGHTS`` names.
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
    """The weights file of a backbone: from the folder that ``TFMLC_WEIGHTS`` names, torch's cache, or the net.

    In the folder it is the file under its official name or one whose name begins with ``name``. What is
    downloaded is kept in torch's cache (``TORCH_HOME``). Raises UserError where it cannot be had, which names
    the file and where to put it.
    """
    kept = kept_weights(name, download)
    if kept is None:
        kept = _cached(download)
        _fetch(name, download, kept)
    return kept


def kept_weights(name: str, download: Download) -> Path | None:
    """The same, if it is on this machine."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        if not Path(folder).is_dir():
            raise UserError(f"{FOLDER_VARIABLE} names {folder}, which is no folder")
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
    from torch.hub import download_url_to_file

    with Progress(name) as progress:
        progress.say(f"downloading {download.url} ({download.licence})")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(download.url, str(path), hash_prefix=download.sha256 or None, progress=False)
    except (OSError, RuntimeError) as error:  # no network, no space, or another content than the address promises
        raise UserError(
            f"no weights for {name}: {download.url} cannot be had ({error}); get {download.file} elsewhere and put "
            f"it into a folder that the environment variable {FOLDER_VARIABLE} names, or give its path"
        ) from error
    with Progress(name) as progress:
        progress.say(f"{path}: sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")
