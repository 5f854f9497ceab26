"""Files that a command is asked to write: what cannot or must not be is refused before the work."""

import os
from pathlib import Path


def check_output(option: str, path: Path | None, gallery: str | None = None) -> None:
    """
    Refuse a file that could not be written, or that would be among those of a gallery.

    Args:
        option: what messages call it. path: None is not asked for. gallery: the one that the command reads.

    Raises:
        ValueError: it is a folder or a device, its folder is not there, or that is a gallery's.
    """
    from tbps.gallery.manifest import MANIFEST_NAME

    if path is None:
        return
    if not path.parent.is_dir():
        raise ValueError(f"{option} {path}: there is no folder {path.parent}. Make it, or choose another place.")
    if path.exists() and not path.is_file():
        raise ValueError(f"{option} {path} is a {'folder' if path.is_dir() else 'device'}: expected a file's name.")
    real = Path(os.path.realpath(path))  # a link may lead into a gallery
    within = gallery is not None and real.is_relative_to(os.path.realpath(gallery))
    if within or (real.parent / MANIFEST_NAME).exists():
        raise ValueError(f"{option} {path} lies among the files of a gallery: choose a place outside of it.")
