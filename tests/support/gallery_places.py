"""Places for galleries in tests: a folder, a file of Milvus Lite, and a collection of a real server if there is one."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PLACES = ("folder", "lite", "server")
URI, TOKEN = os.environ.get("TBPS_MILVUS_URI"), os.environ.get("TBPS_MILVUS_TOKEN")
NO_SERVER = "no Milvus server: TBPS_MILVUS_URI=http://host:port (and TBPS_MILVUS_TOKEN) names one to test against"


class Place:
    """An address, and the token that opens it."""

    def __init__(self, kind: str, where: str) -> None:
        self.kind, self.where = kind, where
        self.token = TOKEN if kind == "server" else None

    def stop(self) -> None:
        """End what serves it, as the end of a process does; what was committed stays."""
        if self.kind == "lite":
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self.where)

    def erase(self) -> None:
        """Leave nothing on a server that others may use."""
        self.stop()
        if self.kind == "server":
            from pymilvus import MilvusClient

            MilvusClient(URI, token=TOKEN or "").drop_collection(self.where.rsplit("/", 1)[1])


@contextmanager
def new_place(kind: str, folder: Path) -> Iterator[Place]:
    """A place that nothing uses yet, gone afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    if kind == "server" and not URI:
        pytest.skip(NO_SERVER)
    where = {"folder": str(folder / name), "lite": str(folder / f"{name}.db"), "server": f"{URI}/{name}"}[kind]
    place = Place(kind, where)
    try:
        yield place
    finally:
        place.erase()
