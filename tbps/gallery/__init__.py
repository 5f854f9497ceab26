"""A persistent gallery of person crops, searched by text."""

from tbps.gallery.checks import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.gallery import Gallery
from tbps.gallery.open_store import is_gallery
from tbps.gallery.queries import Query
from tbps.gallery.results import AddResult, GalleryInfo, Hit, UpdateResult
from tbps.gallery.syncing import SyncResult

__all__ = [
    "AddResult",
    "Filter",
    "Gallery",
    "GalleryError",
    "GalleryInfo",
    "Hit",
    "Query",
    "SyncResult",
    "UpdateResult",
    "is_gallery",
]
