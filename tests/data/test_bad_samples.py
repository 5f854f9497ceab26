"""Broken images and dead loader processes: the file is named, or the sample is skipped and counted."""

import json
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from tiny import make_rows
from torch.utils.data import DataLoader
from training_arguments import arguments

from tbps import TBPSModel, TBPSProcessor, TBPSTrainer
from tbps.data.bad_samples import WorkerLog, explain_dead_workers, replacements
from tbps.data.images import BadImageError
from tbps.data.pairs import PairCollator, PersonPairs

Factory = Callable[..., TBPSModel]


def path_of(rows: datasets.Dataset, row: int) -> str:
    return rows.cast_column("image", datasets.Image(decode=False))[row]["image"]["path"]


def break_image(rows: datasets.Dataset, row: int, how: str) -> str:
    path = path_of(rows, row)
    if how == "deleted":
        os.unlink(path)
    elif how == "truncated":
        with open(path, "rb+") as file:
            file.truncate(60)
    else:
        Path(path).write_text("no image")
    return path


@pytest.mark.parametrize(("how", "workers"), [("deleted", 0), ("truncated", 1), ("no image", 0)])
def test_a_broken_image_is_named_from_loader_processes_too(
    how: str, workers: int, rows: datasets.Dataset, tiny_processor: TBPSProcessor
) -> None:
    path = break_image(rows, 11, how)  # in the last batch, as the loader would wait for later ones
    collate = PairCollator(tiny_processor)
    loader = DataLoader(PersonPairs(rows, tiny_processor), 8, collate_fn=collate, num_workers=workers)
    with pytest.raises(BadImageError) as caught:
        list(loader)
    assert f"{path} (row 11)" in str(caught.value)


def test_an_image_of_bytes_is_named_by_its_row(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    cells = [{"bytes": Path(path_of(rows, row)).read_bytes(), "path": None} for row in range(len(rows))]
    whole = PersonPairs(rows, tiny_processor)[10]["pixel_values"]
    cells[3]["bytes"] = cells[3]["bytes"][:60]
    table = {**rows.remove_columns("image").to_dict(), "image": cells}
    features = datasets.Features({**rows.features})
    pairs = PersonPairs(datasets.Dataset.from_dict(table, features=features), tiny_processor)
    assert np.array_equal(pairs[10]["pixel_values"], whole)
    with pytest.raises(BadImageError, match=r"^Image row 3 of the training split: an image of 60 bytes"):
        _ = pairs[6]


def test_chosen_rows_keep_their_own_images(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    """A selection is an index into the table of all rows."""
    whole = PersonPairs(rows, tiny_processor)
    chosen = PersonPairs(rows.select([7, 2, 5]), tiny_processor)
    for pair, row in enumerate([7, 7, 2, 2, 5, 5]):
        assert np.array_equal(chosen[pair]["pixel_values"], whole.pixels(row))
    assert chosen.images.name(1) == f"{path_of(rows, 2)} (row 1)"


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_pairs_are_counted_and_batches_stay_complete(
    workers: int, rows: datasets.Dataset, tiny_processor: TBPSProcessor
) -> None:
    for row in (3, 8, 9):  # one of two images of person 1, both of person 4
        break_image(rows, row, "truncated")
    pairs = PersonPairs(rows, tiny_processor, on_bad_sample="skip")
    loader = DataLoader(pairs, 6, collate_fn=PairCollator(tiny_processor), num_workers=workers)
    batches = list(loader)
    assert [len(batch["person_ids"]) for batch in batches] == [6, 6, 6, 6]
    # pairs 6 and 7 show a broken image of person 1, which the other one replaces; person 4 has no other
    assert batches[1]["person_ids"].tolist()[:2] == [1, 1]
    assert all(4 not in batch["person_ids"] for batch in batches)
    assert pairs.worker_log.take_skipped() == [6, 7, 16, 17, 18, 19]
    assert pairs.worker_log.take_skipped() == []
    again = list(DataLoader(pairs, 6, collate_fn=PairCollator(tiny_processor)))
    assert all(torch.equal(a["pixel_values"], b["pixel_values"]) for a, b in zip(batches, again, strict=True))


def test_nothing_readable_is_an_error(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    for row in range(len(rows)):
        break_image(rows, row, "deleted")
    pairs = PersonPairs(rows, tiny_processor, on_bad_sample="skip")
    with pytest.raises(BadImageError, match=r"No other image could be read in its place"):
        _ = pairs[0]
    with pytest.raises(ValueError, match=r"on_bad_sample='ignore': expected 'raise' or 'skip'"):
        PersonPairs(rows, tiny_processor, on_bad_sample="ignore")


def test_replacements_are_of_the_same_person_first_and_never_in_the_batch() -> None:
    people = np.repeat(np.arange(40), 4)
    taken = {0, 1, 8, 12}  # of people 0, 0, 2, 3
    found = list(replacements(people, 0, taken, (5, 1)))
    assert set(found[:2]) == {2, 3}
    assert not {0, 2, 3} & {int(people[pair]) for pair in found[2:]}
    assert len(found) > 50
    assert found == list(replacements(people, 0, taken, (5, 1)))
    assert found != list(replacements(people, 0, taken, (5, 2)))


def test_training_goes_on_and_logs_what_it_skipped(
    tmp_path: Path, model_factory: Factory, rows: datasets.Dataset, tiny_processor: TBPSProcessor
) -> None:
    path = break_image(rows, 3, "truncated")
    args = arguments(tmp_path, on_bad_sample="skip", save_strategy="no", color_jitter=0.1)
    trainer = TBPSTrainer(model_factory(num_identities=6), args, rows, processing_class=tiny_processor)
    trainer.train()
    assert trainer.state.global_step == 6
    logged = [entry for entry in trainer.state.log_history if "skipped_samples" in entry]
    assert [(entry["skipped_samples"], entry["epoch"]) for entry in logged] == [(2, 1.0), (2, 2.0)]
    assert logged[0]["skipped_files"] == [f"{path} (row 3)"]
    json.dumps(trainer.state.log_history)


def test_training_stops_at_a_bad_sample_unless_asked(
    tmp_path: Path, model_factory: Factory, rows: datasets.Dataset, tiny_processor: TBPSProcessor
) -> None:
    path = break_image(rows, 3, "truncated")
    trainer = TBPSTrainer(model_factory(), arguments(tmp_path), rows, processing_class=tiny_processor)
    with pytest.raises(BadImageError, match=path):
        trainer.train()


# -- loader processes that die


class Killed(PersonPairs):
    """A data set whose loader process is killed at one row, as by the system when memory runs out."""

    def pixels(self, row: int) -> np.ndarray:
        pixels = super().pixels(row)
        if row == 5 and torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return pixels


def test_the_file_that_a_killed_loader_process_read_is_named(
    tmp_path: Path, model_factory: Factory, tiny_processor: TBPSProcessor
) -> None:
    rows = make_rows(tmp_path / "images", people=6)
    args = arguments(tmp_path / "run", dataloader_num_workers=2, save_strategy="no")
    trainer = TBPSTrainer(model_factory(), args, rows, processing_class=tiny_processor)
    trainer.train_dataset = Killed(rows, tiny_processor)
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid.*It was reading .*") as caught:
        trainer.train()
    assert f"{path_of(rows, 5)} (row 5)" in str(caught.value)
    assert "(row 4)" not in str(caught.value)


def test_other_errors_pass_as_they_are(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    pairs = PersonPairs(rows, tiny_processor)
    for text in ("CUDA out of memory", "Caught RuntimeError in DataLoader worker process 0."):
        with pytest.raises(RuntimeError) as caught, explain_dead_workers(pairs):
            raise RuntimeError(text)
        assert str(caught.value) == text
    with pytest.raises(RuntimeError, match=r"is killed.*It was reading no file yet"), explain_dead_workers(pairs):
        raise RuntimeError("DataLoader worker (pid 17) is killed by signal: Killed. ")


def test_pairs_can_be_sent_to_a_started_process(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    pairs: Any = pickle.loads(pickle.dumps(PersonPairs(rows, tiny_processor)))  # noqa: S301 - our own bytes
    assert isinstance(pairs.worker_log, WorkerLog)
    assert np.array_equal(pairs[3]["pixel_values"], PersonPairs(rows, tiny_processor)[3]["pixel_values"])
