"""`gallery.json`, damaged or forged: it is read unchanged, or an error names the file."""

import json
import os
import sys

import pytest
from forging import forge, places, replaced
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery import GalleryError
from tbps.gallery.folder.manifest import Manifest
from tbps.gallery.folder.manifest_entries import IndexEntry, ShardEntry
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import Layout

BLOCK = 1 << 18
MANIFEST = Manifest(
    ModelIdentity("a model", "f" * 32, 16),
    Layout("float32", 8, 2, 4),
    "0.1.0",
    next_file=6,
    shards=(
        ShardEntry("shard-000000.arrow", 10, 500, "0" * 16),
        ShardEntry("shard-000001.arrow", 5, BLOCK + 1, "1" * 32, (0, 2, 4)),
        ShardEntry("shard-000005.arrow", 7, BLOCK, "2" * 16, (6,)),
    ),
    index=IndexEntry("index-000004.faiss", 15, 3, 700, "3" * 16, 15, 2, 0.99, 0.995, 256, 1.0),
)


def written(folder, manifest=MANIFEST):
    """Write a manifest and return the content of its file."""
    manifest.write(folder)
    return json.loads((folder / "gallery.json").read_text())


def test_it_is_read_as_it_was_written(tmp_path):
    content = written(tmp_path)
    assert Manifest.read(tmp_path) == MANIFEST
    forge(tmp_path, content)
    assert Manifest.read(tmp_path) == MANIFEST, "whatever the spacing"


FORGERIES = {
    "a shard twice": lambda c: c["shards"].append(c["shards"][0]),
    "shards in another order": lambda c: c["shards"].reverse(),
    "one number in two spellings": lambda c: c["shards"][1].update(file="shard-0000000.arrow"),
    "the number of the index is a shard's": lambda c: c["index"].update(file="index-000005.faiss"),
    "a name outside": lambda c: c["shards"][0].update(file="../shard-000000.arrow"),
    "digits of another script": lambda c: c["shards"][0].update(file="shard-٠٠٠٠٠٠.arrow"),
    "an index for a shard": lambda c: c["shards"][0].update(file="index-000000.faiss"),
    "a shard for an index": lambda c: c["index"].update(file="shard-000004.arrow"),
    "a file to be written": lambda c: c.update(next_file=5),
    "more lists than rows": lambda c: c["index"].update(lists=16),
    "more lists to read than there are": lambda c: c["index"].update(probes=4),
    "a recall above 1": lambda c: c["index"].update(recall=1.5),
    "a negative length": lambda c: c["index"].update(length=-1.0),
    "more rows in an index than it is of": lambda c: c["index"].update(held=16),
    "no lists": lambda c: c["index"].update(lists=0),
    "an index of rows that end within a shard": lambda c: c["index"].update(rows=12),
    "an index of more rows": lambda c: c["index"].update(rows=23),
    "negative rows": lambda c: c["shards"][0].update(rows=-10),
    "a shard without rows": lambda c: c["shards"][0].update(rows=0),
    "truth for a number": lambda c: c["shards"][0].update(rows=True),
    "a fraction of rows": lambda c: c["shards"][0].update(rows=10.0),
    "rows beyond 64 bits": lambda c: c["shards"][0].update(rows=1 << 80),
    "bytes that overflow": lambda c: c["shards"][0].update(size=(1 << 62) - 1),
    "no bytes": lambda c: c["shards"][0].update(size=0, checksums=""),
    "too few checksums": lambda c: c["shards"][1].update(checksums="1" * 16),
    "checksums that are none": lambda c: c["shards"][0].update(checksums="x" * 16),
    "places removed twice": lambda c: c["shards"][1].update(removed=[0, 2, 2]),
    "places in another order": lambda c: c["shards"][1].update(removed=[2, 0, 4]),
    "a place beyond the rows": lambda c: c["shards"][1].update(removed=[0, 2, 5]),
    "a negative place": lambda c: c["shards"][1].update(removed=[-1, 2, 4]),
    "places as a text": lambda c: c["shards"][1].update(removed="024"),
    "places as an object": lambda c: c["shards"][1].update(removed={"0": 1}),
    "rows that are not the sum": lambda c: c.update(rows=20),
    "vectors of another width": lambda c: c["layout"].update(part_dim=5),
    "a width below 1": lambda c: c["layout"].update(prefix_dim=0, part_dim=8),
    "another type of vectors": lambda c: c["layout"].update(dtype="float64"),
    "an unhashable type of vectors": lambda c: c["layout"].update(dtype=["float32"]),
    "a field more": lambda c: c["model"].update(__class__="x"),
    "a field less": lambda c: c["shards"][0].pop("removed"),
    "a list of fields": lambda c: c.update(model=[["name", "x"]]),
    "nothing for an object": lambda c: c.update(layout=None),
    "half a surrogate": lambda c: c["model"].update(name="\ud800"),
    "a list of shards by name": lambda c: c.update(shards={"shard-000000.arrow": c["shards"][0]}),
    "a shard that is a number": lambda c: c["shards"].__setitem__(0, 7),
    "no format": lambda c: c.pop("format_version"),
    "truth for a format": lambda c: c.update(format_version=True),
    "a format of later": lambda c: c.update(format_version=4),
    "the format before": lambda c: c.update(format_version=2),
}


@pytest.mark.parametrize("forged", FORGERIES)
def test_forged_manifests_with_matching_checksums_are_refused(tmp_path, forged):
    content = written(tmp_path)
    FORGERIES[forged](content)
    forge(tmp_path, content)
    with pytest.raises(GalleryError, match=r"gallery\.json"):
        FolderStore.read(tmp_path)


RAW = {
    "empty": b"",
    "a number": b"3",
    "a list": b"[]",
    "not a number": b'{"format_version": NaN}',
    "beyond floats": b'{"format_version": 3, "rows": 1e999}',
    "thousands of digits": b'{"format_version": ' + b"9" * 5000 + b"}",
    "hundreds of digits": b'{"format_version": 3, "rows": ' + b"9" * 400 + b"}",
    "nested": b"[" * 200_000,
    "nested and closed": b'{"format_version": 3, "x": ' + b"[" * 900 + b"]" * 900 + b"}",
    "a name twice": b'{"format_version": 3, "format_version": 3}',
    "no UTF-8": b'{"format_version": "\xff"}',
    "another encoding": '{"format_version": 3}'.encode("utf-16"),
    "cut": b'{"format_version": 3, "sh',
}


@pytest.mark.parametrize("raw", RAW)
def test_a_file_that_is_not_a_manifest_is_named(tmp_path, raw):
    (tmp_path / "gallery.json").write_bytes(RAW[raw])
    with pytest.raises(GalleryError, match=r"gallery\.json is damaged .*tbps gallery repair"):
        FolderStore.read(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs FIFOs and sparse files")
def test_only_a_regular_file_of_bounded_size_is_read(tmp_path):
    path = tmp_path / "gallery.json"
    os.mkfifo(path)
    with pytest.raises(GalleryError, match=r"is a FIFO"):
        FolderStore.read(tmp_path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(GalleryError, match=r"is a character device"):
        FolderStore.read(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(GalleryError, match=r"is a folder"):
        FolderStore.read(tmp_path)
    path.rmdir()
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(GalleryError, match=r"more than \d+ bytes"):
        FolderStore.read(tmp_path)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return written(tmp_path_factory.mktemp("manifest"))


HOSTILE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-2, 30), st.floats(), st.text(max_size=30),
    st.sampled_from([1 << 63, 10**400, "shard-000000.arrow", "index-000001.faiss", "1" * 16, [], {}, [0], [[[]]]]),
)  # fmt: skip


def holds(manifest):
    """Check independently what every manifest guarantees."""
    names = [shard.file for shard in manifest.shards]
    numbers = [int(name[6:-6]) for name in names]
    assert names == [f"shard-{number:06d}.arrow" for number in numbers]
    assert numbers == sorted(set(numbers))
    assert all(number < manifest.next_file for number in numbers)
    assert manifest.layout.prefix_dim + manifest.layout.num_parts * manifest.layout.part_dim == 16
    for shard in manifest.shards:
        assert set(shard.removed) <= set(range(shard.rows))
        assert len(set(shard.removed)) == len(shard.removed)
        assert len(bytes.fromhex(shard.checksums)) == 8 * ((shard.size + BLOCK - 1) // BLOCK)
    if manifest.index is not None:
        assert manifest.index.rows in [sum(shard.rows for shard in manifest.shards[:n]) for n in range(4)]
        assert 1 <= manifest.index.lists <= manifest.index.rows
    assert manifest.rows == sum(shard.rows - len(shard.removed) for shard in manifest.shards)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example writes the file again
@given(data=st.data())
def test_any_value_anywhere_is_refused_or_gives_a_valid_manifest(tmp_path, content, data):
    path = data.draw(st.sampled_from([path for path in places(content) if path]))
    content = replaced(content, path, data.draw(HOSTILE))
    try:
        forge(tmp_path, content)
    except ValueError:  # a lone surrogate, which cannot be encoded
        return
    try:
        manifest = Manifest.read(tmp_path)
    except GalleryError as error:
        said = str(error)
    else:
        holds(manifest)
        return
    assert "gallery.json" in said
    assert len(said) < 1000
