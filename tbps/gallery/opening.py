"""A gallery's home, opened by a model: one that was converted from format 2 knows its model by an older rule."""

from dataclasses import replace
from pathlib import Path

from tbps.fingerprint import identify
from tbps.gallery.errors import GalleryError
from tbps.gallery.home import Home
from tbps.gallery.homes import open_home
from tbps.gallery.identity import OlderIdentityError
from tbps.gallery.manifest import DTYPES, Dtype, Layout
from tbps.modeling_tbps import TBPSModel
from tbps.old_fingerprint import old_fingerprint
from tbps.processing_tbps import TBPSProcessor


def open_by_model(
    where: str | Path, model: TBPSModel, processor: TBPSProcessor, layout: Layout, token: str | None = None
) -> Home:
    """
    `open_home` for the model that makes the vectors.

    Raises:
        GalleryError: it is damaged or another model's. ImportError: Milvus's client is not installed.
    """
    identity = identify(model, processor)
    try:
        return open_home(where, identity, layout, token)
    except OlderIdentityError:
        older = replace(identity, fingerprint=old_fingerprint(model, processor), traits={})
        return open_home(where, older, layout, token)


def check_dtype(dtype: Dtype | None) -> None:
    """Refuse what vectors cannot be kept as."""
    if dtype not in (None, *DTYPES):
        raise ValueError(f"dtype={dtype!r}: expected one of {', '.join(DTYPES)}.")


def check_keeps(home: Home, dtype: Dtype | None) -> None:
    """Refuse a gallery that was there before and keeps vectors otherwise than is asked for."""
    if dtype not in (None, home.layout.dtype):
        raise GalleryError(
            f"The gallery {home.where} keeps {home.layout.dtype} and was opened with dtype={dtype!r}: leave it out, or "
            "export into a new gallery of that dtype."
        )
