"""A gallery after accidents: killed processes, damaged, missing and foreign files."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from repository import ROOT

from tbps.data.atomic_files import checksum
from tbps.evaluation.fingerprint import ModelIdentity, identify
from tbps.gallery import Gallery, GalleryError
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import Layout, Row, SearchRequest

QUERY = "a person with a red coat"
LAYOUT = Layout("float32", 24, 3, 8)

KILLED_AT_EVERY_STEP = """
import os, signal, sys
from pathlib import Path
import torch
from transformers import AutoModel, AutoProcessor
import tbps
from kill_at import kill_at
from tbps.gallery import Gallery

base, steps = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
model, processor = AutoModel.from_pretrained(base / "model"), AutoProcessor.from_pretrained(base / "model")


def add_until(step):
    kill_at(step, "fsync", "replace")
    Gallery.open(base / f"killed{step}", model, processor).add(base / "crops", commit_every=2, progress=False)


for step in range(steps):
    child = os.fork()
    if not child:
        add_until(step)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)
"""


@pytest.fixture
def crops(make_crops):
    return make_crops(4)


@pytest.fixture
def full(tmp_path, crops, tiny_model, tiny_processor):
    """A gallery of four images in two shards."""
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)
    gallery.add(crops, commit_every=2)
    return gallery


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_after_a_kill_at_any_step_it_opens_with_the_committed_rows(tmp_path, full, crops, tiny_model, tiny_processor):
    tiny_model.save_pretrained(tmp_path / "model")
    tiny_processor.save_pretrained(tmp_path / "model")
    # a commit writes two files, each by flush, rename and flush of the folder; then it renames a copy
    steps = 4 + 2 * 7
    command = [sys.executable, "-c", KILLED_AT_EVERY_STEP, str(tmp_path), str(steps + 1)]
    died = subprocess.run(
        command, cwd=ROOT / "tests" / "support", capture_output=True, text=True, check=True
    ).stdout.split()
    assert died == ["True"] * steps + ["False"]
    counts = []
    for step in range(steps):
        gallery = Gallery.open(tmp_path / f"killed{step}", tiny_model, tiny_processor)
        counts.append(gallery.count())
        gallery.add(crops, commit_every=2, progress=False)
        found = [{hit.id: hit.score for hit in each.search(QUERY, k=4)} for each in (gallery, full)]
        assert found[0] == pytest.approx(found[1], abs=1e-5)
        assert not [path for path in (tmp_path / f"killed{step}").iterdir() if path.suffix in (".tmp", ".partial")]
    # a commit counts from the rename of the manifest on, its fifth step
    assert counts == [0] * 9 + [2] * 7 + [4] * 2


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda shard: shard.unlink(), "is missing"),
        (lambda shard: shard.write_bytes(shard.read_bytes()[:-9]), "has .* bytes, and gallery.json says"),
        (lambda shard: shard.write_bytes(b""), "has 0 bytes"),
        (lambda shard: shard.write_bytes(flip(shard.read_bytes(), shard.stat().st_size // 2)), "is damaged"),
    ],
)
def test_a_damaged_shard_is_named(tmp_path, full, tiny_model, tiny_processor, damage, match):
    damage(tmp_path / "gallery" / "shard-000001.arrow")
    with pytest.raises(GalleryError, match=rf"shard-000001\.arrow {match}.*restore this file"):
        Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def test_any_flipped_byte_of_a_shard_is_noticed(tmp_path, full, tiny_model, tiny_processor):
    identity = identify(tiny_model, tiny_processor)
    shard = tmp_path / "gallery" / "shard-000000.arrow"
    data = shard.read_bytes()
    for position in range(0, len(data), 37):
        shard.write_bytes(flip(data, position))
        with pytest.raises(GalleryError, match="shard-000000"):
            FolderStore.open(tmp_path / "gallery", identity, LAYOUT)


def test_a_byte_flipped_far_into_a_shard_is_noticed_when_it_is_read(tmp_path):
    """Opening reads only the first block of 256 KiB."""
    identity, directory = ModelIdentity("m", "f", 64), tmp_path / "large"
    vectors = np.random.default_rng(0).standard_normal((8192, 64)).astype(np.float32)
    store = FolderStore.open(directory, identity, Layout("float32", 32, 4, 8))
    with store.writing():
        store.append([Row(f"{n:032x}", None, "{}") for n in range(8192)], vectors)
    data = (directory / "shard-000000.arrow").read_bytes()
    queries = {"id": lambda store: store.known(["7"]),
               "metadata": lambda store: store.search(vectors[:1], SearchRequest(3)),
               "code": lambda store: store.search(vectors[:1], SearchRequest(3)),
               "embedding": lambda store: store.search(vectors[:1], SearchRequest(3))}  # fmt: skip
    for column, read in queries.items():
        buffer = next(b for b in reversed(pa.ipc.open_stream(data).read_next_batch()[column].buffers()) if b)
        place = data.index(buffer.to_pybytes()) + buffer.size // 2
        (directory / "shard-000000.arrow").write_bytes(flip(data, place))
        with pytest.raises(GalleryError, match=r"shard-000000\.arrow is damaged between bytes"):
            read(FolderStore.open(directory, identity, Layout("float32", 32, 4, 8)))
        with pytest.raises(GalleryError, match=r"shard-000000\.arrow is damaged between bytes"):
            FolderStore.read(directory).check(progress=False)
    (directory / "shard-000000.arrow").write_bytes(data)
    FolderStore.read(directory).check(progress=False)


def test_no_flipped_byte_of_the_manifest_changes_the_rows(tmp_path, full, tiny_model, tiny_processor):
    """The manifest is refused, or the byte has no effect (a space, the name of the model)."""
    identity = identify(tiny_model, tiny_processor)
    manifest = tmp_path / "gallery" / "gallery.json"
    data = manifest.read_bytes()
    expected = rows_of(FolderStore.open(tmp_path / "gallery", identity, LAYOUT))
    refused = 0
    for position in range(0, len(data), 3):
        manifest.write_bytes(flip(data, position))
        try:
            store = FolderStore.open(tmp_path / "gallery", identity, LAYOUT)
        except GalleryError:
            refused += 1
        else:
            assert rows_of(store) == expected
    assert refused > len(data) / 6


def rows_of(store):
    return [row for rows, _ in store.scan() for row in rows]


def test_a_folder_without_its_manifest_is_not_taken_for_a_new_gallery(tmp_path, full, tiny_model, tiny_processor):
    (tmp_path / "gallery" / "gallery.json").unlink()
    with pytest.raises(GalleryError, match=r"holds files \(.*shard-000000\.arrow.*no gallery\.json"):
        Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)


def test_a_folder_with_other_files_is_refused(tmp_path, crops, tiny_model, tiny_processor):
    with pytest.raises(GalleryError, match="choose a new or empty folder"):
        Gallery.open(crops, tiny_model, tiny_processor)
    with pytest.raises(GalleryError, match="is a file"):
        Gallery.open(crops / "0.png", tiny_model, tiny_processor)


def test_a_later_format_asks_for_an_upgrade(tmp_path, full, tiny_model, tiny_processor):
    manifest = tmp_path / "gallery" / "gallery.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format_version": 9, "tbps_version": "3.1"}))
    with pytest.raises(GalleryError, match=r"format 9, written by tbps 3\.1.*upgrade tbps"):
        Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)


def test_a_manifest_cannot_point_outside_its_folder(tmp_path, full, tiny_model, tiny_processor):
    manifest = tmp_path / "gallery" / "gallery.json"
    content = json.loads(manifest.read_text().replace("shard-000001.arrow", "../elsewhere.arrow"))
    del content["checksum"]
    content["checksum"] = checksum(json.dumps(content, sort_keys=True).encode())  # as a forger would
    manifest.write_text(json.dumps(content))
    with pytest.raises(GalleryError, match="elsewhere"):
        Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)


def test_leftovers_are_ignored_on_opening_and_cleaned_on_adding(tmp_path, full, pictures, tiny_model, tiny_processor):
    where = tmp_path / "gallery"
    (where / "shard-000002.arrow.tmp").write_text("half a shard")
    (where / "shard-000002.arrow").write_text("renamed, but never named in the manifest")
    gallery = Gallery.open(where, tiny_model, tiny_processor)
    assert gallery.count() == 4
    assert len(gallery.add(pictures[:1]).added) == 1
    assert not list(where.glob("*.tmp"))
    assert Gallery.open(where, tiny_model, tiny_processor).count() == 5


def test_only_one_process_can_add_at_a_time(tmp_path, full, pictures, tiny_model, tiny_processor):
    other = FolderStore.open(tmp_path / "gallery", identify(tiny_model, tiny_processor), LAYOUT)
    with other.writing(), pytest.raises(GalleryError, match="Another process is writing"):
        full.add(pictures)
    assert len(full.add(pictures).added) == 4


def test_the_width_of_the_vectors_is_part_of_the_identity(tmp_path, full, tiny_model, tiny_processor):
    right = identify(tiny_model, tiny_processor)
    with pytest.raises(GalleryError, match="is opened with"):
        FolderStore.open(
            tmp_path / "gallery", ModelIdentity(right.name, right.fingerprint, right.embedding_dim + 1), LAYOUT
        )
