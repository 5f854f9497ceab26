"""Training on the shards of a corpus: resume with the next row, skipped rows, and what a stream cannot do."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from corpora import IMAGES, ROWS, copied, write_shards, write_source
from repository import torchrun
from stream_run import STEPS, equal_weights, make_trainer

from tbps.data.corpora.corpus import Corpus
from tbps.data.corpora.index import CorpusError
from tbps.data.corpora.writer import write_corpus
from tbps.training.checkpoints import CheckpointError
from tbps.training.losses import DivergedError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> dict[int, Any]:
    """Uninterrupted runs with all of their checkpoints, by the number of loader workers (0 and 2)."""
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


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_is_named_in_training(tmp_path: Path, folder: Path, workers: int) -> None:
    shards = copied(folder, tmp_path / "shards")
    data = (shards / "shard-00003.parquet").read_bytes()
    (shards / "shard-00003.parquet").write_bytes(data[:-8] + b"damaged!")
    with pytest.raises(CorpusError, match=r"shard-00003\.parquet cannot be read .*`tbps data verify .*shards`"):
        make_trainer(tmp_path / "run", shards, dataloader_num_workers=workers).train()
    with pytest.raises(CorpusError, match=r"shard-00003\.parquet cannot be read"):
        list(Corpus(shards).captions())
