"""What a search gives: images found, each with what its parts contribute, and a picture where one may be shown."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tbps.gallery.home import Found
from tbps.gallery.manifest import Layout
from tbps.gallery.rows import metadata_of


@dataclass(frozen=True)
class Hit:
    """An image found.

    `score` is the inner product of the retrieval vectors; `parts` (K + 1,) are what the global embedding and each part
    contribute to it, they sum to the score. `path` is the file as it was added, None where it is none: text from the
    gallery, not to be opened unchecked. `image` may be shown: the path, if it is within the roots given to
    `Gallery.open`, else the thumbnail, if one was kept, else None.
    """

    id: str
    score: float
    path: str | None
    metadata: dict[str, Any]
    parts: tuple[float, ...] = ()
    image: Path | bytes | None = field(default=None, repr=False)


def make_hit(found: Found, query: np.ndarray, layout: Layout, roots: Sequence[Path]) -> Hit:
    """The hit of a row found for a query (E,)."""
    row = found.row
    products = query * found.vector
    parts = (products[: layout.prefix_dim].sum(), *products[layout.prefix_dim :].reshape(layout.num_parts, -1).sum(1))
    image = allowed_path(row.path, roots) or row.thumbnail
    return Hit(row.id, found.score, row.path, metadata_of(row), tuple(map(float, parts)), image)


def allowed_path(path: str | None, roots: Sequence[Path]) -> Path | None:
    """The path, if it leads to a file within one of the roots once links and ".." are followed."""
    if path is None or not roots:
        return None
    try:
        real = Path(os.path.realpath(path))
        return real if any(real.is_relative_to(root) for root in roots) and real.is_file() else None
    except (OSError, ValueError):  # a name that no file can have
        return None


def real_roots(roots: Sequence[str | Path]) -> tuple[Path, ...]:
    """Folders, with links followed.

    Raises:
        ValueError: one of them is no folder.
    """
    for root in roots:
        if not Path(root).is_dir():
            raise ValueError(f"root {str(root)!r} is no folder: expected one below which images may be opened.")
    return tuple(Path(os.path.realpath(root)) for root in roots)
