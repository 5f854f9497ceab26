"""Removal that erases, and compaction that a kill cannot hurt."""

import os
import sys

import numpy as np
import pytest
from kill_at import kill_at

from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery import Gallery, GalleryError
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import Layout, Row, SearchRequest

IDENTITY, LAYOUT = ModelIdentity("m", "f", 16), Layout("float32", 8, 2, 4)
VECTORS = np.random.default_rng(0).standard_normal((40, 16)).astype(np.float32)


def make_row(n):
    return Row(f"id-{n:02d}", f"/crops/{n}.png", f'{{"secret": "of {n:02d}"}}', thumbnail=b"thumbnail %02d" % n)


@pytest.fixture
def store(tmp_path):
    store = FolderStore.open(tmp_path / "gallery", IDENTITY, LAYOUT)
    with store.writing():
        for piece in np.split(np.arange(40), [7, 20, 21]):
            store.append([make_row(n) for n in piece], VECTORS[piece])
    return store


def ids(store):
    return [row.id for rows, _ in store.scan() for row in rows]


def remove(store, numbers):
    with store.writing():
        return store.remove([f"id-{n:02d}" for n in numbers])


def content(directory):
    return b"".join(path.read_bytes() for path in sorted(directory.glob("shard-*")))


def test_what_was_removed_is_found_no_more(store, tmp_path):
    assert remove(store, [3, 20, 39, 77]) == 3
    for opened in (store, FolderStore.read(tmp_path / "gallery")):
        assert opened.count() == 37
        left = [n for n in range(40) if n not in (3, 20, 39)]
        assert ids(opened) == [f"id-{n:02d}" for n in left]
        assert opened.known(["id-03", "id-04"]) == {"id-04"}
        assert opened.get(["id-20"]) == [None]
        found = opened.search(VECTORS[3:4], SearchRequest(40))[0]
        assert [one.row.id for one in found] == [f"id-{n:02d}" for n in left_by_score(left)]
    assert remove(store, [3]) == 0


def left_by_score(left):
    return [left[place] for place in np.argsort(-(VECTORS[left] @ VECTORS[3]), kind="stable")]


def test_what_was_removed_can_be_added_again_and_comes_last(store):
    remove(store, [3])
    with store.writing():
        store.append([make_row(3)], VECTORS[3:4])
    assert ids(store)[-1] == "id-03"
    assert (store.count(), store.get(["id-03"])[0].vector.tolist()) == (40, VECTORS[3].tolist())


def test_compaction_erases_what_was_removed(store, tmp_path):
    remove(store, [3, 20])
    before = content(tmp_path / "gallery")
    for trace in (b"id-03", b"of 03", b"thumbnail 20", VECTORS[20].tobytes()):
        assert trace in before, "removal itself only hides"
    with store.writing():
        store.compact(16, progress=False)
    after = content(tmp_path / "gallery")
    for trace in (b"id-03", b"of 03", b"thumbnail 20", b"/crops/3.png", VECTORS[20].tobytes()):
        assert trace not in after
    assert VECTORS[21].tobytes() in after
    for opened in (store, FolderStore.read(tmp_path / "gallery")):
        assert [entry.rows for entry in opened.manifest.shards] == [16, 16, 6]
        assert ids(opened) == [f"id-{n:02d}" for n in range(40) if n not in (3, 20)]
        opened.check(progress=False)
    assert len(list((tmp_path / "gallery").glob("shard-*"))) == 3


def test_a_reader_goes_on_reading_what_was_there(store, tmp_path):
    reader = FolderStore.read(tmp_path / "gallery")
    remove(store, range(10))
    with store.writing():
        store.compact(100, progress=False)
    assert ids(reader) == [f"id-{n:02d}" for n in range(40)]
    assert reader.search(VECTORS[3:4], SearchRequest(1))[0][0].row.id == "id-03"
    reader.refresh()
    assert reader.count() == 30


def test_all_rows_can_be_removed(store):
    remove(store, range(40))
    assert store.search(VECTORS[:1], SearchRequest(3)) == [[]]
    with store.writing():
        store.compact(100, progress=False)
    assert (store.count(), ids(store), store.search(VECTORS[:1], SearchRequest(3))) == (0, [], [[]])


@pytest.mark.parametrize(
    ("change", "file"),
    [
        (lambda store: store.remove(["id-03"]), "gallery.json"),
        (lambda store: store.compact(16, progress=False), "gallery.json"),  # which reserves numbers of files
        (lambda store: store.build_index(progress=False), "index-000004.faiss"),
        (lambda store: store.append([make_row(40)], VECTORS[:1]), "shard-000004.arrow"),
    ],
)
def test_a_full_disk_keeps_all_and_the_error_names_the_file(store, tmp_path, full_disk, change, file):
    with store.writing(), pytest.raises(GalleryError, match=rf"{file} could not be written \(File too large\)"):
        change(store)
    for opened in (store, FolderStore.read(tmp_path / "gallery")):
        assert ids(opened) == [f"id-{n:02d}" for n in range(40)]


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_killed_at_any_step_of_a_compaction_nothing_is_lost(store, tmp_path):
    remove(store, [3, 20])
    expected = ids(store)
    step, killed = 0, True
    while killed:
        child = os.fork()
        if not child:
            compact_until(tmp_path / "gallery", step)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        opened = FolderStore.read(tmp_path / "gallery")
        assert ids(opened) == expected
        opened.check(progress=False)
        step += 1
    assert step > 9, "three files and the manifest, three steps each"
    assert b"of 03" not in content(tmp_path / "gallery"), "files of killed compactions are cleaned up by the next"


def compact_until(directory, step):
    kill_at(step, "fsync", "replace", "unlink")
    store = FolderStore.read(directory)
    with store.writing():
        store.compact(16, progress=False)
    os._exit(0)


def test_a_gallery_removes_by_the_ids_of_hits(tmp_path, pictures, tiny_model, tiny_processor):
    gallery = Gallery.open(tmp_path / "own", tiny_model, tiny_processor)
    gallery.add(pictures)
    [hit] = gallery.search("a red coat", k=1)
    assert gallery.remove([hit.id]) == 1
    assert hit.id not in {other.id for other in gallery.search("a red coat", k=3)}
    assert gallery.add(pictures).added == [hit.id], "it comes back with its picture"
    with FolderStore.read(tmp_path / "own").writing(), pytest.raises(GalleryError, match="Another process is writing"):
        gallery.remove([hit.id])
