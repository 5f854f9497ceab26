"""A small corpus for the tests of data."""

from pathlib import Path

import pytest
from corpora import write_shards

from tbps.data.corpora.corpus import Corpus


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Corpus:
    return Corpus(folder)
