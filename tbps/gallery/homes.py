"""Which home an address means."""

from pathlib import Path

from tbps.fingerprint import ModelIdentity
from tbps.gallery.home import Home
from tbps.gallery.manifest import Layout
from tbps.gallery.store import Store


def is_milvus(where: str | Path) -> bool:
    """A server's address, or a file of Milvus Lite."""
    return str(where).startswith(("http://", "https://", "tcp://")) or str(where).endswith(".db")


def open_home(where: str | Path, model: ModelIdentity, layout: Layout, token: str | None = None) -> Home:
    """
    The home at `where`, or a new one: a folder is made when rows are added, a collection at once.

    Raises:
        GalleryError: it is damaged or another model's.
        ImportError: Milvus's client is not installed.
    """
    if not is_milvus(where):
        return Store.open(Path(where), model, layout)
    from tbps.gallery.milvus import MilvusHome  # an extra: most galleries are folders

    return MilvusHome.open(str(where), model, layout, token)


def existing_home(where: str | Path, token: str | None = None) -> Home:
    """
    The home at `where`, which must be there: what is copied from a mistyped address would be nothing.

    Raises:
        GalleryError: there is none, or it is damaged.
        ImportError: Milvus's client is not installed.
    """
    if not is_milvus(where):
        return Store.read(Path(where))
    from tbps.gallery.milvus import MilvusHome

    return MilvusHome.read(str(where), token)
