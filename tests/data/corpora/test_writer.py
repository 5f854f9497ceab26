"""Shards: they hold the unchanged bytes of the images, survive kills, and name bad entries."""

import json
import os
import signal
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import entries, sentence, write_source
from forging import places, replaced

import tbps.data.corpora.writer as writer
from tbps.cli.main import main
from tbps.data.corpora.folder import locked_output
from tbps.data.corpora.formats import FORMATS
from tbps.data.corpora.index import CorpusError, CorpusIndex, Shard, find_faults, read_index
from tbps.data.corpora.writer import write_corpus


def shard(source: Path, out: Path, **options: object) -> writer.CorpusIndex:
    settings = {"entries_per_shard": 10, "progress": False, **options}
    return write_corpus(source.stem, [source], out, source.parent, **settings)


@pytest.mark.parametrize("name", FORMATS)
def test_datasets_reads_the_shards(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    source = write_source(tmp_path / "corpus", name, 25)
    index = shard(source, tmp_path / "out", workers=3)
    assert [piece.rows for piece in index.shards] == [10, 10, 5]
    files = [str(tmp_path / "out" / piece.file) for piece in index.shards]
    rows = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    assert isinstance(rows.features["image"], datasets.Image)
    assert next(iter(rows))["image"].size == (20, 40)
    stored = list(rows.cast_column("image", datasets.Image(decode=False)))
    assert len(stored) == 25
    for number, row in enumerate(stored):
        assert row["image"]["bytes"] == (source.parent / row["file_path"]).read_bytes()
        assert row["captions"][0] == sentence(number)
    assert not list(find_faults(tmp_path / "out"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("moment", ["replace", "write"])
def test_killed_half_way_and_run_again(tmp_path: Path, moment: str) -> None:
    source = write_source(tmp_path / "corpus", "webperson", 45)
    shard(source, tmp_path / "whole")
    child = os.fork()
    if not child:
        kill_on_third_shard(moment)
        shard(source, tmp_path / "cut")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert "is not complete" in next(find_faults(tmp_path / "cut"))
    assert len(read_index(tmp_path / "cut").shards) == 2
    before = (tmp_path / "cut" / "shard-00001.parquet").stat().st_mtime_ns
    shard(source, tmp_path / "cut")
    assert (tmp_path / "cut" / "shard-00001.parquet").stat().st_mtime_ns == before  # not written again
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "cut").iterdir())
    for name in names:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def kill_on_third_shard(moment: str) -> None:
    """Before it gets its name, or before the index knows of it."""
    target, count = (os, "replace", 4) if moment == "replace" else (writer.CorpusIndex, "write", 2), 0
    owner, name, turn = target
    call = getattr(owner, name)

    def wrapped(*arguments: object) -> object:
        nonlocal count
        if count == turn:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        return call(*arguments)

    setattr(owner, name, wrapped)


def test_bad_entries_stop_or_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_source(tmp_path / "corpus", "synth-pedes", 25)
    content = json.loads(source.read_text())
    content[3]["captions"] = ["  ", "a man"]
    content[12]["captions"] = []
    source.write_text(json.dumps(content))
    (source.parent / content[14]["file_path"]).write_bytes(b"no picture")
    (source.parent / content[20]["file_path"]).unlink()
    with pytest.raises(CorpusError, match=r"entry 3 \(from 0\): part1/0003.jpg has a blank caption.*--skip-bad"):
        shard(source, tmp_path / "out")
    index = shard(source, tmp_path / "out", skip_bad=True)  # goes on where the first stopped
    assert [piece.rows for piece in index.shards] == [10, 8, 4]
    said = [fault for piece in index.shards for fault in piece.skipped]
    for fault, (number, reason) in zip(
        said, [(3, "blank"), (12, "none"), (14, "not an image"), (20, "not exist")], strict=True
    ):
        assert f"entry {number} (from 0)" in fault
        assert reason in fault
        assert fault in caplog.text
    files = [str(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    row = list(datasets.load_dataset("parquet", data_files=files, split="train", streaming=True))[3]
    assert row["captions"] == ["a man"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("image_id", 2**63, "has person id 9223372036854775808, expected a 64-bit number"),
        ("image", "part0/a\0b.jpg", r"a\\x00b.jpg cannot be read \(embedded null"),
        ("image", "x" * 5000, r"x{50}\.\.\.x{50}.* cannot be read \(File name too long"),
        ("image", "", "cannot be read"),
    ],
)
def test_odd_entries_are_named_and_skipped(tmp_path: Path, field: str, value: object, message: str) -> None:
    source = write_source(tmp_path / "corpus", "mals", 4)
    content = json.loads(source.read_text())
    content[2][field] = value
    source.write_text(json.dumps(content))
    with pytest.raises(CorpusError, match=rf"entry 2 \(from 0\): .*{message}") as caught:
        shard(source, tmp_path / "out")
    assert len(str(caught.value)) < 1500
    assert shard(source, tmp_path / "out", skip_bad=True).rows == 3


def test_a_wrong_folder_is_not_a_corpus_of_bad_images(tmp_path: Path) -> None:
    source = write_source(tmp_path / "corpus", "mals", 5)
    with pytest.raises(CorpusError, match=r"All 5 entries of shard-00000.parquet are bad: .*does not exist"):
        write_corpus("mals", [source], tmp_path / "out", tmp_path, skip_bad=True, progress=False)
    with pytest.raises(CorpusError, match="nowhere is not a folder"):
        write_corpus("mals", [source], tmp_path / "out", tmp_path / "nowhere", progress=False)


def test_images_unpacked_flat_are_found(tmp_path: Path) -> None:
    source = write_source(tmp_path / "corpus", "luperson-mllm", 3)
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in source.parent.rglob("*.jpg"):
        path.rename(flat / path.name)
    assert write_corpus("luperson-mllm", [source], tmp_path / "out", flat, progress=False).rows == 3


def test_other_settings_do_not_resume(tmp_path: Path) -> None:
    source = write_source(tmp_path / "corpus", "mals", 12)
    shard(source, tmp_path / "out")
    with pytest.raises(
        CorpusError, match=r"entries_per_shard=10 \(--entries-per-shard\), but this run has entries_per_shard=6"
    ):
        shard(source, tmp_path / "out", entries_per_shard=6)
    with pytest.raises(CorpusError, match=r"images=.*corpus \(--images\), but this run has images=.*part0\. Choose"):
        write_corpus("mals", [source], tmp_path / "out", source.parent / "part0", 10, progress=False)
    assert shard(source, tmp_path / "out").complete  # nothing left to do
    text = source.read_text()
    source.write_text(text.replace("red", "tan"))  # as many bytes
    with pytest.raises(CorpusError, match=r"made with sources=.*xxh3_64"):
        shard(source, tmp_path / "out")
    source.write_text(json.dumps(entries("mals", ["part0/0000.jpg"])))
    with pytest.raises(CorpusError, match=r"made with sources="):
        shard(source, tmp_path / "out")


def test_skipped_entries_are_not_hidden_by_a_second_run(tmp_path: Path) -> None:
    source = write_source(tmp_path / "corpus", "mals", 5)
    (source.parent / "part0/0002.jpg").unlink()
    shard(source, tmp_path / "out", skip_bad=True)
    with pytest.raises(CorpusError, match=r"skipped entries .*\(--skip-bad\)\. Give it again"):
        shard(source, tmp_path / "out")


@pytest.mark.parametrize("way", ["missing", "short"])
def test_shards_that_were_lost_are_written_again(tmp_path: Path, way: str) -> None:
    source, out = write_source(tmp_path / "corpus", "luperson-mllm", 25), tmp_path / "out"
    shard(source, out)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.glob("*.parquet")}
    lost = out / "shard-00001.parquet"
    if way == "missing":
        lost.unlink()
    else:
        lost.write_bytes(lost.read_bytes()[:100])
    assert shard(source, out).rows == 25
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.glob("*.parquet")}
    assert {name: data for name, (data, _) in after.items()} == {name: data for name, (data, _) in before.items()}
    assert [name for name in sorted(after) if after[name][1] != before[name][1]] == [lost.name]
    assert not list(find_faults(out))


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
def test_a_full_disk_is_named_and_no_partial_file_remains(tmp_path: Path) -> None:
    import resource

    source, out = write_source(tmp_path / "corpus", "mals", 25), tmp_path / "out"
    shard(source, tmp_path / "whole", entries_per_shard=5)
    largest = max(path.stat().st_size for path in (tmp_path / "whole").glob("*.parquet"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 2000, limits[1]))
    try:
        with pytest.raises(
            CorpusError, match=r"shard-00000\.parquet could not be written .*Make room and run the same"
        ):
            shard(source, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(out.glob("*.partial"))
    assert shard(source, out).rows == 25


def test_one_conversion_at_a_time(tmp_path: Path) -> None:
    source, out = write_source(tmp_path / "corpus", "mals", 5), tmp_path / "out"
    with locked_output(out), pytest.raises(CorpusError, match=r"Another conversion is writing to .*out\. Wait"):
        shard(source, out)
    assert shard(source, out).rows == 5


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_source(tmp_path / "corpus", "mals", 12), tmp_path / "out"
    command = ["data", "shard", "mals", str(source), str(out), "--entries-per-shard", "5"]
    assert main(command) == 0
    assert f"12 images in 3 shards in {out}" in capsys.readouterr().out
    assert main(["data", "verify", str(out)]) == 0
    assert "all checksums match" in capsys.readouterr().out
    damaged = bytearray((out / "shard-00001.parquet").read_bytes())
    damaged[100] ^= 1
    (out / "shard-00001.parquet").write_bytes(damaged)
    (out / "shard-00002.parquet").unlink()
    assert main(["data", "verify", str(out)]) == 2
    said = capsys.readouterr().err
    assert "2 faults" in said
    assert "shard-00001.parquet is damaged" in said
    assert "shard-00002.parquet is missing" in said
    assert main(["data", "verify", str(tmp_path)]) == 2
    assert "has no corpus.json" in capsys.readouterr().err
    (out / "shard-00001.parquet").unlink()
    assert main(command) == 0
    assert main(["data", "verify", str(out)]) == 0
    (out / "shard-00001.parquet").unlink()
    assert main(["data", "verify", str(out)]) == 2
    assert "error: 1 fault:\n" in capsys.readouterr().err


def test_the_mirror_of_mals_in_parquet_gives_the_rows_of_its_json(tmp_path: Path) -> None:
    source = write_source(tmp_path, "mals", 6)
    rows = json.loads(source.read_text())
    for row in rows:
        row["image_path"] = row["image"]
        row["image"] = {"bytes": (tmp_path / row["image_path"]).read_bytes(), "path": None}
    mirror = tmp_path / "mirror" / "0000.parquet"
    mirror.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), mirror)
    write_corpus("mals", [source], tmp_path / "of_json", tmp_path, progress=False)
    write_corpus("mals", [mirror], tmp_path / "of_parquet", tmp_path / "mirror", progress=False)
    tables = [pq.read_table(tmp_path / name / "shard-00000.parquet") for name in ("of_json", "of_parquet")]
    assert tables[0].equals(tables[1])
    mirror.write_bytes(mirror.read_bytes()[:-100])
    with pytest.raises(CorpusError, match=r"0000\.parquet cannot be read as parquet"):
        write_corpus("mals", [mirror], tmp_path / "other", tmp_path, progress=False)


def test_a_changed_index_is_refused_or_valid(tmp_path):
    """Whatever stands at any place of it: types, numbers, names of files outside."""
    shards = [Shard(f"shard-{number:05}.parquet", 3, 100, "0" * 8, ["a"]) for number in range(2)]
    CorpusIndex({"format": "MALS", "sources": []}, True, shards).write(tmp_path)
    content = json.loads((tmp_path / "corpus.json").read_text())
    hostile = [None, True, -1, 0.5, float("nan"), 10**400, "../shard-00000.parquet", "/etc/passwd", [], {}, [[]], "x"]
    refused = 0
    for path in places(content):
        for value in hostile if path else ():
            (tmp_path / "corpus.json").write_text(json.dumps(replaced(content, path, value)))
            try:
                found = read_index(tmp_path)
            except CorpusError:
                refused += 1
                continue
            assert [shard.file for shard in found.shards] in ([], ["shard-00000.parquet", "shard-00001.parquet"])
            assert all(type(shard.rows) is type(shard.bytes) is int for shard in found.shards)
    assert refused > 100
    for raw in (b"", b"[" * 100_000, b"\xff", b'{"shards": [], "shards": []}'):
        (tmp_path / "corpus.json").write_bytes(raw)
        with pytest.raises(CorpusError, match=r"corpus\.json is damaged"):
            read_index(tmp_path)
