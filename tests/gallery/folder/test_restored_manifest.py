"""Repair after somebody restored an earlier manifest, or lost one that was newer than its copy."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from damaged_gallery import ROWS, VECTORS, all_but, ids, make

from tbps.data.atomic_files import checksum
from tbps.gallery import GalleryError
from tbps.gallery.folder.repair import repair
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import Row


def test_files_written_after_the_copy_are_restored(folder):
    """A kill between writing the manifest and its copy, then the loss of the manifest."""
    old = (folder / "gallery.copy.json").read_bytes()
    store = FolderStore.read(folder)
    with store.writing():
        store.append([Row("new", None, "{}")], VECTORS[:1])
    expected = ids(folder)
    (folder / "gallery.json").unlink()
    (folder / "gallery.copy.json").write_bytes(old)
    done = repair(folder)
    assert done.added
    assert ids(folder) == expected


def states(folder: Path):
    """Return the manifests of all earlier states, after each of which files were written, and the final ids."""
    store = make(folder)
    found = [(folder / "gallery.json").read_bytes()]
    changes = [
        lambda: store.append([Row("new", None, "{}")], VECTORS[:1]),
        lambda: store.replace([replace(ROWS[2], camera="c9")]),
        lambda: store.build_index(progress=False),
        lambda: store.compact(16, progress=False),
        lambda: store.remove(["03"]) and store.compact(65536, progress=False),
    ]
    for change in changes:
        with store.writing():
            change()
        found.append((folder / "gallery.json").read_bytes())
    return found[:-1], ids(folder)


@pytest.mark.parametrize("number", range(6))
def test_a_restored_manifest_is_refused_and_repaired_to_the_later_state(tmp_path, number):
    """It would bring back removed rows, and the next commit would overwrite a file of the later state. The last case is
    a manifest of format 2, from before a conversion."""
    earlier, expected = states(tmp_path / "people")
    format2 = {"format_version": 2, "shards": [], "next_file": 0}
    format2["checksum"] = checksum(json.dumps(format2, sort_keys=True).encode())
    (tmp_path / "people" / "gallery.json").write_bytes([*earlier, json.dumps(format2).encode()][number])
    with pytest.raises(GalleryError, match="tbps gallery repair"):
        FolderStore.read(tmp_path / "people")
    done = repair(tmp_path / "people")
    assert (done.source, done.images) == ("gallery.copy.json", len(expected))
    assert [(fault.file, fault.now) for fault in done.set_aside] == [("gallery.json", "gallery.json.damaged")]
    assert "an earlier manifest was restored" in done.set_aside[0].reason
    assert ids(tmp_path / "people") == expected
    assert not repair(tmp_path / "people").changed


def test_an_open_writer_refuses_a_restored_manifest(folder):
    earlier = (folder / "gallery.json").read_bytes()
    store = FolderStore.read(folder)
    with store.writing():
        store.append([Row("new", None, "{}")], VECTORS[:1])
    (folder / "gallery.json").write_bytes(earlier)
    with pytest.raises(GalleryError, match="an earlier manifest was restored"), store.writing():
        pytest.fail("the gallery must not be written to")
    repair(folder)
    assert ids(folder) == [*all_but(), "new"]
