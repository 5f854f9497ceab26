"""Addresses for galleries in tests: a folder, a file of Milvus Lite, or a collection on a real server."""

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
    """An address and its token."""

    def __init__(self, kind: str, where: str) -> None:
        self.kind, self.where = kind, where
        self.token = TOKEN if kind == "server" else None

    def stop(self) -> None:
        """Stop the server of a Milvus Lite file, as the end of a process does. Committed rows stay."""
        if self.kind == "lite":
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self.where)

    def erase(self) -> None:
        """Stop it, and drop the collection on a real server."""
        self.stop()
        if self.kind == "server":
            from pymilvus import MilvusClient

            MilvusClient(URI, token=TOKEN or "").drop_collection(self.where.rsplit("/", 1)[1])


@contextmanager
def new_place(kind: str, folder: Path) -> Iterator[Place]:
    """An unused address, erased afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    if kind == "server" and not URI:
        pytest.skip(NO_SERVER)
    where = {"folder": str(folder / name), "lite": str(folder / f"{name}.db"), "server": f"{URI}/{name}"}[kind]
    place = Place(kind, where)
    try:
        yield place
    finally:
        place.erase()
