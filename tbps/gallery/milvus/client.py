"""A Milvus collection through Milvus's client, and its address. No error message contains the token."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tbps.gallery.checks import GalleryError

_CONNECT_SECONDS = 10
_LITE_ADVICE = (
    "Only one process at a time can open a Milvus Lite file: close it elsewhere. Was it made by Milvus Lite 3?"
)
_SERVER_ADVICE = "Check that the server runs, its address, and the token ('user:password' or an API key)."
_STRONG = {"consistency_level": "Strong"}  # waits for the next tick of the server's clock, some tenths of a second
_BOUNDED = {"consistency_level": "Bounded"}  # with one replica, sees at least what an earlier strong read saw
_LITE_COLLECTION = "gallery"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_EXPECTED = "https://host:port/collection, https://host:port/database/collection, or a file that ends in .db"


@dataclass(frozen=True)
class Address:
    """
    The address of a collection.

    Args:
        uri: the server, or the file of Milvus Lite.
        database: the database on the server; "" is the default one.
        collection: the collection in the database.
        is_lite: whether it is a file of Milvus Lite.
    """

    uri: str
    database: str
    collection: str
    is_lite: bool = False


def parse_address(where: str) -> Address:
    """
    Parse an address.

    Raises:
        GalleryError: the address is invalid, names no collection, or contains a password.
    """
    if "://" not in where:
        return Address(str(Path(where).absolute()), "", _LITE_COLLECTION, is_lite=True)
    parts = urlsplit(where)
    if "@" in parts.netloc:  # the message must not repeat it
        raise GalleryError("The Milvus address contains a password. Remove it, and pass it as token='user:password'.")
    names = [name for name in parts.path.split("/") if name]
    if not parts.netloc or len(names) not in (1, 2) or parts.query or parts.fragment:
        raise GalleryError(f"The Milvus address must be {_EXPECTED}, got {where}.")
    for name in names:
        if not _NAME.fullmatch(name):
            raise GalleryError(
                f"The address {where} has a name that Milvus does not allow, {name!r}. Use letters, digits and _."
            )
    return Address(f"{parts.scheme}://{parts.netloc}", names[0] if len(names) == 2 else "", names[-1])


class Collection:
    """A collection, which need not exist yet.

    Args:
        address: the address of the collection.
        token: the token that the server requires, if any.

    Raises:
        GalleryError: the server cannot be reached, or refuses the token or a request. All methods raise it.
        ImportError: the client is not installed.
    """

    def __init__(self, address: Address, token: str | None) -> None:
        milvus_client = _client_class(address.is_lite)
        self._address, self._token = address, token or ""
        self._is_stale = True
        if address.is_lite:
            Path(address.uri).parent.mkdir(parents=True, exist_ok=True)
        with self._errors(_LITE_ADVICE if address.is_lite else _SERVER_ADVICE):
            self.client = milvus_client(
                address.uri, token=self._token, db_name=address.database, timeout=_CONNECT_SECONDS
            )

    def call(self, name: str, **arguments: Any) -> Any:
        """Call a method of the client on this collection."""
        with self._errors():
            return getattr(self.client, name)(self._address.collection, **arguments)

    def read(self, name: str, **arguments: Any) -> Any:
        """`call` for queries and searches. They see what this process has written, and others before `catch_up`."""
        level = _STRONG if self._is_stale else _BOUNDED
        self._is_stale = False
        return self.call(name, **arguments, **level)

    def write(self, name: str, **arguments: Any) -> Any:
        """`call` for a method that changes rows."""
        try:
            return self.call(name, **arguments)
        finally:
            self._is_stale = True

    def catch_up(self) -> None:
        """Make the next read see everything that others have written."""
        self._is_stale = True

    def create(self, schema: Any, properties: dict[str, str]) -> None:
        """Create the collection. Two processes may try at the same time; one succeeds, and both continue."""
        try:
            self.call("create_collection", schema=schema, properties=properties, **_STRONG)
        except GalleryError:
            if not self.call("has_collection"):
                raise

    def load(self, vectors: str) -> None:
        """Prepare a search with a flat index, which is exact; graph indexes miss rows under filters."""
        if not self.call("list_indexes", field_name=vectors):
            index = self.client.prepare_index_params()
            index.add_index(vectors, index_type="FLAT", metric_type="IP")
            self.call("create_index", index_params=index)
        self.call("load_collection")

    def settle(self) -> None:
        """Call this after writing: Milvus Lite scans unflushed rows one by one. Servers need no call."""
        if self._address.is_lite:
            self.call("flush")

    @contextmanager
    def _errors(self, advice: str = "") -> Iterator[None]:
        import grpc
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except (MilvusException, grpc.RpcError) as error:
            text = str(getattr(error, "message", "") or error)
            text = text.replace(self._token, "(token)") if self._token else text
            raise GalleryError(f"Milvus, {self._address.uri}: {text.rstrip('.')}. {advice}".rstrip()) from None


def _client_class(is_lite: bool) -> Any:
    try:
        if is_lite:
            import milvus_lite  # noqa: F401
        from pymilvus import MilvusClient
    except ImportError as error:
        raise ImportError(
            f"A gallery in Milvus needs the Milvus client ({error}). Install it: pip install 'tbps[milvus]'."
        ) from error
    return MilvusClient
