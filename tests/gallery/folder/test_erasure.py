"""A compaction erases removed rows from disk and loses no others, also after a kill or a failure."""

import errno
import os
import shutil
import signal
import sys
from contextlib import suppress

import pytest
from handmade_gallery import append, assert_no_trace, assert_only_its_files, new_store, numbers_in, row
from kill_at import kill_at

from tbps.gallery import GalleryError
from tbps.gallery.folder.store import FolderStore

pytestmark = pytest.mark.usefixtures("no_fsync")
STEPS = ("fsync", "replace", "unlink")
BEFORE = list(range(16))


def joining(store):
    """Write the eighth file of its level: all eight are merged."""
    append(store, [100])


def changing(store):
    store.replace([row(n, 1) for n in (3, 9, 12)])


def compacting(store):
    store.remove([row(1).id])
    store.compact(9, progress=False)


def indexing(store):
    pytest.importorskip("faiss")
    store.build_index(nlist=1, progress=False)


CHANGES = {
    joining: [BEFORE, [*BEFORE, 100]],
    changing: [BEFORE, [n for n in BEFORE if n not in (3, 9, 12)] + [3, 9, 12]],
    compacting: [BEFORE, [n for n in BEFORE if n != 1]],
    indexing: [BEFORE],
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A gallery with a file of nine rows and seven files of one row."""
    directory = tmp_path_factory.mktemp("prepared") / "gallery"
    store = new_store(directory)
    with store.writing():
        append(store, BEFORE[:9])
        for n in BEFORE[9:]:
            append(store, [n])
    assert len(store.manifest.shards) == 8
    return directory


def assert_sound_and_erasable(store, directory, states, killed=False):
    """Check that the rows are those of one of the states, and that two removed rows leave no trace.

    The file of a killed commit may stay until the next commit, which overwrites it.
    """
    found = numbers_in(store)
    assert found in states
    store.check(progress=False)
    with store.writing():
        may_be_left = [name for name in (store.manifest.next_name(), store.manifest.next_name("index")) if killed]
        there = {path.name for path in directory.iterdir()} & set(may_be_left)
        assert_only_its_files(store, directory, *there)
        store.remove([row(3).id, row(12).id])
        store.compact(100, progress=False)
    assert numbers_in(store) == [n for n in found if n not in (3, 12)]
    assert_only_its_files(store, directory)
    for number in (3, 12):
        assert_no_trace(directory, number)
    store.check(progress=False)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("change", CHANGES)
def test_after_a_kill_at_any_step_rows_can_be_erased_and_no_others_are_lost(tmp_path, prepared, change):
    step, killed = 0, True
    while killed:
        directory = tmp_path / f"{step}"
        shutil.copytree(prepared, directory)
        child = os.fork()
        if not child:
            store = FolderStore.read(directory)
            kill_at(step, *STEPS)
            with store.writing():
                change(store)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or status == 0
        assert_sound_and_erasable(FolderStore.read(directory), directory, CHANGES[change], killed)
        step += 1
    assert step >= 6, "a file and the manifest, flushed and renamed each"


def fail_at(step, monkeypatch):
    """Let one call fail, counted over all functions in `STEPS`."""
    left = [step]

    def failing(call):
        def counted(*arguments, **options):
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return call(*arguments, **options)

        return counted

    for name in STEPS:
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    return left


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_failure_at_any_step_the_store_continues_from_disk(tmp_path, prepared, change):
    step, failed = 0, True
    while failed:
        directory = tmp_path / f"{step}"
        shutil.copytree(prepared, directory)
        store = FolderStore.read(directory)
        with pytest.MonkeyPatch.context() as patch:
            left = fail_at(step, patch)
            with suppress(GalleryError), store.writing():  # not an OSError
                change(store)
            failed = left[0] < 0
        assert numbers_in(store) == numbers_in(FolderStore.read(directory))
        assert_sound_and_erasable(store, directory, CHANGES[change])
        step += 1
    assert step >= 6


def test_a_full_disk_can_be_emptied_by_removing(tmp_path, prepared, monkeypatch):
    """The disk is full, except for the space that this gallery frees."""
    directory = tmp_path / "gallery"
    shutil.copytree(prepared, directory)
    store = FolderStore.read(directory)
    free = 0
    write, unlink, rename = type(directory).open, os.unlink, os.replace

    class Full:
        """A file that holds no more bytes than are free."""

        def __init__(self, file):
            self._file = file

        def write(self, data):
            nonlocal free
            if len(data) > free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            free -= len(data)
            return self._file.write(data)

        def __getattr__(self, name):
            return getattr(self._file, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return self._file.__exit__(*error)

    def opened(path, mode="r", *arguments, **options):
        file = write(path, mode, *arguments, **options)
        return Full(file) if "x" in mode or "w" in mode else file

    def given_back(path, *arguments, **options):
        nonlocal free
        size = os.stat(path).st_size if os.path.exists(path) else 0
        unlink(path, *arguments, **options)
        free += size

    def replaced(path, target):
        nonlocal free
        free += os.stat(target).st_size if os.path.exists(target) else 0
        rename(path, target)

    monkeypatch.setattr(type(directory), "open", opened)
    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(os, "unlink", given_back)
    with store.writing():
        with pytest.raises(GalleryError, match="No space left"):
            append(store, [100])
        free = 0
        # complete files are deleted at once, which frees space to mark the other rows
        assert store.remove([row(n).id for n in (2, 5, *BEFORE[9:])]) == 9
        assert free > 0
        assert store.remove([row(7).id]) == 1
    monkeypatch.undo()
    assert numbers_in(FolderStore.read(directory)) == [0, 1, 3, 4, 6, 8]
    assert_only_its_files(store, directory)


def test_a_file_is_erased_at_once_when_all_its_rows_are_removed(tmp_path, prepared):
    directory = tmp_path / "gallery"
    shutil.copytree(prepared, directory)
    store = FolderStore.read(directory)
    with store.writing():
        store.remove([row(12).id])
    assert_no_trace(directory, 12)
