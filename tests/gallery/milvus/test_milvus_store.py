"""A gallery in Milvus: refusals and error messages. Its other behaviour is tested in test_store_contract.py."""

import json
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
import pytest
from gallery_places import NO_SERVER, TOKEN, URI, new_place
from hypothesis import given, settings
from hypothesis import strategies as st
from milvus_process import KILLED, LAYOUT, MODEL, OPENING, many_rows, new_rows, run_elsewhere

from tbps.gallery.checks import GalleryError
from tbps.gallery.copy import copy_rows
from tbps.gallery.filters import Filter
from tbps.gallery.metadata import changed_row, make_row
from tbps.gallery.milvus.client import Address, parse_address
from tbps.gallery.milvus.expressions import expression
from tbps.gallery.milvus.rows import to_entity, to_row
from tbps.gallery.milvus.tags import digest, ordered, prefixes, tags
from tbps.gallery.open_store import open_existing, open_store
from tbps.gallery.store import Row, SearchRequest

HOSTILE = ['"] or id != "', "\\", "x\\", '"', "'", "%", "{x}", "\x00", "\n", "名"]


@pytest.fixture
def place(tmp_path):
    with new_place("lite", tmp_path) as new:
        yield new


@pytest.fixture
def store(place):
    return open_store(place.where, MODEL, LAYOUT)


@pytest.fixture
def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]  # bound, but not listening


def test_addresses():
    assert parse_address("https://host:443/people") == Address("https://host:443", "", "people")
    assert parse_address("http://[::1]:19530/site/people") == Address("http://[::1]:19530", "site", "people")
    lite = parse_address("some/where.db")
    assert (lite.collection, lite.is_lite) == ("gallery", True)
    assert lite.uri.endswith("/some/where.db")
    assert lite.uri.startswith("/")


@pytest.mark.parametrize(
    "where", ["http://host:1", "http://host:1/", "http://host/a/b/c", "http:///people", "http://host/people?x=1",
              "http://host/9people", "http://host/pe-ople", "http://host/a.b/people"],
)  # fmt: skip
def test_an_address_that_names_no_collection_is_refused(where):
    with pytest.raises(GalleryError, match=r"must be https://host:port/collection|a name that Milvus does not allow"):
        parse_address(where)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(GalleryError, match="token='user:password'") as caught:
        parse_address("https://root:hunter2@host:443/people")
    assert "hunter2" not in str(caught.value)


def test_without_a_server_the_error_does_not_contain_the_token(closed_port):
    with pytest.raises(GalleryError, match=rf"127.0.0.1:{closed_port}.*Check that the server runs") as caught:
        open_store(f"http://127.0.0.1:{closed_port}/people", MODEL, LAYOUT, "root:hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.skipif(not (URI and TOKEN), reason=f"{NO_SERVER}, with a token that it checks")
def test_a_wrong_token_is_refused_and_the_error_does_not_contain_it():
    with pytest.raises(GalleryError, match="the token") as caught:
        open_store(f"{URI}/people", MODEL, LAYOUT, "root:hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("missing", ["pymilvus", "milvus_lite"])
def test_without_the_client_the_error_says_what_to_install(missing, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'tbps\[milvus\]'"):
        open_store(tmp_path / "people.db", MODEL, LAYOUT)


def test_a_collection_with_other_data_is_refused(place):
    from pymilvus import MilvusClient

    client = MilvusClient(place.where)
    client.create_collection("gallery", dimension=4)
    client.close()
    with pytest.raises(GalleryError, match="is not a gallery: the collection holds other data"):
        open_store(place.where, MODEL, LAYOUT)


def describe_as(place, change):
    """Change the description of the gallery, as another version or another program may have done."""
    from pymilvus import MilvusClient

    client = MilvusClient(place.where)
    described = json.loads(client.describe_collection("gallery")["properties"]["tbps.gallery"])
    assert described["layout"]["dtype"] == "float32", "in Milvus, whatever the layout asks for"
    client.alter_collection_properties("gallery", properties={"tbps.gallery": change(described)})
    client.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda described: json.dumps({**described, "format": 9}),
        lambda described: json.dumps({**described, "format": [2]}),
        lambda described: json.dumps({**described, "layout": 3}),
        lambda described: json.dumps({**described, "model": {"name": "x"}}),
        lambda described: json.dumps({**described, "layout": {**described["layout"], "num_parts": -1}}),
        lambda described: "[]",
        lambda described: "[" * 5000,
        lambda described: "{",
        lambda described: json.dumps({}),
    ],
)
def test_an_invalid_description_is_refused(store, place, change):
    describe_as(place, change)
    with pytest.raises(GalleryError, match="cannot be used by this version of tbps"):
        open_store(place.where, MODEL, LAYOUT)
    with pytest.raises(GalleryError, match="cannot be used by this version of tbps"):
        open_existing(place.where)


def test_the_old_format_can_only_be_copied(store, place, tmp_path):
    rows = [make_row(f"{n}", f"/a/{n}.jpg", {"camera": n % 2, "timestamp": n}) for n in range(5)]
    store.append(rows, np.eye(5, 4, dtype=np.float32))
    model = {name: value for name, value in asdict(MODEL).items() if name != "traits"}  # as format 1 wrote it
    describe_as(place, lambda described: json.dumps({**described, "format": 1, "model": model}))
    with pytest.raises(
        GalleryError, match=r"format 1, which can no longer be searched or changed\. Copy .*`tbps gallery export"
    ):
        open_store(place.where, MODEL, LAYOUT)
    earlier = open_existing(place.where)
    with pytest.raises(GalleryError, match="format 1"):
        earlier.count(Filter(camera=1))
    with pytest.raises(GalleryError, match="format 1"), earlier.writing():
        pass
    copy = open_store(tmp_path / "copy", MODEL, LAYOUT)
    assert copy_rows(earlier, copy, progress=False) == 5
    assert [row for some, _ in copy.scan() for row in some] == rows


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (make_row("a b", None, {}), "_.:/-, got 'a b'"),
        (make_row('x" or "', None, {}), "An id in Milvus must be"),
        (make_row("a" * 257, None, {}), "must be 1 to 256 ASCII letters"),
        (
            make_row("a", "/x.png", {"note": "é" * 11000}),
            "metadata of /x.png has 66012 bytes. Milvus stores at most 65535",
        ),
        (Row("a", None, "{}", thumbnail=bytes(50000)), "thumbnail of a has 66668 bytes"),
        (
            Row("a", None, json.dumps(dict.fromkeys(map(str, range(4097)), 0))),
            "too many entries. Milvus stores at most 4096",
        ),
    ],
)
def test_rows_that_milvus_cannot_store_are_refused_before_anything_is_written(store, row, said):
    with pytest.raises(GalleryError, match=said):
        store.append([make_row("good", None, {}), row], np.eye(4, dtype=np.float32)[:2])
    assert store.count() == 0


def test_the_longest_metadata_that_milvus_stores(store):
    row = make_row("a", None, {"note": "x" * (65535 - len('{"note": ""}'))})
    store.append([row], np.eye(4, dtype=np.float32)[:1])
    assert store.get(["a"])[0].row == row


@pytest.mark.parametrize("mode", ["int8", "global", "index"])
def test_every_mode_is_exact(store, mode):
    vectors = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    store.append([Row(f"{n}", None, "{}") for n in range(50)], vectors)
    [found] = store.search(vectors[:1], SearchRequest(5, mode, candidates=5, nprobe=1))
    assert [int(one.row.id) for one in found] == np.argsort(-vectors @ vectors[0])[:5].tolist()


def test_a_k_above_the_limit_of_milvus_is_refused(store):
    store.append([make_row("a", None, {})], np.eye(4, dtype=np.float32)[:1])
    assert len(store.search(np.eye(4, dtype=np.float32), SearchRequest(16384))) == 4
    with pytest.raises(GalleryError, match="k must be at most 16384"):
        store.search(np.eye(4, dtype=np.float32), SearchRequest(16385))


def test_metadata_that_an_earlier_version_accepted_are_read_as_far_as_possible(store, tmp_path):
    kept = '{"camera": 3.0, "timestamp": 1777645800000, "source": [1], "floor": 2}'
    folder = open_store(tmp_path / "folder", MODEL, LAYOUT)
    folder.append([Row("a", None, kept, "3.0", 1777645800000.0, "[1]")], np.ones((1, 4), np.float32))
    assert copy_rows(folder, store, progress=False) == 1
    [[row]] = [rows for rows, _ in store.scan()]
    assert row == Row("a", None, kept, "3", None, None)
    for filter, count in ((Filter(camera=3), 1), (Filter(since=0), 0), (Filter(metadata={"floor": {">": 1}}), 1)):
        assert store.count(filter) == count
    with pytest.raises(
        GalleryError,
        match="The stored metadata of the image 'a' is not valid: timestamp=1777645800000: expected a time",
    ):
        changed_row(row, None, {"floor": 3, "source": "x"})
    assert changed_row(row, None, {"timestamp": 1777645800, "source": None}).timestamp == 1777645800


@pytest.mark.parametrize("change", [{"path": "{"}, {"path": "3"}, {"path": "[" * 9999}, {"thumbnail": "a"},
                                    {"metadata": "[]"}, {"metadata": "nil"}], ids=str)  # fmt: skip
def test_an_entity_that_tbps_did_not_write_is_named(change):
    entity = to_entity(make_row("a", "/x", {"camera": 1}), np.ones(4), 1)
    with pytest.raises(GalleryError, match=r"'a'.*[Rr]emove"):
        to_row({**entity, **change})


@pytest.mark.parametrize("text", HOSTILE)
def test_expressions_contain_no_text_of_users(text):
    asked = expression(Filter(camera=text, source=[text], metadata={text: text}), {text, "abc"})
    known = expression(Filter(camera="x", source=["x"], metadata={"x": "x"}), {"abc"})
    assert len(asked) == len(known), "digests alone differ"
    assert text in ("%", "{x}", "'", '"', "x\\") or text not in asked


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_found_unchanged(store, text):
    store.append(
        [make_row("mine", None, {"camera": text}), make_row("other", None, {"camera": "north"})], np.ones((2, 4))
    )
    found = store.search(np.ones((1, 4), np.float32), SearchRequest(2, filter=Filter(camera=text)))[0]
    assert [one.row.id for one in found] == ["mine"]
    assert found[0].row.camera == text


def test_numbers_texts_and_booleans_have_different_digests():
    def digests(value):
        return tags(make_row("a", None, {"x": value}))

    distinct = [True, False, 1, 0, "1", "True", 0.5, "0.5", 2**53 + 1, float(2**53), -1, "", float("inf")]
    assert len({tuple(digests(value)) for value in distinct}) == len(distinct)
    assert digests(1) == digests(1.0)
    assert digests(-0.0) == digests(0)
    for unasked in (None, [1], {"a": 1}, float("nan")):
        assert digests(unasked) == []
    assert digest("row", "camera", "x") != digest("row", "source", "x")
    one, other = (to_entity(make_row("a", None, {"camera": camera}), np.ones(4), 0) for camera in ("", None))
    assert one["camera_digest"] != other["camera_digest"]


NUMBERS = st.one_of(
    st.integers(-(10**5), 10**5),
    st.integers(-(2**60), 2**60),
    st.builds(lambda base, step: base + step, st.sampled_from([2**53, -(2**53), 10**30, -(10**400), 10**308]),
              st.integers(-3, 3)),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 2.0**53, sys.float_info.max, -sys.float_info.max, 5e-324]),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(NUMBERS, NUMBERS)
def test_texts_sort_like_their_numbers_and_ranges_match(number, bound):
    text, other = ordered(number), ordered(bound)
    assert ((text < other), (text == other)) == ((number < bound), (number == bound))
    assert text == other or not other.startswith(text)
    expected = {">=": number >= bound, ">": number > bound, "<=": number <= bound, "<": number < bound}
    for sign, fits in expected.items():
        assert any(text.startswith(start) for start in prefixes(sign, bound)) == fits


def test_after_a_kill_during_a_commit_the_rest_is_added_once(place):
    killed = run_elsewhere(KILLED.format(where=place.where, rows="many_rows"))
    assert killed.returncode == -signal.SIGKILL
    store = open_store(place.where, MODEL, LAYOUT)
    known = store.known([row.id for row in many_rows()])
    assert known == {row.id for row in many_rows()[:1000]}
    left = [row for row in many_rows() if row.id not in known]
    store.append(left, np.ones((500, 4)))
    assert store.count() == 1500
    assert [row for rows, _ in store.scan() for row in rows] == many_rows()


def test_after_a_kill_during_an_update_each_row_is_old_or_new_and_it_can_be_repeated(place):
    store = open_store(place.where, MODEL, LAYOUT)
    store.append(many_rows(), np.ones((1500, 4)))
    place.stop()
    assert run_elsewhere(KILLED.format(where=place.where, rows="new_rows")).returncode == -signal.SIGKILL
    store = open_store(place.where, MODEL, LAYOUT)
    assert store.count() == 1500
    found = {row.id: row for rows, _ in store.scan() for row in rows}
    assert list(found.values()) == many_rows()[1000:] + new_rows()[:1000]
    store.replace(new_rows())
    assert [row for rows, _ in store.scan() for row in rows] == new_rows()


def test_a_file_that_another_process_has_open_is_refused(store, place):
    other = run_elsewhere(OPENING.format(where=place.where))
    assert other.returncode == 1
    assert "GalleryError" in other.stderr
    assert "Only one process at a time can open a Milvus Lite file" in other.stderr


@pytest.mark.parametrize("kind", ["lite", "server"])
def test_opening_and_adding_at_the_same_time_gives_one_gallery_without_duplicates(kind, tmp_path):
    def add(worker: int) -> None:
        store = open_store(place.where, MODEL, LAYOUT, place.token)
        store.append(many_rows()[worker : worker + 6], np.ones((6, 4)))

    with new_place(kind, tmp_path) as place:
        if kind == "lite":
            open_store(place.where, MODEL, LAYOUT)  # only one thread can start its server
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(4)))
        store = open_store(place.where, MODEL, LAYOUT, place.token)
        assert store.count() == 9
        assert sorted(row.id for rows, _ in store.scan() for row in rows) == [str(n) for n in range(9)]
