"""Which home an address means."""

from pathlib import Path

from tbps.addresses import local_path, scheme_of
from tbps.fingerprint import ModelIdentity
from tbps.gallery.errors import GalleryError
from tbps.gallery.home import Home
from tbps.gallery.manifest import Layout
from tbps.gallery.store import Store

_SERVERS = ("http", "https", "tcp")
_EXPECTED = (
    "a folder's path or file:///FOLDER, a file that ends in .db (Milvus Lite), or an address of Milvus, "
    "https://host:port/collection (http, https, tcp)"
)


def place_of(where: str | Path) -> Path | str:
    """
    A folder as a path; an address of Milvus, or a file of Milvus Lite, as text.

    Raises:
        GalleryError: it is blank, or of a scheme that there is no home for: it would become a folder of that name.
    """
    try:
        scheme = scheme_of(where, _EXPECTED)
        if scheme in _SERVERS:
            rest = str(where).strip()[len(scheme) :]
            if not rest.startswith("://"):
                raise GalleryError(f"The address {where}: expected {scheme}://host:port/collection, as text.")
            return scheme + rest
        path = local_path(where, _EXPECTED)
    except ValueError as error:
        raise error if isinstance(error, GalleryError) else GalleryError(str(error)) from error
    return str(path) if path.name.endswith(".db") else path


def open_home(where: str | Path, model: ModelIdentity, layout: Layout, token: str | None = None) -> Home:
    """
    The home at `where`, or a new one: a folder is made when rows are added, a collection at once.

    Raises:
        GalleryError: it is damaged or another model's, or the address is none.
        ImportError: Milvus's client is not installed.
    """
    place = place_of(where)
    if isinstance(place, Path):
        return Store.open(place, model, layout)
    from tbps.gallery.milvus import MilvusHome  # an extra: most galleries are folders

    return MilvusHome.open(place, model, layout, token)


def existing_home(where: str | Path, token: str | None = None) -> Home:
    """
    The home at `where`, which must be there: what is copied from a mistyped address would be nothing.

    Raises:
        GalleryError: there is none, or it is damaged, or the address is none.
        ImportError: Milvus's client is not installed.
    """
    place = place_of(where)
    if isinstance(place, Path):
        return Store.read(place)
    from tbps.gallery.milvus import MilvusHome

    return MilvusHome.read(place, token)
