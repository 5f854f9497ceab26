"""Rows listed and counted without their vectors, removal by a filter, and that it erases."""

import traceback

import numpy as np
import pytest
from filter_oracle import filters, meets, some_images
from gallery_places import PLACES, new_place
from hypothesis import given, settings
from tiny import SENTENCES

from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery import Filter, Gallery
from tbps.gallery.folder.shards import Shard
from tbps.gallery.metadata import make_row
from tbps.gallery.open_store import open_store
from tbps.gallery.records import remove_where
from tbps.gallery.store import Layout
from tbps.gallery.values import select_rows, values_of

MODEL, LAYOUT = ModelIdentity("m", "f", 4), Layout("float32", 2, 1, 2)
IMAGES = some_images(40)


def fill(store, images):
    rows = [make_row(f"{n:03d}", *image) for n, image in enumerate(images)]
    vectors = np.random.default_rng(0).standard_normal((len(rows), 4)).astype(np.float32)
    with store.writing():
        for start in range(0, len(rows), 17):
            store.append(rows[start : start + 17], vectors[start : start + 17])
    return rows, vectors


def contents(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@settings(max_examples=15, deadline=None)
@given(where=filters().filter(lambda filter: not filter.is_empty))
def test_what_a_filter_removes_is_in_no_file_after_compaction_and_all_else_is(tmp_path_factory, where):
    folder = tmp_path_factory.mktemp("erased") / "g"
    store = open_store(folder, MODEL, LAYOUT)
    images = [(path, {**metadata, "secret": f"secret {n:03d} of"}) for n, (path, metadata) in enumerate(IMAGES)]
    rows, vectors = fill(store, images)
    gone = [n for n, image in enumerate(images) if meets(where, *image)]
    with store.writing():
        assert remove_where(store, where) == len(gone)
        assert remove_where(store, where) == 0
        store.compact(100, progress=False)
    left = contents(folder)
    for n, row in enumerate(rows):
        for trace in (f"secret {n:03d} of".encode(), vectors[n].tobytes()):
            assert (trace in left) == (n not in gone), row
    assert [row["id"] for row in select_rows(store, None, ["id"])] == [
        row.id for n, row in enumerate(rows) if n not in gone
    ]


@pytest.mark.parametrize("kind", PLACES)
def test_rows_values_and_removal_are_the_same_in_every_store(tmp_path, kind):
    with new_place(kind, tmp_path) as place:
        store = open_store(place.where, MODEL, LAYOUT, place.token)
        rows, _ = fill(store, IMAGES)
        found = list(select_rows(store, Filter(camera=1), ["id", "metadata", "timestamp"]))
        fit = [n for n, image in enumerate(IMAGES) if meets(Filter(camera=1), *image)]
        assert [row["id"] for row in found] == [rows[n].id for n in fit]
        assert [row["metadata"] for row in found] == [IMAGES[n][1] for n in fit]
        assert [row["timestamp"] for row in found] == [rows[n].timestamp for n in fit]
        for name in ("camera", "source", "x", "y", "none such"):
            counted = values_of(store, name)
            kept = [row.camera if name == "camera" else row.source for row in rows]
            if name in ("x", "y", "none such"):
                kept = [metadata.get(name) for _, metadata in IMAGES]
            kept = [value for value in kept if value is not None]
            assert sum(count for _, count in counted) == len(kept)
            assert [count for _, count in counted] == sorted((count for _, count in counted), reverse=True)
            for value, count in counted:
                assert count == sum(one == value and isinstance(one, bool) == isinstance(value, bool) for one in kept)
        with store.writing():
            assert remove_where(store, Filter(none_of=[Filter(camera=1)])) == len(rows) - len(fit)
        assert [row["id"] for row in select_rows(store, None, ["id"])] == [rows[n].id for n in fit]


def test_a_listing_reads_no_vector_and_sees_one_state(tmp_path, monkeypatch):
    store = open_store(tmp_path / "g", MODEL, LAYOUT)
    rows, vectors = fill(store, IMAGES)
    walk = select_rows(store.snapshot(), None, ["id"])
    first = next(walk)
    with store.writing():
        store.remove([row.id for row in rows[20:]])
        store.append([make_row("new", None, {})], vectors[:1])
    monkeypatch.setattr(Shard, "vectors", None)
    assert [first["id"], *(row["id"] for row in walk)] == [row.id for row in rows]
    assert [row["id"] for row in select_rows(store, None, ["id"])] == [row.id for row in rows[:20]] + ["new"]


def test_a_gallery_counts_lists_and_removes_by_filters(tmp_path, tiny_model, tiny_processor, pictures):
    gallery = Gallery.open(tmp_path / "g", tiny_model, tiny_processor)
    floors = [{"floor": n, "track": "t"} for n in range(len(pictures))]
    ids = gallery.add(pictures, floors, progress=False, thumbnails=True).added
    high = Filter(metadata={"floor": {">=": 2}})
    assert (gallery.count(), gallery.count(high), gallery.count(Filter())) == (4, 2, 4)
    assert list(gallery.rows()) == [
        {"id": id, "path": None, "metadata": entry} for id, entry in zip(ids, floors, strict=True)
    ]
    assert [row["thumbnail"][:2] for row in gallery.rows(high, ["thumbnail"])] == [b"\xff\xd8"] * 2
    assert gallery.values("floor", where=high) == [(2, 1), (3, 1)]
    assert gallery.values("track") == [("t", 4)]
    for wrong in (
        lambda: gallery.remove(),
        lambda: gallery.remove(ids, where=high),
        lambda: gallery.rows(columns="id"),
        lambda: gallery.values(3),
    ):
        with pytest.raises(TypeError):
            wrong()
    for wrong in (
        lambda: gallery.remove(where=Filter()),
        lambda: gallery.remove(where=Filter(any_of=[high, Filter()])),
        lambda: gallery.remove(where=Filter(all_of=[Filter()], metadata={})),
        lambda: gallery.rows(columns=[]),
        lambda: gallery.rows(columns=["vector"]),
        lambda: gallery.rows(columns=[3]),
        lambda: gallery.values("\udcff"),
    ):
        with pytest.raises(ValueError, match=r"has no conditions|expected some of|not Unicode text"):
            wrong()
    assert gallery.remove(where=high) == 2
    assert [hit.id for hit in gallery.get(ids) if hit] == ids[:2]
    assert {hit.id for hit in gallery.search(SENTENCES[0])} == set(ids[:2])
    assert list(gallery.rows(columns=("metadata",))) == [{"metadata": one} for one in floors[:2]]


STRANGE = [None, 1, 1.5, b"x", "x", [1], [None], [b"x"], ["\udcff"], {"a": 1}, {1, 2}, object(), float("nan"), [["a"]],
           (n for n in ()), np.array(["a"]), np.array([1.0]), True, "", [""], 10**5000, [10**5000], ["x" * 9999],
           "\x00", ["\x00"], range(3)]  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "lite"])
def test_what_makes_no_sense_is_named_and_changes_nothing(tmp_path, tiny_model, tiny_processor, pictures, kind):
    """Whatever is given for whatever: an answer, or an error of this package's own words."""
    with new_place(kind, tmp_path) as place:
        gallery = Gallery.open(place.where, tiny_model, tiny_processor)
        gallery.add(pictures, [{"n": n} for n in range(4)], progress=False)
        before = list(gallery.rows())
        options = ("where", "exclude", "exclude_similar", "group_by", "min_score", "mode", "candidates", "nprobe")
        fields = ("camera", "source", "since", "until", "metadata", "path", "all_of", "any_of", "none_of")
        uses = {name: lambda value, name=name: gallery.search("a bag", **{name: value}) for name in options}
        uses |= {f"Filter {name}": lambda value, name=name: Filter(**{name: value}) for name in fields}
        uses |= {
            name: getattr(gallery, name) for name in ("get", "remove", "update", "values", "count", "why_none", "rows")
        }
        uses |= {
            "k": lambda value: gallery.search("a bag", k=value),
            "removed": lambda value: gallery.remove(where=value),
            "columns": lambda value: gallery.rows(columns=value),
            "updated": lambda value: gallery.update({before[0]["id"]: {"n": 0, "camera": [value]}}),
            "asked": lambda value: gallery.count(Filter(metadata={"x": [[value]]})),
            "sync": lambda value: gallery.sync(value, progress=False),
        }
        said = [(name, value, outcome(use, value)) for name, use in uses.items() for value in STRANGE]
        assert [one for one in said if one[2] != "fine"] == []
        assert list(gallery.rows()) == before


def outcome(use, value):
    """ "fine" after an answer and after an error that was raised here on purpose, in not too many words."""
    try:
        use(value)
    except (TypeError, ValueError, FileNotFoundError) as error:
        raised_by = traceback.extract_tb(error.__traceback__)[-1].filename
        return "fine" if "/tbps/" in raised_by and len(str(error)) < 1000 else f"{error!r:.200} in {raised_by}"
    except Exception as error:
        return f"{error!r:.200}"
    return "fine"
