"""Shards with other columns, lengths or offsets, and matching checksums."""

import os
import sys

import numpy as np
import pyarrow as pa
import pytest

from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery import GalleryError
from tbps.gallery.folder.checked_file import CheckedFile, block_checksums
from tbps.gallery.folder.manifest_entries import Origin, ShardEntry
from tbps.gallery.folder.shard_file import check_seal, read_origin, to_bytes
from tbps.gallery.folder.shards import Shard, make_batch
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import Layout, Row, SearchRequest

WIDTH = 16
ORIGIN = Origin(ModelIdentity("m", "f", WIDTH), Layout("float32", 8, 2, 4), "0.1.0", 3)
VECTORS = np.random.default_rng(0).standard_normal((5, WIDTH)).astype(np.float32)
ROWS = [Row(f"{n}", f"/{n}.png", "{}", "c1", float(n)) for n in range(5)]


@pytest.fixture
def batch():
    return make_batch(ROWS, VECTORS, ORIGIN)


def stream(*batches, **options):
    batches = [named(one) for one in batches]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for one in batches:
            writer.write_batch(one)
    return sink.getvalue().to_pybytes()


def named(batch):
    """Serialise batches under the name by which they are opened."""
    metadata = batch.schema.metadata
    return batch.replace_schema_metadata(metadata and {b"tbps.file": b"shard-000000.arrow", **metadata})


def opened(folder, data, rows=5, origin=ORIGIN):
    """Open a shard with these bytes and their checksums."""
    (folder / "shard-000000.arrow").write_bytes(data)
    return Shard(folder, ShardEntry("shard-000000.arrow", rows, len(data), block_checksums(data)), origin)


def read(shard):
    """Read everything from a shard."""
    shard.rows(np.arange(len(shard)))
    shard.vectors(slice(None))
    return shard.codes, [shard.row_numbers(name) for name in ("scale", "length", "slack", "reach")]


def test_it_is_read_as_it_was_written(tmp_path, batch):
    shard = opened(tmp_path, stream(batch))
    assert shard.rows(np.arange(5)) == ROWS
    np.testing.assert_array_equal(shard.vectors(slice(None)), VECTORS)
    read(shard)


def with_column(batch, name, array):
    return batch.set_column(batch.schema.get_field_index(name), name, array)


def lists(numbers, width, kind):
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers, kind), width)


OTHERS = {
    "a column more": lambda b: b.append_column("x", pa.array(range(5))),
    "a column less": lambda b: b.drop_columns(["slack"]),
    "a column twice": lambda b: b.append_column("id", b["id"]),
    "columns in another order": lambda b: b.select(b.schema.names[::-1]).replace_schema_metadata(b.schema.metadata),
    "large text": lambda b: with_column(b, "id", b["id"].cast(pa.large_string())),
    "views of text": lambda b: with_column(b, "id", b["id"].cast(pa.string_view())),
    "a dictionary of text": lambda b: with_column(b, "camera", b["camera"].dictionary_encode()),
    "a number for text": lambda b: with_column(b, "id", pa.array(range(5))),
    "wider vectors": lambda b: with_column(b, "embedding", lists(np.zeros(5 * 17), 17, pa.float32())),
    "vectors of float64": lambda b: with_column(b, "embedding", lists(np.zeros(5 * 16), 16, pa.float64())),
    "no id": lambda b: with_column(b, "id", pa.array(["0", None, "2", "3", "4"])),
    "no metadata": lambda b: with_column(b, "metadata", pa.array([None] * 5, pa.string())),
    "no code": lambda b: with_column(b, "code", pa.array([None] * 5, pa.list_(pa.int8(), 16))),
    "no scale": lambda b: with_column(b, "scale", pa.array([1.0, None, 1, 1, 1], pa.float32())),
    "a scale that is NaN": lambda b: with_column(b, "scale", pa.array([np.nan, 1, 1, 1, 1], pa.float32())),
    "a bound below 0": lambda b: with_column(b, "slack", pa.array([-1, 1, 1, 1, 1], pa.float32())),
    "a vector that is NaN": lambda b: with_column(b, "embedding", lists(np.full(80, np.nan), 16, pa.float32())),
    "rows more": lambda b: pa.concat_batches([b, b]),
    "rows less": lambda b: b.slice(0, 4),
    "no steps": lambda b: b.replace_schema_metadata({b"tbps.gallery": b.schema.metadata[b"tbps.gallery"]}),
    "steps of 0": lambda b: b.replace_schema_metadata({**b.schema.metadata, b"tbps.steps": bytes(64)}),
    "too few steps": lambda b: b.replace_schema_metadata({**b.schema.metadata, b"tbps.steps": b"1" * 60}),
    "nothing said of its gallery": lambda b: b.replace_schema_metadata({**b.schema.metadata, b"tbps.gallery": b"{}"}),
    "another name": lambda b: b.replace_schema_metadata({**b.schema.metadata, b"tbps.file": b"shard-000001.arrow"}),
    "nothing said at all": lambda b: b.replace_schema_metadata(None),
}  # fmt: skip


@pytest.mark.parametrize("other", OTHERS)
def test_other_columns_are_refused(tmp_path, batch, other):
    with pytest.raises(GalleryError, match=r"shard-000000\.arrow is damaged"):
        read(opened(tmp_path, stream(OTHERS[other](batch))))


def test_its_layout_must_match_the_manifest(tmp_path, batch):
    other = Origin(ORIGIN.model, Layout("float32", 12, 1, 4), "0.1.0", 3)
    with pytest.raises(GalleryError, match="the layout of its vectors differs from the one in gallery"):
        opened(tmp_path, stream(batch), origin=other)


def test_other_streams_are_refused(tmp_path, batch):
    good = stream(batch)
    streams = {
        "data after its one batch": stream(batch, batch),
        "is compressed": stream(batch, compression="zstd"),
        "after its one batch of rows": good + bytes(8),
        "must begin a schema, got": good[good.index(b"\xff\xff\xff\xff", 8) :],
        "byte 0 must begin a schema": b"ARROW1" + good,
        "must begin a record batch": good[: good.index(b"\xff\xff\xff\xff", 8) + 6] + b"\xff\xff" + good[-8:],
    }
    for match, data in streams.items():
        with pytest.raises(GalleryError, match=match):
            opened(tmp_path, data)
    for length in range(0, len(good), 56):
        with pytest.raises(GalleryError, match=r"shard-000000\.arrow"):
            opened(tmp_path, good[:length] or b"x")


@pytest.mark.parametrize("column", ["id", "path", "camera"])
@pytest.mark.parametrize("offset", [-1, 1 << 30, (1 << 31) - 1])
def test_offsets_outside_the_data_are_refused(tmp_path, batch, column, offset):
    data = bytearray(stream(batch))
    place = batch[column].buffers()[1].to_pybytes()
    start = data.index(place)
    data[start + 8 : start + 12] = offset.to_bytes(4, "little", signed=True)
    with pytest.raises(GalleryError, match=r"shard-000000\.arrow is damaged"):
        read(opened(tmp_path, bytes(data)))


def test_text_that_is_not_utf8_is_refused(tmp_path, batch):
    data = stream(batch).replace(b"/3.png", b"/3\xff\xfeng")
    with pytest.raises(GalleryError, match="UTF8"):
        read(opened(tmp_path, data))


def test_it_states_its_origin(tmp_path, batch):
    data = stream(batch)
    shard = opened(tmp_path, data)
    file = CheckedFile(tmp_path / "shard-000000.arrow", len(data), block_checksums(data))
    assert read_origin(file) == (len(shard), ORIGIN)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors")
def test_no_descriptor_stays_open(tmp_path):
    store = FolderStore.open(tmp_path / "gallery", ORIGIN.model, ORIGIN.layout)
    with store.writing():
        for row, vector in zip(ROWS, VECTORS, strict=True):
            store.append([row], vector[None])
    before = len(os.listdir("/proc/self/fd"))
    several = [FolderStore.read(tmp_path / "gallery") for _ in range(4)]
    for opened in several:
        assert len(opened.search(VECTORS[:1], SearchRequest(5))[0]) == 5
    assert len(os.listdir("/proc/self/fd")) - before <= len(several), "the folder at most, not its five shards"


@pytest.mark.skipif(sys.platform == "win32", reason="needs FIFOs")
def test_a_path_that_is_not_a_regular_file_is_named(tmp_path, batch):
    data = stream(batch)
    opened(tmp_path, data)
    path = tmp_path / "shard-000000.arrow"
    entry = ShardEntry(path.name, 5, len(data), block_checksums(data))
    for make, match in ((os.mkfifo, "is a FIFO"), (os.mkdir, "is a folder"),
                        (lambda p: os.symlink("/dev/zero", p), "is a character device"),
                        (lambda p: os.symlink("/nowhere/at/all", p), "mount its disk")):  # fmt: skip
        path.rmdir() if path.is_dir() else path.unlink()
        make(path)
        with pytest.raises(GalleryError, match=match):
            Shard(tmp_path, entry, ORIGIN)


def test_the_seal_detects_any_flipped_byte(tmp_path, batch):
    """The seal detects the change without the checksums of a manifest."""
    good = to_bytes(batch, "shard-000000.arrow")
    for place in range(0, len(good), 7):
        data = bytearray(good)
        data[place] ^= 16
        (tmp_path / "shard").write_bytes(data)
        with pytest.raises(GalleryError, match="is damaged"):
            check_seal(CheckedFile(tmp_path / "shard", len(data), block_checksums(data)))
    (tmp_path / "shard").write_bytes(good)
    check_seal(CheckedFile(tmp_path / "shard", len(good), block_checksums(good)))
