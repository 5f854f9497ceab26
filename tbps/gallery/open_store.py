"""From an address to a store: a folder, a Milvus server, or a file of Milvus Lite."""

from dataclasses import replace
from pathlib import Path

from tbps.data.paths import local_path, scheme_of
from tbps.evaluation.fingerprint import ModelIdentity, identify
from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.manifest import MANIFEST_NAME
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.model_identity import OlderIdentityError, old_fingerprint
from tbps.gallery.store import DTYPES, Dtype, Layout, VectorStore
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor

_SERVERS = ("http", "https", "tcp")
_EXPECTED = (
    "a folder's path or file:///FOLDER, a file that ends in .db (Milvus Lite), or an address of Milvus, "
    "https://host:port/collection (http, https, tcp)"
)


def place_of(where: str | Path) -> Path | str:
    """
    Parse an address.

    Returns:
        The path of a folder; or, as text, the address of a Milvus server or the file of Milvus Lite.

    Raises:
        GalleryError: the address is blank or has an unknown scheme. It would become a folder of that name.
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


def is_gallery(folder: Path) -> bool:
    """Whether a folder holds a gallery, intact or not."""
    return (folder / MANIFEST_NAME).exists()


def open_store(where: str | Path, model: ModelIdentity, layout: Layout, token: str | None = None) -> VectorStore:
    """
    Open the store at an address, or create it. A folder is created with its first rows, a collection at once.

    Raises:
        GalleryError: the address is invalid, or the store is damaged or belongs to another model.
        ImportError: Milvus's client is not installed.
    """
    place = place_of(where)
    if isinstance(place, Path):
        return FolderStore.open(place, model, layout)
    from tbps.gallery.milvus.store import MilvusStore  # an extra: most galleries are folders

    return MilvusStore.open(place, model, layout, token)


def open_existing(where: str | Path, token: str | None = None) -> VectorStore:
    """
    Open the store at an address, which must exist: a mistyped address must not create an empty one.

    Raises:
        GalleryError: the address is invalid, or the store does not exist or is damaged.
        ImportError: Milvus's client is not installed.
    """
    place = place_of(where)
    if isinstance(place, Path):
        return FolderStore.read(place)
    from tbps.gallery.milvus.store import MilvusStore

    return MilvusStore.read(place, token)


def open_by_model(
    where: str | Path, model: TBPSModel, processor: TBPSProcessor, dtype: Dtype | None, token: str | None = None
) -> VectorStore:
    """
    Open or create the store for the vectors of a model.

    A gallery that was converted from format 2 knows its model by an older fingerprint, which is compared then.

    Raises:
        GalleryError: as `open_store`.
        ImportError: Milvus's client is not installed.
    """
    config, identity = model.config, identify(model, processor)
    layout = Layout(dtype or "float32", config.projection_dim, config.num_parts, config.part_dim)
    try:
        return open_store(where, identity, layout, token)
    except OlderIdentityError:
        older = replace(identity, fingerprint=old_fingerprint(model, processor), traits={})
        return open_store(where, older, layout, token)


def check_dtype(dtype: Dtype | None) -> None:
    """Refuse an unknown dtype."""
    if dtype not in (None, *DTYPES):
        raise ValueError(f"dtype={dtype!r}: expected one of {', '.join(DTYPES)}.")


def check_stored_dtype(store: VectorStore, dtype: Dtype | None) -> None:
    """Refuse an existing gallery whose dtype differs from the one given."""
    if dtype not in (None, store.layout.dtype):
        raise GalleryError(
            f"The gallery {store.where} stores {store.layout.dtype} and was opened with dtype={dtype!r}: leave it out, "
            "or export into a new gallery of that dtype."
        )
