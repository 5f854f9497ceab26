"""Which store an address means.

A gallery's store, opened by a model: one that was converted from format 2 knows its model by an older rule.
"""

from dataclasses import replace
from pathlib import Path

from tbps.data.paths import local_path, scheme_of
from tbps.evaluation.fingerprint import ModelIdentity, identify
from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.manifest import DTYPES, Dtype, Layout
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.model_identity import OlderIdentityError, old_fingerprint
from tbps.gallery.store import VectorStore
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor

_SERVERS = ("http", "https", "tcp")
_EXPECTED = (
    "a folder's path or file:///FOLDER, a file that ends in .db (Milvus Lite), or an address of Milvus, "
    "https://host:port/collection (http, https, tcp)"
)


def place_of(where: str | Path) -> Path | str:
    """
    A folder as a path; an address of Milvus, or a file of Milvus Lite, as text.

    Raises:
        GalleryError: it is blank, or of a scheme that there is no store for: it would become a folder of that name.
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


def open_store(where: str | Path, model: ModelIdentity, layout: Layout, token: str | None = None) -> VectorStore:
    """
    The store at `where`, or a new one: a folder is made when rows are added, a collection at once.

    Raises:
        GalleryError: it is damaged or another model's, or the address is none.
        ImportError: Milvus's client is not installed.
    """
    place = place_of(where)
    if isinstance(place, Path):
        return FolderStore.open(place, model, layout)
    from tbps.gallery.milvus.store import MilvusStore  # an extra: most galleries are folders

    return MilvusStore.open(place, model, layout, token)


def open_existing(where: str | Path, token: str | None = None) -> VectorStore:
    """
    The store at `where`, which must be there: what is copied from a mistyped address would be nothing.

    Raises:
        GalleryError: there is none, or it is damaged, or the address is none.
        ImportError: Milvus's client is not installed.
    """
    place = place_of(where)
    if isinstance(place, Path):
        return FolderStore.read(place)
    from tbps.gallery.milvus.store import MilvusStore

    return MilvusStore.read(place, token)


def open_by_model(
    where: str | Path, model: TBPSModel, processor: TBPSProcessor, layout: Layout, token: str | None = None
) -> VectorStore:
    """
    `open_store` for the model that makes the vectors.

    Raises:
        GalleryError: it is damaged or another model's. ImportError: Milvus's client is not installed.
    """
    identity = identify(model, processor)
    try:
        return open_store(where, identity, layout, token)
    except OlderIdentityError:
        older = replace(identity, fingerprint=old_fingerprint(model, processor), traits={})
        return open_store(where, older, layout, token)


def check_dtype(dtype: Dtype | None) -> None:
    """Refuse what vectors cannot be kept as."""
    if dtype not in (None, *DTYPES):
        raise ValueError(f"dtype={dtype!r}: expected one of {', '.join(DTYPES)}.")


def check_keeps(store: VectorStore, dtype: Dtype | None) -> None:
    """Refuse a gallery that was there before and keeps vectors otherwise than is asked for."""
    if dtype not in (None, store.layout.dtype):
        raise GalleryError(
            f"The gallery {store.where} keeps {store.layout.dtype} and was opened with dtype={dtype!r}: leave it out, "
            "or export into a new gallery of that dtype."
        )
