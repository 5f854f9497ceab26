"""One collection behind Milvus's client: reads that are no staler than a gallery may be, and errors that say what to do
but never the token.

Addresses of Milvus collections.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tbps.gallery.checks import GalleryError

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


_CONNECT_SECONDS = 10
_LITE_ADVICE = "One process at a time may have a file of Milvus Lite open: has another? Was it made by Milvus Lite 3?"
_SERVER_ADVICE = "Check that the server runs, its address, and the token ('user:password' or an API key)."
_STRONG = {"consistency_level": "Strong"}  # waits for the next tick of the server's clock, some tenths of a second
_BOUNDED = {"consistency_level": "Bounded"}  # sees at least what a strong read before it saw, if there is one replica


class Collection:
    """A collection that may not be there yet.

    Raises, as all methods do:
        GalleryError: the server cannot be reached, refuses the token or the request.
        ImportError: the client is not installed.
    """

    def __init__(self, address: Address, token: str | None) -> None:
        milvus_client = _client_class(address.is_lite)
        self._address, self._token = address, token or ""
        self._behind = True
        if address.is_lite:
            Path(address.uri).parent.mkdir(parents=True, exist_ok=True)
        with self._errors(_LITE_ADVICE if address.is_lite else _SERVER_ADVICE):
            self.client = milvus_client(
                address.uri, token=self._token, db_name=address.database, timeout=_CONNECT_SECONDS
            )

    def call(self, name: str, **arguments: Any) -> Any:
        """A method of the client, on this collection."""
        with self._errors():
            return getattr(self.client, name)(self._address.collection, **arguments)

    def read(self, name: str, **arguments: Any) -> Any:
        """`call` for a query or a search: sees what this program has written, and all others before `catch_up`."""
        level = _STRONG if self._behind else _BOUNDED
        self._behind = False
        return self.call(name, **arguments, **level)

    def write(self, name: str, **arguments: Any) -> Any:
        """`call` for what changes rows."""
        try:
            return self.call(name, **arguments)
        finally:
            self._behind = True

    def catch_up(self) -> None:
        """From the next read on see what others have written until then."""
        self._behind = True

    def create(self, schema: Any, properties: dict[str, str]) -> None:
        """Make it; of two processes that do so at once, one does."""
        try:
            self.call("create_collection", schema=schema, properties=properties, **_STRONG)
        except GalleryError:
            if not self.call("has_collection"):
                raise

    def load(self, vectors: str) -> None:
        """Make it ready for search, with an index that is exact under every filter (a graph loses rows there)."""
        if not self.call("list_indexes", field_name=vectors):
            index = self.client.prepare_index_params()
            index.add_index(vectors, index_type="FLAT", metric_type="IP")
            self.call("create_index", index_params=index)
        self.call("load_collection")

    def settle(self) -> None:
        """After writing. Servers index rows by themselves; Milvus Lite walks over those of its log one by one."""
        if self._address.is_lite:
            self.call("flush")

    @contextmanager
    def _errors(self, advice: str = "") -> Iterator[None]:
        import grpc
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except (MilvusException, grpc.RpcError) as error:
            said = str(getattr(error, "message", "") or error)
            said = said.replace(self._token, "(token)") if self._token else said
            raise GalleryError(f"Milvus, {self._address.uri}: {said.rstrip('.')}. {advice}".rstrip()) from None


def _client_class(is_lite: bool) -> Any:
    try:
        if is_lite:
            import milvus_lite  # noqa: F401
        from pymilvus import MilvusClient
    except ImportError as error:
        raise ImportError(f"A gallery in Milvus needs its client ({error}): pip install 'tbps[milvus]'.") from error
    return MilvusClient
