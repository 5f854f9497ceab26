"""A filter means the same in every vector store: a folder, Milvus Lite, and a Milvus server if there is one."""

import json
import math

import pytest
from contract_rows import (
    CAMERAS,
    NAMES,
    QUERIES,
    VALUES,
    assert_found,
    best,
    open_place,
    unit_vectors,
)
from filter_oracle import filters, meets, some_images
from gallery_places import PLACES, new_place
from hypothesis import given, settings

from tbps.gallery.checks import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.metadata import make_row
from tbps.gallery.store import SearchRequest


def has(name, value):
    """The reference's own comparison of JSON values, by their text."""

    def text(one):
        if isinstance(one, int | float) and not isinstance(one, bool):
            return str(int(one)) if one == math.floor(one) else repr(one)
        return json.dumps(one)

    return lambda row: name in json.loads(row.metadata) and text(json.loads(row.metadata)[name]) == text(value)


def timed(begin, end):
    return lambda row: row.timestamp is not None and begin <= row.timestamp < end


FILTERS = [
    (Filter(camera=3), lambda row: row.camera == "3"),
    (Filter(camera=["3", "north", "none such"]), lambda row: row.camera in ("3", "north")),
    (Filter(camera=[]), lambda row: False),
    (Filter(camera=""), lambda row: row.camera == ""),
    (Filter(source="b's.mp4"), lambda row: row.source == "b's.mp4"),
    (Filter(source="none such"), lambda row: False),
    (Filter(since=0), timed(0, math.inf)),
    (Filter(until=1700000000.124), timed(-math.inf, 1700000000.124)),
    (Filter(since=1700000000.1235, until=7e9), timed(1700000000.1235, 7e9)),
    (Filter(since=-2.2e9), timed(-math.inf, math.inf)),
    (Filter(since="2026-05-01T14:30:00", until=1777645800.0001), timed(1777645800, 1777645800.0001)),
    (
        Filter(camera="it's", source="a.mp4", since=-100, metadata={"colour": 1}),
        lambda row: (
            (row.camera, row.source) == ("it's", "a.mp4") and timed(-100, math.inf)(row) and has("colour", 1)(row)
        ),
    ),
    *((Filter(camera=camera), lambda row, name=camera: row.camera == str(name)) for camera in CAMERAS[4:]),
    *(
        (Filter(metadata={name: value}), has(name, value))
        for name in ("colour", *NAMES[1:4])
        for value in [*(one for one in VALUES if isinstance(one, str | int | float)), "none such", 0.5]
    ),
    (Filter(metadata={"camera": 3}), has("camera", 3)),
    (Filter(metadata={"camera": "3"}), has("camera", "3")),
]


def test_a_filter_selects_exactly_the_matching_rows(filled):
    hits = 0
    for filter, fits in FILTERS:
        found = filled.search(QUERIES[:1], SearchRequest(7, filter=filter))[0]
        assert_found(found, QUERIES[0], best(QUERIES[0], 7, fits))
        hits += len(found)
    assert hits > len(FILTERS), "most filters have something to find"


IMAGES = some_images(60)


@pytest.fixture(scope="module", params=PLACES)
def varied(request, tmp_path_factory):
    with new_place(request.param, tmp_path_factory.mktemp("varied")) as place:
        store = open_place(place)
        store.append([make_row(f"{n:03d}", *image) for n, image in enumerate(IMAGES)], unit_vectors(len(IMAGES)))
        yield store


@settings(max_examples=60, deadline=None)
@given(filter=filters(with_texts=False))
def test_any_filter_means_the_same_in_every_store(varied, filter):
    fit = [f"{n:03d}" for n, image in enumerate(IMAGES) if meets(filter, *image)]
    assert [row["id"] for piece in varied.iter_rows(["id"], filter) for row in piece] == fit
    assert varied.count(filter) == len(fit)
    found = varied.search(QUERIES[:1], SearchRequest(len(IMAGES), filter=filter))[0]
    assert sorted(one.row.id for one in found) == fit


def test_a_range_over_text_is_applied_or_refused_by_name(varied):
    asked = Filter(none_of=[Filter(metadata={"x": {">": "a", "<": "c"}})])
    if isinstance(varied, FolderStore):
        assert varied.count(asked) == sum(meets(asked, *image) for image in IMAGES) < len(IMAGES)
        return
    for use in (varied.count, lambda filter: list(varied.iter_rows(["id"], filter)),
                lambda filter: varied.search(QUERIES[:1], SearchRequest(3, filter=filter))):  # fmt: skip
        with pytest.raises(GalleryError, match="'x' > 'a' compares text, and Milvus compares numbers only"):
            use(asked)
