"""Fixtures for the tests of galleries in folders."""

import os

import pytest
from damaged_gallery import make


@pytest.fixture
def folder(tmp_path):
    """A gallery of three files, with four rows removed."""
    store = make(tmp_path / "people")
    with store.writing():
        store.remove(["03", "04", "21", "39"])
    return tmp_path / "people"


@pytest.fixture
def no_fsync(monkeypatch):
    """Do not wait for the disk, which takes half of the time of tests with many commits."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
