"""Files that commits merge: their number, how often rows are written, and that rows do not change."""

import os
from collections import namedtuple
from itertools import accumulate

import numpy as np
import pytest
from handmade_gallery import (
    append,
    assert_finds_what_a_plain_product_finds,
    assert_only_its_files,
    new_store,
    numbers_in,
    row,
    vectors,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.gallery import GalleryError
from tbps.gallery.copy import copy_rows
from tbps.gallery.folder.manifest_entries import ShardEntry
from tbps.gallery.folder.merging import (
    FAN_OUT,
    FULL,
    bytes_needed,
    divide_rows,
    entries_before,
    even_file_size,
    files_to_merge,
    level_of,
)
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import ROWS_PER_FILE

pytestmark = pytest.mark.usefixtures("no_fsync")
Usage = namedtuple("Usage", "total used free")
COMMITS = st.lists(
    st.one_of(st.integers(1, 9), st.integers(1, 5000), st.integers(30000, 200000)), min_size=1, max_size=60
)


def assert_few(sizes):
    levels = [level_of(size) for size in sizes]
    assert levels == sorted(levels, reverse=True)
    for level in range(FULL):
        assert levels.count(level) < FAN_OUT


@settings(max_examples=100, deadline=None)
@given(st.one_of(COMMITS, COMMITS.flatmap(lambda some: st.integers(1, 9).map(lambda times: some * times))))
def test_the_number_of_files_and_of_writes_is_bounded(commits):
    files = []  # for each: its rows, and the largest number of times that one of them was written
    written = 0
    for new in commits:
        count = files_to_merge([rows for rows, _ in files], new)
        taken, files = files[len(files) - count :], files[: len(files) - count]
        total = new + sum(rows for rows, _ in taken)
        times = 1 + max((times for _, times in taken), default=0)
        size = even_file_size(total) if count else new
        files += [(len(range(first, min(first + size, total))), times) for first in range(0, total, size)]
        written += total
        assert_few([rows for rows, _ in files])
        assert times <= FULL + 1
        assert count == 0 or max(rows for rows, _ in files) <= max(ROWS_PER_FILE, *commits)
    assert sum(rows for rows, _ in files) == sum(commits)
    assert written <= (FULL + 1) * sum(commits)


def test_many_commits_of_one_row_leave_few_files_and_are_written_few_times():
    sizes, written = [], 0
    for _ in range(5000):
        count = files_to_merge(sizes, 1)
        sizes[len(sizes) - count :] = [1 + sum(sizes[len(sizes) - count :])]
        written += sizes[-1]
    assert_few(sizes)
    assert len(sizes) <= 7 * 5
    assert written / 5000 <= 5  # five levels, from 1 to 4,096 rows


def test_many_existing_files_become_few():
    sizes = [1] * 1018
    for _ in range(8):
        count = files_to_merge(sizes, 1)
        sizes[len(sizes) - count :] = [1 + sum(sizes[len(sizes) - count :])]
    assert_few(sizes)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 50), st.integers(1, 100))
def test_rows_are_divided_in_order_and_the_disk_space_is_exact(kept, size, width):
    rows = [(source, place) for source, count in enumerate(kept) for place in range(count)]
    parts = divide_rows(kept, size)
    assert [[(s, n) for s, start, stop in part for n in range(start, stop)] for part in parts] == [
        rows[first : first + size] for first in range(0, len(rows), size)
    ]
    there, peak = {source: width * count for source, count in enumerate(kept)}, 0
    most = sum(there.values())
    for part in reversed(parts):  # the slow way: the bytes on disk after each step
        there[f"new {part}"] = width * sum(stop - start for _, start, stop in part)
        peak = max(peak, sum(there.values()) - most)
        for source, start, _ in part:
            if start == 0:
                del there[source]
    assert bytes_needed(parts, kept, [width * count for count in kept]) == peak


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=4), st.data())
def test_entries_before_a_range_have_only_the_rows_before_it(removed, data):
    entries = [
        ShardEntry(f"shard-{n:06d}.arrow", 10, 5, "0" * 16, tuple(sorted(gone))) for n, gone in enumerate(removed)
    ]
    kept = [entry.live for entry in entries]
    ends = list(accumulate(kept))
    for part in divide_rows(kept, data.draw(st.integers(1, 12)))[1:]:
        left = entries_before(entries, part[0])
        before = ends[part[0].source] - kept[part[0].source] + part[0].start
        assert sum(entry.live for entry in left) == before
        for entry, old in zip(left, entries, strict=False):
            assert set(entry.removed) >= set(old.removed)


STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "append", "append", "remove", "replace", "compact", "reopen"]),
              st.integers(1, 20)),
    min_size=1, max_size=12,
)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@settings(max_examples=8, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 9))
def test_merging_keeps_rows_their_order_and_hits(tmp_path_factory, dtype, steps, seed):
    directory = tmp_path_factory.mktemp("gallery") / dtype
    store, rng, state = new_store(directory, dtype), np.random.default_rng(seed), {}
    stored, fresh = {}, 0
    for what, amount in steps:
        chosen = [int(n) for n in rng.permutation(list(state))[:amount]]
        with store.writing():
            if what == "append":
                numbers = list(range(fresh, fresh + amount))
                append(store, numbers)
                fresh += amount
                state |= dict.fromkeys(numbers, 0)
                found = store.get([row(n).id for n in numbers])
                stored |= {n: one.vector for n, one in zip(numbers, found, strict=True)}
            elif what == "remove" and chosen:
                store.remove([row(n).id for n in chosen])
                state = {n: value for n, value in state.items() if n not in chosen}
            elif what == "replace" and chosen:
                store.replace([row(n, state[n] + 1) for n in chosen])
                state = {n: v for n, v in state.items() if n not in chosen} | {n: state[n] + 1 for n in chosen}
            elif what == "compact" and state:
                store.compact(amount, progress=False)
        if what == "reopen" and directory.exists():
            store = new_store(directory, dtype)
        assert [one for rows, _ in store.scan() for one in rows] == [row(n, value) for n, value in state.items()]
        for n, one in zip(state, store.get([row(n).id for n in state]), strict=True):
            np.testing.assert_array_equal(one.vector, stored[n])  # bit for bit: rounded only once
        if state:
            assert_only_its_files(store, directory)
            assert_finds_what_a_plain_product_finds(store, list(state))
            store.check(progress=False)


def test_codes_never_drift_in_an_int8_gallery(tmp_path):
    """120 updates and compactions must not round again."""
    store = new_store(tmp_path / "gallery", "int8")
    with store.writing():
        append(store, range(12))
        first = {one.row.id: one.vector for one in store.get([row(n).id for n in range(12)])}
        for time in range(120):
            store.replace([row(n, time) for n in range(time % 7, 12, 4)])
            if time % 10 == 0:
                store.compact(11, progress=False)
                append(store, [1000 + time])
    for id, vector in first.items():
        np.testing.assert_array_equal(store.get([id])[0].vector, vector)


def test_codes_are_exported_and_imported_unchanged(tmp_path):
    """Copy from gallery to gallery ten times, and back into the first one."""
    first = new_store(tmp_path / "0", "int8")
    with first.writing():
        append(first, range(300))
        first.remove([row(7).id])
    source = first
    for turn in range(1, 11):
        target = new_store(tmp_path / f"{turn}", "int8")
        assert copy_rows(source, target, progress=False) == 299
        source = target
    assert copy_rows(source, first, progress=False) == 0
    for one, other in zip(first.scan(), source.scan(), strict=True):
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], other[1])


@pytest.fixture
def few_descriptors():
    resource = pytest.importorskip("resource", reason="needs limits of processes")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64 + len(os.listdir("/dev/fd")), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_commit_every_ten_minutes_for_a_week(tmp_path, few_descriptors):
    """Make 1,100 commits of one row, with at most 64 open files."""
    store = new_store(tmp_path / "gallery")
    with store.writing():
        for number in range(1100):
            append(store, [number])
    assert len(store.manifest.shards) <= 7 * 4  # the levels of 1, 8, 64 and 512 rows
    assert_only_its_files(store, tmp_path / "gallery")
    for opened in (store, FolderStore.read(tmp_path / "gallery")):
        assert numbers_in(opened) == list(range(1100))
        assert_finds_what_a_plain_product_finds(opened, list(range(1100)))


def test_a_full_disk_stops_merging_and_refuses_compaction(tmp_path, monkeypatch):
    store, size, free = new_store(tmp_path / "gallery"), 1 << 40, 1 << 20
    monkeypatch.setattr("tbps.gallery.folder.rewriting.shutil.disk_usage", lambda path: Usage(size, 0, free))
    with store.writing():
        for number in range(10):
            append(store, [number])
        assert len(store.manifest.shards) == 10
        before = (tmp_path / "gallery" / "gallery.json").read_bytes()
        with pytest.raises(GalleryError, match=r"needs 1 MiB of free disk space, and 1 MiB are free.*Nothing was"):
            store.compact(100, progress=False)
        assert (tmp_path / "gallery" / "gallery.json").read_bytes() == before
        assert store.remove([row(3).id]) == 1
        size = free = 0  # as file systems without a size report
        append(store, [10])
        assert len(store.manifest.shards) == 1
    assert numbers_in(store) == [n for n in range(11) if n != 3]


def test_indexed_rows_stay_in_their_files(tmp_path):
    pytest.importorskip("faiss")
    store = new_store(tmp_path / "gallery")
    with store.writing():
        for number in range(6):
            append(store, [number])
        store.build_index(progress=False)
        indexed = store.manifest.shards
        store.remove([row(2).id])
        for number in range(6, 60):
            append(store, [number])
        assert [entry.file for entry in store.manifest.shards[:6]] == [entry.file for entry in indexed]
        assert len(store.manifest.shards) <= 6 + 14
    assert numbers_in(store) == [n for n in range(60) if n != 2]
    assert_finds_what_a_plain_product_finds(store, numbers_in(store))


def test_float32_returns_appended_vectors_unchanged(tmp_path):
    """Check the reference of these tests: float32 stores vectors unchanged."""
    store = new_store(tmp_path / "gallery")
    with store.writing():
        append(store, range(20))
    np.testing.assert_array_equal([one.vector for one in store.get([row(n).id for n in range(20)])], vectors(range(20)))
