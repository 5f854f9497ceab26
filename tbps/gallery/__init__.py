"""A persistent gallery of person crops that is searched by sentences."""

from tbps.gallery.checks import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.gallery import Gallery
from tbps.gallery.ingest import UpdateResult
from tbps.gallery.queries import Query
from tbps.gallery.results import AddResult, Hit
from tbps.gallery.syncing import SyncResult

__all__ = ["AddResult", "Filter", "Gallery", "GalleryError", "Hit", "Query", "SyncResult", "UpdateResult"]
