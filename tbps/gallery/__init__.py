"""A persistent gallery of person crops that is searched by sentences."""

from tbps.gallery.add_result import AddResult
from tbps.gallery.errors import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.gallery import Gallery
from tbps.gallery.hits import Hit
from tbps.gallery.queries import Query
from tbps.gallery.syncing import SyncResult
from tbps.gallery.updates import UpdateResult

__all__ = ["AddResult", "Filter", "Gallery", "GalleryError", "Hit", "Query", "SyncResult", "UpdateResult"]
