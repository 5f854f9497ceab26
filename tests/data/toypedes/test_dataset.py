from __future__ import annotations

import json
import multiprocessing
import signal
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tbps.data import toypedes
from tbps.data.toypedes import dataset
from tbps.data.toypedes.dataset import split_ids
from tbps.data.toypedes.people import write_person

PEOPLE, IMAGES = 20, 2


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def make(out: Path, **options: int) -> toypedes.ToySummary:
    return toypedes.generate(
        out, **{"people": PEOPLE, "images_per_person": IMAGES, "workers": 1} | options, progress=False
    )


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> toypedes.ToySummary:
    return make(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def entries(summary: toypedes.ToySummary) -> list[dict]:
    return json.loads((summary.root / "reid_raw.json").read_text())


def test_same_arguments_give_the_same_bytes_with_any_number_of_workers(
    summary: toypedes.ToySummary, tmp_path: Path
) -> None:
    assert tree(make(tmp_path, workers=2).root) == tree(summary.root)


def test_another_seed_gives_other_people_and_pictures(summary: toypedes.ToySummary, tmp_path: Path) -> None:
    one, other = tree(summary.root), tree(make(tmp_path, seed=1).root)
    assert one["reid_raw.json"] != other["reid_raw.json"]
    pictures = [name for name in one if name.startswith("imgs/") and name in other]
    assert all(one[name] != other[name] for name in pictures)


def test_a_person_does_not_depend_on_how_many_others_there_are(summary: toypedes.ToySummary, tmp_path: Path) -> None:
    fewer, more = tree(make(tmp_path, people=10).root), tree(summary.root)
    pictures = [name for name in fewer if name.endswith(".png")]
    assert len(pictures) == 10 * IMAGES * 2
    assert all(fewer[name] == more[name] for name in pictures)


def test_default_split_is_700_100_200_from_id_1() -> None:
    splits = split_ids(1000)
    assert {name: len(ids) for name, ids in splits.items()} == {"train": 700, "val": 100, "test": 200}
    assert splits["train"][0] == 1
    assert sorted(i for ids in splits.values() for i in ids) == list(range(1, 1001))


def test_layout_is_that_of_cuhk_pedes(summary: toypedes.ToySummary, entries: list[dict]) -> None:
    assert summary.root.name == "ToyPEDES"
    assert len(entries) == PEOPLE * IMAGES
    for entry in entries:
        assert set(entry) == {"split", "captions", "file_path", "processed_tokens", "id"}
        assert len(entry["captions"]) == len(entry["processed_tokens"]) == 2
        assert entry["file_path"].split("/")[0].startswith("cam_")
        with Image.open(summary.root / "imgs" / entry["file_path"]) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 128))
        with Image.open(summary.root / "ground_truth" / "masks" / entry["file_path"]) as mask:
            assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (64, 128))
            assert np.asarray(mask).max() <= 5
    assert len(list(summary.root.rglob("*.png"))) == 2 * len(entries)


def test_splits_share_no_identity(entries: list[dict]) -> None:
    ids = {split: {entry["id"] for entry in entries if entry["split"] == split} for split in ("train", "val", "test")}
    assert {split: len(people) for split, people in ids.items()} == {"train": 14, "val": 2, "test": 4}
    assert len(set.union(*ids.values())) == PEOPLE
    assert min(ids["train"]) == 1


def test_images_of_a_person_come_from_different_cameras(entries: list[dict]) -> None:
    for person in range(1, PEOPLE + 1):
        cameras = [entry["file_path"].split("/")[0] for entry in entries if entry["id"] == person]
        assert len(set(cameras)) == IMAGES


def test_summary_counts_and_says_them(summary: toypedes.ToySummary) -> None:
    assert summary.splits["train"] == toypedes.SplitCounts(people=14, images=28, captions=56)
    assert summary.chance == pytest.approx(1 / 4)
    text = summary.describe()
    assert str(summary.root) in text
    assert "25.00%" in text
    assert f"{summary.ceiling:.1%}" in text


def test_ceiling_of_the_summary_follows_from_the_files(summary: toypedes.ToySummary, entries: list[dict]) -> None:
    truth = toypedes.read_ground_truth(summary.root)
    test = [entry for entry in entries if entry["split"] == "test"]
    ids = {entry["id"] for entry in test}
    stated = [stated for entry in test for stated in truth.images[entry["file_path"]].stated]
    owners = [entry["id"] for entry in test for _ in entry["captions"]]
    people = {person: asdict(truth.people[person]) for person in ids}
    assert summary.ceiling == toypedes.ceiling(stated, owners, people, dict.fromkeys(ids, IMAGES))


def test_ground_truth_redraws_the_files_on_disk(summary: toypedes.ToySummary, entries: list[dict]) -> None:
    truth = toypedes.read_ground_truth(summary.root)
    assert set(truth.images) == {entry["file_path"] for entry in entries}
    for entry in entries[:6]:
        image, mask = toypedes.rerender(truth, entry["file_path"])
        assert np.array_equal(image, pixels(summary.root / "imgs" / entry["file_path"]))
        assert np.array_equal(mask, pixels(summary.root / "ground_truth" / "masks" / entry["file_path"]))
        known = truth.images[entry["file_path"]]
        assert known.person_id == entry["id"]
        assert known.camera.name == entry["file_path"].split("/")[0]
        for caption, spans in zip(entry["captions"], known.spans, strict=True):
            assert all(caption[start:end].strip() for start, end, _ in spans)


def test_ground_truth_of_another_format_or_place_is_refused(summary: toypedes.ToySummary, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"attributes\.json does not exist.*generate wrote"):
        toypedes.read_ground_truth(tmp_path)
    (tmp_path / "ground_truth").mkdir()
    (tmp_path / "ground_truth" / "attributes.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match=r"must have format 1, got 99\. Generate"):
        toypedes.read_ground_truth(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"people": 9}, "people must be at least 10, got 9"),
        ({"images_per_person": 0}, "images_per_person must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "ToyPEDES").mkdir()
    (tmp_path / "ToyPEDES" / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="Choose another folder, or delete"):
        make(tmp_path)
    assert [path.name for path in (tmp_path / "ToyPEDES").iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "ToyPEDES").mkdir()
    assert (make(tmp_path, people=10, images_per_person=1).root / "reid_raw.json").is_file()


def test_a_failed_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_at_five(root: Path, seed: int, person: int, images: int) -> object:
        if person == 5:
            raise OSError("disk full")
        return write_person(root, seed, person, images)

    monkeypatch.setattr(dataset, "write_person", fail_at_five)
    with pytest.raises(OSError, match="disk full"):
        make(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_killed_generation_leaves_no_folder_that_looks_complete(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=make, args=(tmp_path,), kwargs={"people": 100_000})
    process.start()
    while process.is_alive() and not list(tmp_path.rglob("*.png")):
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "ToyPEDES").exists()
    assert make(tmp_path, people=10, images_per_person=1).root.is_dir()  # and does not block the next one
