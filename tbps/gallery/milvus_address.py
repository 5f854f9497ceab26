"""Addresses of Milvus collections."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tbps.gallery.errors import GalleryError

_LITE_COLLECTION = "gallery"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_EXPECTED = "expected https://host:port/collection (or /database/collection), or a file that ends in .db"


@dataclass(frozen=True)
class Address:
    """A server (or a file of Milvus Lite), a database of it ("" for the usual one) and a collection there."""

    uri: str
    database: str
    collection: str
    is_lite: bool = False


def parse_address(where: str) -> Address:
    """
    What an address names.

    Raises:
        GalleryError: it is none, names no collection, or holds a password.
    """
    if "://" not in where:
        return Address(str(Path(where).absolute()), "", _LITE_COLLECTION, is_lite=True)
    parts = urlsplit(where)
    if "@" in parts.netloc:  # not repeated in the message
        raise GalleryError("The address of Milvus holds a password: leave it out and give it as token='user:password'.")
    names = [name for name in parts.path.split("/") if name]
    if not parts.netloc or len(names) not in (1, 2) or parts.query or parts.fragment:
        raise GalleryError(f"The address {where}: {_EXPECTED}.")
    for name in names:
        if not _NAME.fullmatch(name):
            raise GalleryError(f"The address {where}: {name!r} is no name in Milvus; use letters, digits and _.")
    return Address(f"{parts.scheme}://{parts.netloc}", names[0] if len(names) == 2 else "", names[-1])
