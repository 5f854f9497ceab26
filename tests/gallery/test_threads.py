"""One gallery object under threads that search while others write, and in processes that were forked."""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from handmade_gallery import WIDTH, append, new_store, number_of, numbers_in, row, vector, vectors

from tbps.gallery.folder.store import FolderStore
from tbps.gallery.search import SearchOptions, find, same_person
from tbps.gallery.store import SearchRequest


@pytest.fixture
def two_threads():
    """A pool of threads for numeric libraries, which a forked process does not have."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield torch.randn(600, 600)
    torch.set_num_threads(before)


def status_within(child, seconds):
    """The status that a process ends with; what hangs is killed."""
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "it hangs"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_forked_after_a_search_searches_and_writes(tmp_path, two_threads, monkeypatch):
    monkeypatch.setattr("tbps.gallery.folder.faiss_index.MIN_ROWS", 0)
    modes = ["exact", "int8", *(["index"] if find_spec("faiss") else [])]
    store, queries = new_store(tmp_path / "gallery"), vectors(range(64))
    with store.writing():
        append(store, range(3000))
        if "index" in modes:
            store.build_index(nlist=8, progress=False)

    def hits():
        (two_threads @ two_threads).sum()
        found = [store.search(queries, SearchRequest(3, mode, 100)) for mode in modes]
        return [[number_of(one.row) for one in row] for rows in found for row in rows]

    before = hits()
    with store._writers.lock, store._state.guard.lock:  # as another thread may in the moment of the fork
        child = os.fork()
    if not child:
        right = False
        with suppress(BaseException):
            right = hits() == before
            with store.writing():
                store.remove([row(5).id])
            right = right and store.count() == 2999
        os._exit(0 if right else 1)
    assert status_within(child, 60) == 0  # far more than it takes; it used to hang for ever
    store.refresh()
    assert store.count() == 2999


def together(seconds, *works):
    """Run functions again and again in a thread each; the first error of any of them is raised."""
    errors, stop = [], threading.Event()

    def repeat(work):
        try:
            while not stop.is_set():
                work()
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def assert_fits_together(found, query):
    """A hit's metadata and vector are those of its id, and its score is that of its vector."""
    for one in found:
        number = number_of(one.row)
        assert one.row == row(number)
        np.testing.assert_array_equal(one.vector, vector(number))
        np.testing.assert_allclose(one.score, float(vector(number).astype(np.float64) @ query), rtol=1e-6)
    assert len({one.row.id for one in found}) == len(found)


class Writers:
    """Changes of a store, each of which leaves the rows below 50 there, and all others as `row` gives them."""

    def __init__(self, store):
        self.store, self.fresh, self.turn = store, 1000, 0
        with store.writing():
            for start in range(0, 50, 5):
                append(store, range(start, start + 5))

    def write(self):
        self.turn += 1
        with self.store.writing():
            append(self.store, range(self.fresh, self.fresh + 3))
            self.fresh += 3
            if self.turn % 3 == 0:
                self.store.remove([row(n).id for n in range(self.fresh - 9, self.fresh - 2)])
            if self.turn % 5 == 0:
                self.store.replace([row(n) for n in range(self.turn % 40, 50)])
            if self.turn % 4 == 0:
                self.store.compact(7, progress=False)


@pytest.fixture
def switching_often(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power will fail
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_threads_that_search_while_others_write_get_hits_that_fit_together(tmp_path, switching_often):
    store = new_store(tmp_path / "gallery")
    writers, queries, rounds = Writers(store), vectors([3, 77]), []

    def search():
        for query, found in zip(queries, store.search(queries, SearchRequest(20)), strict=True):
            assert len(found) == 20
            assert_fits_together(found, query)
        rounds.append(store.manifest)

    def look_up():
        view = store.snapshot()
        assert view.known([row(n).id for n in range(50)]) == {row(n).id for n in range(50)}
        assert_fits_together(view.get([row(n).id for n in range(50)]), np.zeros(WIDTH))
        assert len(find(view, queries, view.count(), SearchOptions())[0]) == view.count()
        assert same_person(view, [row(1).id], 1e9) == {row(1).id}
        assert sum(len(rows) for rows, _ in view.scan()) == view.count()

    together(1.5, writers.write, writers_of_another(writers), search, search, look_up, store.refresh)
    assert len({len(manifest.shards) for manifest in rounds}) > 1, "searches met several states"
    assert numbers_in(FolderStore.read(tmp_path / "gallery")) == numbers_in(store)


def writers_of_another(writers):
    """A second thread that writes to the same store: both take turns, and nothing of either is lost."""
    expected = []

    def write():
        number = 100000 + len(expected)
        with writers.store.writing():
            append(writers.store, [number])
        expected.append(number)
        assert {row(n).id for n in expected} == writers.store.known([row(n).id for n in expected])
        time.sleep(0)

    return write


def test_a_search_goes_on_in_its_state_when_all_of_it_is_removed_in_the_midst(tmp_path, monkeypatch):
    """Forced: the gallery is compacted between ranking and reading the rows that were ranked."""
    store = new_store(tmp_path / "gallery")
    with store.writing():
        for n in range(20):
            append(store, [n])
    from tbps.gallery.folder import snapshot

    rank = snapshot.rank

    def ranked_then_gone(*arguments):
        found = rank(*arguments)
        with store.writing():
            store.remove([row(n).id for n in range(0, 20, 2)])
            append(store, range(200, 230))
            store.compact(4, progress=False)
        return found

    monkeypatch.setattr(snapshot, "rank", ranked_then_gone)
    query = vector(3)
    [found] = store.search(query[None], SearchRequest(5))
    assert_fits_together(found, query)
    best = np.argsort(-(vectors(range(20)).astype(np.float64) @ query), kind="stable")[:5]
    assert [number_of(one.row) for one in found] == best.tolist()
    monkeypatch.undo()
    assert len(store.search(query[None], SearchRequest(40))[0]) == 40
