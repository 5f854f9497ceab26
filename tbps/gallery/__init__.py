"""A persistent gallery of person crops that is searched by sentences."""

from tbps.gallery.errors import GalleryError
from tbps.gallery.gallery import Gallery, Hit

__all__ = ["Gallery", "GalleryError", "Hit"]
