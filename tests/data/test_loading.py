"""Every benchmark loads from its real layout, and errors name every kind of bad input."""

import json
import logging
from pathlib import Path

import pytest
from datasets import Image
from PIL import Image as PILImage

from tbps.data.benchmarks import BENCHMARKS, BenchmarkError, MissingDataError, find_benchmark
from tbps.data.loading import load_benchmark
from tbps.data.splits import select_split


def entry(file_path, person_id, split="train", captions=("a man in black", "a person"), path_key="file_path"):
    tokens = {"processed_tokens": [caption.split() for caption in captions]} if path_key == "file_path" else {}
    return {"split": split, "captions": list(captions), path_key: file_path, "id": person_id, **tokens}


CUHK = [
    entry("CUHK01/0363004.png", 1, captions=["a", "b", "c"]),  # nine images of the real file have more than two
    entry("cam_a/000.png", 2),
    entry("Market/1.jpg", 11004, "val"),
    entry("test_query/p1_s1.jpg", 12004, "test"),
    entry("CUHK01/0363005.png", 1),
]
ICFG = [entry("train/0000/a.jpg", 0, captions=["a man"]), entry("test/0000/b.jpg", 3102, "test", captions=["b"])]
RSTP = [
    entry("0000_c14_0031.jpg", 0, captions=["一个男人 in black", "\u3000coat"], path_key="img_path"),
    entry("3701_c5_0002.jpg", 3701, "val", path_key="img_path"),
    entry("3901_c1_0009.jpg", 3901, "test", path_key="img_path"),
]


def write(root: Path, folder: str, annotation: str, entries: list) -> Path:
    """A benchmark on disk: its annotation, and a 4x8 image for every entry. Returns the benchmark's folder."""
    for item in entries:
        path = root / folder / "imgs" / item.get("file_path", item.get("img_path"))
        path.parent.mkdir(parents=True, exist_ok=True)
        PILImage.new("RGB", (4, 8), (item["id"] % 256, 0, 0)).save(path)
    (root / folder / annotation).write_text(json.dumps(entries), encoding="utf-8")
    return root / folder


@pytest.fixture
def cuhk(tmp_path):
    return write(tmp_path, "CUHK-PEDES", "reid_raw.json", CUHK)


def rewrite(folder: Path, entries) -> None:
    (folder / "reid_raw.json").write_text(json.dumps(entries), encoding="utf-8")


LAYOUTS = [
    ("CUHK-PEDES", "reid_raw.json", CUHK),
    ("ICFG-PEDES", "ICFG-PEDES.json", ICFG),
    ("ICFG-PEDES", "ICFG_PEDES.json", ICFG),
    ("RSTPReid", "data_captions.json", RSTP),
    ("ToyPEDES", "reid_raw.json", CUHK),
]


@pytest.mark.parametrize(("name", "annotation", "entries"), LAYOUTS, ids=[f"{n}-{a}" for n, a, _ in LAYOUTS])
def test_every_layout_from_either_root(tmp_path, name, annotation, entries):
    folder = write(tmp_path, name, annotation, entries)
    for root in (tmp_path, folder, str(folder)):
        dataset = load_benchmark(name.lower(), root)
        assert list(dataset) == [split for split in ("train", "val", "test") if split in BENCHMARKS[name].splits]
        for split, rows in dataset.items():
            expected = [item for item in entries if item["split"] == split]
            assert rows["captions"][:] == [item["captions"] for item in expected]
            assert rows["person_id"][:] == [item["id"] for item in expected]
            assert rows["file_path"][:] == [item.get("file_path", item.get("img_path")) for item in expected]
            assert rows[0]["image"].size == (4, 8)
            assert rows[0]["image"].getpixel((0, 0))[0] == pytest.approx(expected[0]["id"] % 256, abs=3)


def test_images_are_absolute_paths_decoded_only_when_read(cuhk, monkeypatch):
    (cuhk / "imgs/cam_a/000.png").write_bytes(b"no image")  # noticed when the row is read, not before
    monkeypatch.chdir(cuhk.parent)
    train = load_benchmark("CUHK-PEDES", ".")["train"]
    assert train.features["person_id"].dtype == "int64"
    assert train.cast_column("image", Image(decode=False))[1]["image"] == {
        "path": str(cuhk / "imgs/cam_a/000.png"),
        "bytes": None,
    }
    assert train[0]["image"].size == (4, 8)
    with pytest.raises(OSError, match="cannot identify"):
        train[1]


def test_unknown_benchmark():
    with pytest.raises(BenchmarkError, match="'Market': expected one of CUHK-PEDES, ICFG-PEDES, RSTPReid, ToyPEDES"):
        find_benchmark("Market")


def test_missing_root_and_annotation(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone is not a folder: expected the folder that holds RSTPReid/"):
        load_benchmark("RSTPReid", tmp_path / "gone")
    with pytest.raises(MissingDataError) as caught:
        load_benchmark("ICFG-PEDES", tmp_path)
    for path in ("ICFG-PEDES/ICFG-PEDES.json", "ICFG-PEDES/ICFG_PEDES.json", "ICFG-PEDES.json", "ICFG_PEDES.json"):
        assert f"\n  {tmp_path / path}\n" in str(caught.value)
    assert BENCHMARKS["ICFG-PEDES"].source in str(caught.value)


def test_captions_without_splits(cuhk):
    (cuhk / "reid_raw.json").rename(cuhk / "caption_all.json")
    for root in (cuhk, cuhk.parent):
        with pytest.raises(MissingDataError, match=r"holds caption_all.json but no reid_raw.json.* Get reid_raw"):
            load_benchmark("CUHK-PEDES", root)


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_truncated_annotation(cuhk, cut):
    path = cuhk / "reid_raw.json"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BenchmarkError, match=rf"reid_raw.json \({cut} bytes\) is not JSON.*truncated"):
        load_benchmark("CUHK-PEDES", cuhk)


def test_annotation_that_is_not_text(cuhk):
    (cuhk / "reid_raw.json").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(BenchmarkError, match="is not JSON"):
        load_benchmark("CUHK-PEDES", cuhk)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, "holds a JSON dict: expected a list"),
        ([], "has no image with a caption"),
        ([CUHK[0], "text"], r"entry 1 \(from 0\) is 'text': expected an object with the keys split, file_path"),
        (
            [entry("a.jpg", 0, path_key="img_path")],
            "entry 0 .*lacks the key 'file_path'; its keys are: .*another benchmark",
        ),
        ([{**CUHK[0], "id": "7"}], "entry 0 .*'id' is '7', expected int"),
        ([{**CUHK[0], "id": True}], "'id' is True, expected int"),
        ([{**CUHK[0], "id": 2**63}], "'id' is 9223372036854775808, expected a 64-bit number"),
        ([{**CUHK[0], "captions": "a man"}], "'captions' is 'a man', expected list"),
        ([{**CUHK[0], "captions": ["a", None]}], r"'captions' is \['a', None\], expected strings"),
        ([{**CUHK[0], "split": "query"}], "entry 0 .*has split 'query', expected one of train, val, test"),
    ],
)
def test_malformed_annotation(cuhk, content, message):
    rewrite(cuhk, content)
    with pytest.raises(BenchmarkError, match=message):
        load_benchmark("CUHK-PEDES", cuhk)


def test_missing_images_are_one_report(cuhk):
    gone = [entry(f"cam_b/{i}.png", 5) for i in range(12)]
    rewrite(cuhk, [*CUHK, *gone])
    (cuhk / "imgs/CUHK01/0363004.png").unlink()
    with pytest.raises(MissingDataError) as caught:
        load_benchmark("CUHK-PEDES", cuhk)
    report = str(caught.value)
    assert f"13 of 17 images are missing below {cuhk / 'imgs'}\n" in report
    assert "  CUHK01: 1 of 2\n  cam_b: 12 of 12\n" in report
    assert "  CUHK01/0363004.png\n  cam_b/0.png\n" in report
    assert "cam_b/8.png" in report
    assert "cam_b/9.png" not in report
    assert "skip_missing=True" in report


def test_missing_images_can_be_skipped(cuhk, caplog):
    (cuhk / "imgs/Market/1.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        dataset = load_benchmark("CUHK-PEDES", cuhk, skip_missing=True)
    assert list(dataset) == ["train", "test"]
    assert "1 of 5 images are missing" in caplog.text
    assert "  Market: 1 of 1\n" in caplog.text


def test_missing_images_folder(cuhk):
    (cuhk / "imgs").rename(cuhk / "images")
    with pytest.raises(MissingDataError, match=r"5 of 5 images are missing below .*imgs, a folder that does not exist"):
        load_benchmark("CUHK-PEDES", cuhk)
    with pytest.raises(BenchmarkError, match="has no image with a caption"):
        load_benchmark("CUHK-PEDES", cuhk, skip_missing=True)


@pytest.fixture
def empty_captions(cuhk):
    changes = {1: ["", "a person"], 2: [], 3: [" \t\u3000"]}
    rewrite(cuhk, [{**item, "captions": changes.get(i, item["captions"])} for i, item in enumerate(CUHK)])
    return cuhk


def test_empty_captions_are_one_report(empty_captions):
    with pytest.raises(BenchmarkError) as caught:
        load_benchmark("CUHK-PEDES", empty_captions)
    report = str(caught.value)
    assert f"3 captions are empty or missing in {empty_captions / 'reid_raw.json'}\n" in report
    assert "  cam_a/000.png (entry 1): caption 0 is ''\n  Market/1.jpg (entry 2): no caption\n" in report
    assert "skip_empty_captions=True" in report


def test_empty_captions_can_be_skipped(empty_captions, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = load_benchmark("CUHK-PEDES", empty_captions, skip_empty_captions=True)
    assert dataset["train"]["captions"][:] == [["a", "b", "c"], ["a person"], ["a man in black", "a person"]]
    assert list(dataset) == ["train"]
    assert "3 captions are empty or missing" in caplog.text


def test_only_the_first_empty_captions_are_listed(cuhk):
    rewrite(cuhk, [{**CUHK[0], "captions": [""] * 12}])
    with pytest.raises(BenchmarkError, match=r"12 captions(?s:.*)caption 9 is ''\nCorrect"):
        load_benchmark("CUHK-PEDES", cuhk)


def test_select_split(tmp_path):
    write(tmp_path, "ICFG-PEDES", "ICFG-PEDES.json", ICFG)
    dataset = load_benchmark("ICFG-PEDES", tmp_path)
    assert select_split(dataset, "icfg-pedes", "test")["person_id"][:] == [3102]
    with pytest.raises(BenchmarkError, match=r"no split 'val', .*are: train, test\..*has no validation split"):
        select_split(dataset, "icfg-pedes", "val")
    with pytest.raises(BenchmarkError, match=r"no split 'dev', .*are: train, test. Choose one"):
        select_split(dataset, "icfg-pedes", "dev")
