"""Training pairs from a stream: items, augmentation, loader workers and bad images."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import IMAGES
from stream_run import make_processor
from torch.utils.data import DataLoader

from tbps.data.augment import Augmentation
from tbps.data.corpora.corpus import Corpus
from tbps.data.corpora.stream import endless_rows
from tbps.data.images import BadImageError
from tbps.data.pairs import PairCollator
from tbps.data.streamed_pairs import MOST_BAD, StreamedPairs


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
