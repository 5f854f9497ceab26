"""Galleries of format 2 are refused by name, and converted by `tbps gallery repair`."""

import json

import numpy as np
import pytest
from damaged_gallery import ROWS, VECTORS, flip, ids
from format2 import write_gallery

from tbps.gallery import Filter, GalleryError
from tbps.gallery.folder.repair import repair
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import DTYPES, Row, SearchRequest


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gallery_of_format_2_is_converted_unchanged(tmp_path, dtype):
    parts = [(ROWS[:25], VECTORS[:25]), (ROWS[25:26], VECTORS[25:26]), (ROWS[26:], VECTORS[26:] * 3)]
    stored = write_gallery(tmp_path / "old", parts, [[0, 7], [0], [13]], dtype)
    with pytest.raises(GalleryError, match=r"format 2.*tbps gallery repair"):
        FolderStore.read(tmp_path / "old")
    done = repair(tmp_path / "old")
    assert (done.source, done.images, done.set_aside) == ("format 2", 36, ())
    assert any("index" in line for line in done.lost)
    store = FolderStore.read(tmp_path / "old")
    store.check(progress=False)
    kept = [n for n in range(40) if n not in (0, 7, 25, 39)]
    found = list(store.scan())
    assert [row for rows, _ in found for row in rows] == [ROWS[n] for n in kept]
    np.testing.assert_array_equal(np.concatenate([vectors for _, vectors in found]), stored[kept])
    best = [[one.row.id for one in row] for row in store.search(VECTORS[:5], SearchRequest(6))]
    order = np.argsort(-(VECTORS[:5] @ stored[kept].T), axis=1, kind="stable")[:, :6]
    assert best == [[ROWS[kept[place]].id for place in row] for row in order]
    names = {path.name for path in (tmp_path / "old").iterdir()}
    assert not names & {"shard-000000.arrow", "index-000009.faiss"}, "the manifest no longer names them"
    with store.writing():
        store.append([Row("new", None, "{}")], VECTORS[:1])
        store.compact(1000, progress=False)
    assert FolderStore.read(tmp_path / "old").count() == 37


def test_equal_numbers_of_cameras_in_format_2_become_one_camera(tmp_path):
    cameras = [("3.0", 3.0), ("3", 3), ("3.0", "3.0"), ("1e+16", 1e16), ("gate", "gate"), ("3.5", 3.5), (None, None)]
    rows = [Row(f"{n}", None, json.dumps({"camera": value}), text) for n, (text, value) in enumerate(cameras)]
    rows += [Row("damaged", None, "[" * 9999, "4.0"), Row("other", None, "{}", "e.0")]
    write_gallery(tmp_path / "old", [(rows, VECTORS[: len(rows)])], [[]], "float32")
    repair(tmp_path / "old")
    store = FolderStore.read(tmp_path / "old")
    names = [row["camera"] for piece in store.iter_rows(["camera"]) for row in piece]
    assert names == ["3", "3", "3.0", str(10**16), "gate", "3.5", None, "4.0", "e.0"]
    assert store.count(Filter(camera=3)) == store.count(Filter(camera=3.0)) == 2


def test_a_damaged_file_of_format_2_is_set_aside(tmp_path):
    write_gallery(tmp_path / "old", [(ROWS[:25], VECTORS[:25]), (ROWS[25:], VECTORS[25:])], [[], []], "float32")
    flip(tmp_path / "old" / "shard-000001.arrow")
    done = repair(tmp_path / "old")
    assert [fault.now for fault in done.set_aside] == ["shard-000001.arrow.damaged"]
    assert ids(tmp_path / "old") == [row.id for row in ROWS[:25]]
