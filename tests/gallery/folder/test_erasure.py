"""What was removed is on disk no more after a compaction, whatever was killed or failed before; all else is kept."""

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

STEPS = ("fsync", "replace", "unlink")
BEFORE = list(range(16))


def joining(store):
    """The eighth file of its tier: all eight become one."""
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


@pytest.fixture(autouse=True)
def no_power_fails(monkeypatch):
    """The calls are made and counted, but wait for no disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A file of nine rows and seven of one row each."""
    directory = tmp_path_factory.mktemp("prepared") / "gallery"
    store = new_store(directory)
    with store.writing():
        append(store, BEFORE[:9])
        for n in BEFORE[9:]:
            append(store, [n])
    assert len(store.manifest.shards) == 8
    return directory


def assert_sound_and_erasable(store, directory, states, killed=False):
    """The rows are those of one of the states; after two of them are removed nothing of these is left.

    Of a killed commit of one file that file may stay until the next one, which has its number.
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
def test_killed_at_any_step_all_can_be_erased_and_nothing_else_is_lost(tmp_path, prepared, change):
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
    """Let the call of that number fail, counted over all of `STEPS`."""
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
def test_failing_at_any_step_it_goes_on_with_what_is_on_disk(tmp_path, prepared, change):
    step, failed = 0, True
    while failed:
        directory = tmp_path / f"{step}"
        shutil.copytree(prepared, directory)
        store = FolderStore.read(directory)
        with pytest.MonkeyPatch.context() as patch:
            left = fail_at(step, patch)
            with suppress(GalleryError), store.writing():  # an OSError is none
                change(store)
            failed = left[0] < 0
        assert numbers_in(store) == numbers_in(FolderStore.read(directory))
        assert_sound_and_erasable(store, directory, CHANGES[change])
        step += 1
    assert step >= 6


def test_a_full_disk_can_be_emptied_by_removing(tmp_path, prepared, monkeypatch):
    """No byte is free, but for what this gallery gives back itself."""
    directory = tmp_path / "gallery"
    shutil.copytree(prepared, directory)
    store = FolderStore.read(directory)
    room = 0
    write, unlink, rename = type(directory).open, os.unlink, os.replace

    class Full:
        """A file that takes no more bytes than there is room for."""

        def __init__(self, file):
            self._file = file

        def write(self, data):
            nonlocal room
            if len(data) > room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            room -= len(data)
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
        nonlocal room
        size = os.stat(path).st_size if os.path.exists(path) else 0
        unlink(path, *arguments, **options)
        room += size

    def replaced(path, target):
        nonlocal room
        room += os.stat(target).st_size if os.path.exists(target) else 0
        rename(path, target)

    monkeypatch.setattr(type(directory), "open", opened)
    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(os, "unlink", given_back)
    with store.writing():
        with pytest.raises(GalleryError, match="No space left"):
            append(store, [100])
        room = 0
        # whole files, which go at once and make room to note the others
        assert store.remove([row(n).id for n in (2, 5, *BEFORE[9:])]) == 9
        assert room > 0
        assert store.remove([row(7).id]) == 1
    monkeypatch.undo()
    assert numbers_in(FolderStore.read(directory)) == [0, 1, 3, 4, 6, 8]
    assert_only_its_files(store, directory)


def test_rows_of_a_file_that_is_wholly_removed_are_erased_at_once(tmp_path, prepared):
    directory = tmp_path / "gallery"
    shutil.copytree(prepared, directory)
    store = FolderStore.read(directory)
    with store.writing():
        store.remove([row(12).id])
    assert_no_trace(directory, 12)
