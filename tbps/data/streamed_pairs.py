"""Training pairs from a corpus too large for an index of them: the items of `PersonPairs`, one after the other."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from zlib import crc32

import numpy as np
import torch
from transformers.utils import logging

from tbps.data.augment import Augmentation
from tbps.data.corpora.corpus import Corpus
from tbps.data.corpora.stream import ReaderPosition, endless_rows
from tbps.data.images import BadImageError
from tbps.data.pairs import AugmentedPairs, PairCollator
from tbps.data.splits import parse_captions
from tbps.processing_tbps import TBPSProcessor

logger = logging.get_logger(__name__)

MOST_BAD = 100  # rows in a row that cannot be read, before the corpus itself is called unreadable


class StreamedPairs(AugmentedPairs, torch.utils.data.IterableDataset[dict[str, Any]]):
    """An endless stream of (image, caption): each image of the corpus once an epoch, with one of its captions.

    The caption and the augmentation are drawn from (seed, epoch, file), so that they do not depend on the number of
    processes or workers. Every worker of every process is a reader with shards of its own; readers do not wait for
    each other, so that one may begin an epoch a few batches before another.

    Args:
        corpus, processor, augmentation, word_dropout, augmentation_warmup_epochs, seed, image_backend: see
            `PersonPairs`.
        process, processes: which of how many this is. buffer: rows of a window, see `endless_rows`; a reader holds
            their undecoded images in memory.
        on_bad_sample: "raise" at an image that cannot be read, or "skip" it and go on with the next row.

    Attributes:
        places, first_worker: where each worker of this process goes on, and whose turn it is; see `resume`.
        num_identities: 0, as no instance loss has a class for each of millions.

    Raises:
        ValueError: another way of `on_bad_sample`; no buffer; an image processor or a backend that `PixelPreparation`
            refuses.
    """

    def __init__(
        self,
        corpus: Corpus,
        processor: TBPSProcessor,
        process: int = 0,
        processes: int = 1,
        augmentation: Augmentation | None = None,
        word_dropout: float = 0.0,
        augmentation_warmup_epochs: int = 0,
        seed: int = 0,
        buffer: int = 1000,
        on_bad_sample: str = "raise",
        image_backend: str = "auto",
    ) -> None:
        super().__init__(
            processor, augmentation, word_dropout, augmentation_warmup_epochs, seed, on_bad_sample, image_backend
        )
        if buffer < 1:
            raise ValueError(f"shuffle_buffer={buffer}: expected 1 (rows in the order of their shard) or more.")
        self.corpus, self.rows, self.buffer = corpus, corpus.rows(), buffer
        self.process, self.processes = process, processes
        self.places: dict[int, ReaderPosition] = {}
        self.first_worker = self.num_identities = 0

    def resume(self, places: Mapping[int, ReaderPosition], first_worker: int) -> None:
        """Let the next iteration begin at these places of the workers; without any, at the beginning."""
        self.places, self.first_worker = dict(places), first_worker

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Items as of `PersonPairs`, "place": (worker, place after this item), "file": of the image, and "skipped": the
        files passed over since the last one. The log warns of a file once.

        Raises:
            BadImageError: an image that is no readable picture, where it is not skipped; the message names it.
            CorpusError: more readers than shards.
        """
        loader = torch.utils.data.get_worker_info()
        workers = loader.num_workers if loader else 1
        self.corpus.check_readers(self.processes, workers)
        # a loader begins with its worker 0, which does the work of the one whose turn it is
        worker = ((loader.id if loader else 0) + self.first_worker) % workers
        reader, readers = self.process * workers + worker, self.processes * workers
        start = self.places.get(worker, ReaderPosition())
        skipped: list[str] = []
        told: set[str] = set()
        for row, place in endless_rows(self.rows, reader, readers, self.seed, self.buffer, start):
            try:
                item = self.item(row, place.epoch)
            except BadImageError as error:
                name = row["file_path"]
                skipped.append(name)
                if self.on_bad_sample == "raise" or len(skipped) == MOST_BAD:
                    raise
                if name not in told:
                    logger.warning(f"skipped: {error}")
                told.add(name)
                continue
            yield {**item, "place": (worker, place), "file": row["file_path"], "skipped": skipped}
            skipped = []

    def item(self, row: dict[str, Any], epoch: int) -> dict[str, Any]:
        """The pair of a row, as drawn and augmented in an epoch."""
        try:
            pixels = self.preparation.read(row["image"]["bytes"])
        except BadImageError as error:
            raise BadImageError(f"Image {row['file_path']} of {self.corpus.folder}: {error}") from error
        rng = np.random.default_rng([self.seed, epoch, crc32(row["file_path"].encode())])
        captions = parse_captions(row["captions"], row["file_path"])
        caption = captions[rng.integers(len(captions))]
        input_ids = self.processor.tokenizer(caption, truncation=True)["input_ids"]
        pixels, input_ids = self.augmented(pixels, input_ids, epoch, rng)
        return {"pixel_values": pixels, "input_ids": input_ids, "person_ids": row["person_id"]}


class StreamCollator:
    """The batch of `PairCollator`, and "stream", as JSON: its files, those passed over, the place of its last pair."""

    def __init__(self, collate: PairCollator) -> None:
        self.collate = collate

    def __call__(self, pairs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """All pairs of a batch are of one worker."""
        worker, place = pairs[-1]["place"]
        skipped = [name for pair in pairs for name in pair["skipped"]]
        files = [pair["file"] for pair in pairs]
        stream = {"worker": worker, "place": asdict(place), "files": files, "skipped": skipped}
        return {**self.collate(pairs), "stream": json.dumps(stream)}
