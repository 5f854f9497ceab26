"""Training on the shards of a corpus: every row once an epoch, and after a resume the very next one."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from corpora import write_source
from launch import torchrun
from stream_run import STEPS, equal_weights, make_processor, make_trainer
from torch.utils.data import DataLoader

from tbps.data.augment import Augmentation
from tbps.data.corpora.corpus import Corpus
from tbps.data.corpora.index import CorpusError
from tbps.data.corpora.stream import TRAINING_START, ReaderPosition, endless_rows
from tbps.data.corpora.writer import write_corpus
from tbps.data.images import BadImageError
from tbps.data.pairs import PairCollator
from tbps.data.streamed_pairs import MOST_BAD, StreamedPairs
from tbps.training.checkpoints import CheckpointError
from tbps.training.losses import DivergedError

IMAGES, ROWS = 58, 9  # seven shards, the last of four rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("corpus")
    source = write_source(where / "raw", "synth-pedes", IMAGES)
    write_corpus("synth-pedes", [source], where / "shards", source.parent, entries_per_shard=ROWS, progress=False)
    return where / "shards"


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Corpus:
    return Corpus(folder)


def epochs_of(stream: Iterator[tuple[dict[str, Any], ReaderPosition]], epochs: int) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in range(epochs)]
    for row, place in stream:
        if place.epoch == epochs:
            return found
        found[place.epoch].append(row["file_path"])
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("readers", [1, 2, 3, 7])
@pytest.mark.parametrize("buffer", [1, 16, 1000])
def test_readers_share_every_epoch(corpus: Corpus, readers: int, buffer: int) -> None:
    shares = [epochs_of(endless_rows(corpus.rows(), reader, readers, 5, buffer), 3) for reader in range(readers)]
    for epoch in range(3):
        counts = Counter(path for share in shares for path in share[epoch])
        assert len(counts) == IMAGES
        assert set(counts.values()) == {1}
    first, second = ([path for share in shares for path in share[epoch]] for epoch in range(2))
    assert first != second
    assert first != sorted(first)


def test_seed_and_buffer_decide_the_order(corpus: Corpus) -> None:
    def order(seed: int, buffer: int) -> list[str]:
        return epochs_of(endless_rows(corpus.rows(), 0, 1, seed, buffer), 1)[0]

    assert order(5, 16) == order(5, 16)
    assert order(5, 16) != order(6, 16)
    plain = order(5, 1)  # shards in random order, rows as they lie
    assert [plain[i][6:] for i in range(3)] == sorted(plain[i][6:] for i in range(3))
    places = {path: place for place, path in enumerate(plain)}
    far = [abs(place - places[path]) for place, path in enumerate(order(5, 16))]
    assert 0 < max(far) < 16  # within windows of 16


@pytest.mark.parametrize("buffer", [1, 7, 16, 1000])
def test_any_place_goes_on_with_the_next_row(corpus: Corpus, buffer: int) -> None:
    rows, last = corpus.rows(), 70  # into the third epoch

    def after(place: ReaderPosition, count: int) -> tuple[list[tuple[Any, ...]], list[ReaderPosition]]:
        found = list(islice(endless_rows(rows, 1, 2, 5, buffer, place), count))
        return [(row, place.epoch, place.window, place.given) for row, place in found], [place for _, place in found]

    whole, places = after(TRAINING_START, last)
    for stop in range(1, last):
        rest, new_places = after(places[stop - 1], last - stop)
        assert rest == whole[stop:], stop
        if stop % 9 == 0:  # from a place of a stream that itself went on
            ahead = stop + 5
            assert after(new_places[4], last - ahead)[0] == whole[ahead:], stop


def test_items_are_those_of_the_files(corpus: Corpus, folder: Path) -> None:
    processor = make_processor()
    pairs = StreamedPairs(corpus, processor, seed=1)
    rows = {row["file_path"]: row for row, _ in islice(endless_rows(corpus.rows(), 0, 1, 1, 1000), IMAGES)}
    said = []
    for (row, _), item in zip(endless_rows(corpus.rows(), 0, 1, 1, 1000), islice(pairs, 2 * IMAGES), strict=False):
        expected = processor(images=str(folder.parent / "raw" / row["file_path"]), return_tensors="pt")["pixel_values"]
        batch = PairCollator(processor)([item])
        assert (batch["pixel_values"] - expected).abs().max() < 0.1  # JPEG by whichever backend
        text = processor.tokenizer(rows[row["file_path"]]["captions"])["input_ids"]
        assert item["person_ids"] == row["person_id"]
        said.append(text.index(item["input_ids"]))
    assert 0.3 < np.mean(said) < 0.7  # one of the two captions, drawn


def test_augmentation_depends_on_seed_epoch_and_file_alone(corpus: Corpus) -> None:
    def items(**settings: Any) -> dict[tuple[int, int], bytes]:
        pairs = StreamedPairs(corpus, make_processor(), augmentation=Augmentation(), seed=4, **settings)
        found = {}
        for item in pairs:
            _, place = item["position"]
            if place.epoch == 2:
                return found
            found[place.epoch, item["person_ids"], item["pixel_values"].tobytes()] = item["input_ids"]
        return found

    alone = items(buffer=16)
    both = items(process=0, processes=2, buffer=7) | items(process=1, processes=2, buffer=7)
    assert len(alone) == 2 * IMAGES
    assert both == alone
    clean = items(augmentation_warmup_epochs=1)
    assert len({key[2] for key in clean} & {key[2] for key in alone}) < IMAGES + 5


def test_loader_workers_are_readers_and_take_turns(corpus: Corpus) -> None:
    pairs = StreamedPairs(corpus, make_processor(), seed=5, buffer=16)
    loader = DataLoader(pairs, batch_size=5, num_workers=2, collate_fn=list)
    batches = [[item["position"] for item in batch] for batch in islice(loader, 40)]  # into the fourth epoch
    assert [{worker for worker, _ in batch} for batch in batches] == [{0}, {1}] * 20
    for reader in range(2):
        expected = [place for _, place in islice(endless_rows(corpus.rows(), reader, 2, 5, 16), 100)]
        assert [place for batch in batches[reader::2] for _, place in batch] == expected


def test_bad_images_stop_or_are_passed_over(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, propagate: None
) -> None:
    pairs = StreamedPairs(corpus, make_processor(), on_bad_sample="skip")
    read = pairs.preparation.read
    bad = {row["image"]["bytes"] for row, _ in islice(endless_rows(corpus.rows(), 0, 1, 0, 1000), 3, 5)}
    monkeypatch.setattr(pairs.preparation, "read", lambda data: read(b"broken" if data in bad else data))
    assert len([item for item in islice(pairs, IMAGES - 2) if item["position"][1].epoch == 0]) == IMAGES - 2
    assert caplog.text.count("skipped: Image part") == 2
    again = list(islice(pairs, 3 * IMAGES))  # over several epochs
    assert caplog.text.count("skipped: Image part") == 4  # each file once
    assert sum(len(item["skipped"]) for item in again if item["position"][1].epoch < 3) == 6
    pairs.on_bad_sample = "raise"
    with pytest.raises(BadImageError, match=r"Image part\d/.*jpg of .*shards: .*not an image"):
        list(islice(pairs, IMAGES))
    pairs.on_bad_sample = "skip"
    tried = []
    monkeypatch.setattr(pairs.preparation, "read", lambda data: tried.append(data) or read(b"broken"))
    with pytest.raises(BadImageError):
        next(iter(pairs))
    assert len(tried) == MOST_BAD
    assert caplog.text.count("skipped: ") == 4 + IMAGES


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> dict[int, Any]:
    """Of no and of two loader workers: the run without an accident, and all of its checkpoints."""
    found = {}
    for workers in (0, 2):
        output = tmp_path_factory.mktemp("whole")
        found[workers] = make_trainer(output, folder, dataloader_num_workers=workers)
        found[workers].train()
    return found


@pytest.mark.parametrize(("workers", "step"), [(0, 3), (0, 9), (2, 3), (2, 6)])
def test_resume_equals_the_run_without_an_accident(
    tmp_path: Path, folder: Path, whole: dict[int, Any], workers: int, step: int
) -> None:
    settings = {"dataloader_num_workers": workers, "save_strategy": "no"}
    resumed = make_trainer(tmp_path / "run", folder, **settings)
    resumed.train(resume_from_checkpoint=str(Path(whole[workers].args.output_dir) / f"checkpoint-{step}"))
    assert resumed.state.global_step == STEPS
    assert equal_weights(resumed.model, whole[workers].model)
    expected = [entry for entry in whole[workers].state.log_history if "loss" in entry]
    assert [entry["loss"] for entry in resumed.state.log_history if "loss" in entry] == [e["loss"] for e in expected]
    assert [entry["epoch"] for entry in expected] == pytest.approx([8 * (i + 1) / IMAGES for i in range(STEPS)])


def test_resume_with_accumulation(tmp_path: Path, folder: Path) -> None:
    settings = {"gradient_accumulation_steps": 2, "max_steps": 4, "save_steps": 1}
    runs = [make_trainer(tmp_path / name, folder, **settings) for name in ("whole", "cut")]
    runs[0].train()
    runs[1].train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert equal_weights(runs[1].model, runs[0].model)


def test_two_processes_one_of_them_killed(tmp_path: Path, folder: Path) -> None:
    torchrun("stream_run.py", "cut", tmp_path, folder, code=1)
    torchrun("stream_run.py", "resume", tmp_path, folder)
    found = [json.loads((tmp_path / f"found{rank}.json").read_text()) for rank in range(2)]
    for rank in range(2):
        assert found[rank]["world"] == 2
        assert found[rank]["equal"]
        assert found[rank]["from"] == str(tmp_path / "cut" / "checkpoint-6")
        assert found[rank]["sizes"] == [4] * 20  # no batch is incomplete, also where an epoch ends
    assert found[0]["losses"] == found[1]["losses"]
    seen = found[0]["seen"] + found[1]["seen"]
    assert len(seen) == len(set(seen)) == IMAGES  # an epoch of both


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_steps": -1}, "One pass over its 58 images is 7 steps of 8"),
        ({"samples_per_identity": 2}, "samples_per_identity=2 needs an index of all pairs"),
        ({"noisy_pairs": "filter"}, "noisy_pairs='filter' needs an index"),
        ({"dataloader_num_workers": 8}, r"has 7 shards, fewer than 1 processes x 8 loader workers"),
        ({"save_strategy": "epoch"}, "save_strategy='epoch': a stream has no end of an epoch"),
        ({"eval_strategy": "epoch"}, "eval_strategy='epoch'"),
        ({"on_bad_sample": "ignore"}, "on_bad_sample='ignore'"),
        ({"shuffle_buffer": 0}, "shuffle_buffer=0: expected a finite number from 1"),
    ],
)
def test_what_a_stream_cannot_do_is_named(tmp_path: Path, folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, folder, **settings)


def test_other_readers_do_not_resume(tmp_path: Path, folder: Path, whole: dict[int, Any]) -> None:
    checkpoint = str(Path(whole[0].args.output_dir) / "checkpoint-3")
    for settings, message in (
        ({"dataloader_num_workers": 2}, "trained with dataloader_num_workers=0, and this run has .*=2"),
        ({"shuffle_buffer": 5}, "trained with shuffle_buffer=16"),
    ):
        with pytest.raises(CheckpointError, match=message):
            make_trainer(tmp_path / "run", folder, **settings).train(resume_from_checkpoint=checkpoint)


def test_another_corpus_of_as_many_images_does_not_resume(tmp_path: Path, whole: dict[int, Any]) -> None:
    source = write_source(tmp_path / "raw", "webperson", IMAGES)
    write_corpus("webperson", [source], tmp_path / "shards", source.parent, entries_per_shard=ROWS, progress=False)
    checkpoint = str(Path(whole[0].args.output_dir) / "checkpoint-3")
    with pytest.raises(CheckpointError, match=r"corpus=synth-pedes of 58 images, checksum \w+, and .*=webperson of 58"):
        make_trainer(tmp_path / "run", tmp_path / "shards").train(resume_from_checkpoint=checkpoint)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loss_that_is_not_finite_names_the_files_of_its_batch(tmp_path: Path, folder: Path, workers: int) -> None:
    trainer = make_trainer(tmp_path / "run", folder, dataloader_num_workers=workers, save_strategy="no")
    batches = trainer.get_train_dataloader()
    first = json.loads(next(iter(batches))["stream"])["files"]
    assert len(first) == 8
    with torch.no_grad():
        trainer.model.part_decoder.queries[0, 0] = torch.nan
    with pytest.raises(DivergedError, match="loss of step 1 is nan") as error:
        trainer.train()
    assert str(error.value).endswith(f"Images of the batch: {', '.join(first)}.")


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_rows_are_counted_in_the_log_and_over_a_resume(tmp_path: Path, folder: Path, workers: int) -> None:
    shards = copied(folder, tmp_path / "shards")
    table = pq.read_table(shards / "shard-00001.parquet")
    images = [{"bytes": b"broken", "path": cell["path"]} for cell in table["image"].to_pylist()[:3]]
    whole_images = table["image"].to_pylist()[3:]
    column = pa.array([*images, *whole_images], table.schema.field("image").type)
    pq.write_table(table.set_column(0, table.schema.field("image"), column), shards / "shard-00001.parquet")
    index = json.loads((shards / "corpus.json").read_text())
    index["shards"][1]["bytes"] = (shards / "shard-00001.parquet").stat().st_size
    (shards / "corpus.json").write_text(json.dumps(index))
    bad = {cell["path"] for cell in images}
    settings = {"on_bad_sample": "skip", "dataloader_num_workers": workers, "logging_steps": 4, "max_steps": 15}

    def told(trainer: Any) -> list[tuple[int, int, frozenset[str]]]:
        entries = [entry for entry in trainer.state.log_history if "skipped_samples" in entry]
        return [(entry["step"], entry["skipped_samples"], frozenset(entry["skipped_files"])) for entry in entries]

    trainer = make_trainer(tmp_path / "run", shards, **settings)
    trainer.train()
    found = told(trainer)
    assert sum(count for _, count, _ in found) >= 3
    assert set().union(*(files for _, _, files in found)) <= bad
    if not workers:  # 120 pairs: two epochs of 55 that can be read, and ten of a third
        assert 6 <= sum(count for _, count, _ in found) <= 9
    resumed = make_trainer(tmp_path / "other", shards, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-6"))
    assert told(resumed) == found


def test_a_corpus_that_is_not_whole_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no corpus\.json: expected a folder that `tbps data shard` made"):
        Corpus(tmp_path)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "shard-00002.parquet").write_bytes(b"short")
    with pytest.raises(CorpusError, match=r"shard-00002\.parquet is missing or does not have"):
        Corpus(tmp_path)
    index = json.loads((tmp_path / "corpus.json").read_text())
    (tmp_path / "corpus.json").write_text(json.dumps({**index, "complete": False}))
    with pytest.raises(CorpusError, match=r"is not complete\. Run the same `tbps data shard` again"):
        Corpus(tmp_path)
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(CorpusError, match="is damaged"):
        Corpus(tmp_path)


def copied(folder: Path, to: Path) -> Path:
    to.mkdir(parents=True)
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


@pytest.mark.parametrize("name", ["run[1]", "a*b?", "x::y"])
def test_any_folder_name_is_taken_literally(tmp_path: Path, folder: Path, name: str) -> None:
    rows = Corpus(copied(folder, tmp_path / name / "shards")).rows()
    assert len(epochs_of(endless_rows(rows, 0, 1, 5, 16), 1)[0]) == IMAGES


def test_an_epoch_without_rows_is_an_error(tmp_path: Path, folder: Path) -> None:
    corpus = Corpus(copied(folder, tmp_path / "shards"))
    for path in corpus.files:
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(CorpusError, match="Reader 1 of 2 found no row in epoch 0"):
        next(endless_rows(corpus.rows(), 1, 2, 5, 16))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_is_named_in_training(tmp_path: Path, folder: Path, workers: int) -> None:
    shards = copied(folder, tmp_path / "shards")
    data = (shards / "shard-00003.parquet").read_bytes()
    (shards / "shard-00003.parquet").write_bytes(data[:-8] + b"damaged!")
    with pytest.raises(CorpusError, match=r"shard-00003\.parquet cannot be read .*`tbps data verify .*shards`"):
        make_trainer(tmp_path / "run", shards, dataloader_num_workers=workers).train()
    with pytest.raises(CorpusError, match=r"shard-00003\.parquet cannot be read"):
        list(Corpus(shards).captions())


def test_a_damaged_page_is_named(tmp_path: Path, folder: Path) -> None:
    corpus = Corpus(copied(folder, tmp_path / "shards"))
    column = pq.read_metadata(corpus.files[2]).row_group(0).column(2)  # captions
    data = bytearray(corpus.files[2].read_bytes())
    data[column.data_page_offset : column.data_page_offset + 12] = b"\xff" * 12
    corpus.files[2].write_bytes(data)
    with pytest.raises(CorpusError, match=r"shard-00002\.parquet cannot be read"):
        epochs_of(endless_rows(corpus.rows(), 0, 1, 5, 16), 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"made_from": {}, "complete": True, "shards": []}, r"corpus\.json is damaged \(it does not name the format"),
        ({"made_from": {"format": "mals"}, "complete": True, "shards": []}, "has no images according to corpus.json"),
        ([], r"corpus\.json is damaged"),
    ],
)
def test_an_index_of_nothing_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "corpus.json").write_text(json.dumps(content))
    with pytest.raises(CorpusError, match=message):
        Corpus(tmp_path)


def test_captions_are_read_without_images(corpus: Corpus) -> None:
    captions = list(corpus.captions())
    assert len(captions) == 2 * IMAGES
    assert captions[0].endswith("number 0")
