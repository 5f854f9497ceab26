"""A gallery's home, opened by a model: one that was converted from format 2 knows its model by an older rule."""

from dataclasses import replace
from pathlib import Path

from tbps.fingerprint import identify
from tbps.gallery.home import Home
from tbps.gallery.homes import open_home
from tbps.gallery.identity import OlderIdentityError
from tbps.gallery.manifest import Layout
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
