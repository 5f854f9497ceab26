"""Training pairs streamed from a corpus that is too large for an index of pairs: the items of `PersonPairs`."""

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

MOST_BAD = 100  # consecutive unreadable rows before the corpus counts as unreadable


class StreamedPairs(AugmentedPairs, torch.utils.data.IterableDataset[dict[str, Any]]):
    """An endless stream of (image, caption) pairs: each image of the corpus once per epoch, with one of its captions.

    Caption and augmentation are drawn from (seed, epoch, file), so they do not depend on the number of processes or
    workers. Every worker of every process is a reader with its own shards. Readers do not wait for each other, so one
    may begin an epoch a few batches before another.

    Args:
        corpus: The corpus to read.
        process: The number of this process, from 0.
        processes: The number of all processes.
        buffer: Rows per shuffling window, see `endless_rows`. A reader holds their undecoded images in memory.
        on_bad_sample: "raise" an error at an unreadable image, or "skip" it and continue with the next row.
        processor, augmentation, word_dropout, augmentation_warmup_epochs, seed, image_backend: As for `PersonPairs`.

    Attributes:
        positions: The position from which each worker of this process continues, see `resume`.
        first_worker: The worker whose turn is next.
        num_identities: 0, because an instance loss cannot have a class for each of millions of people.

    Raises:
        ValueError: `on_bad_sample` is unknown, `buffer` is less than 1, or `PixelPreparation` refuses the image
            processor or the backend.
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
            raise ValueError(f"shuffle_buffer must be 1 (rows in shard order) or more, got {buffer}.")
        self.corpus, self.rows, self.buffer = corpus, corpus.rows(), buffer
        self.process, self.processes = process, processes
        self.positions: dict[int, ReaderPosition] = {}
        self.first_worker = self.num_identities = 0

    def resume(self, positions: Mapping[int, ReaderPosition], first_worker: int) -> None:
        """Start the next iteration at these positions of the workers; an empty mapping starts from the beginning."""
        self.positions, self.first_worker = dict(positions), first_worker

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield pairs, endlessly. The log names each skipped file once.

        Yields:
            The items of `PersonPairs`, with "position": (worker, position after this item), "file": the image, and
            "skipped": the files skipped since the last item.

        Raises:
            BadImageError: An image cannot be read and may not be skipped. The message names it.
            CorpusError: There are more readers than shards.
        """
        loader = torch.utils.data.get_worker_info()
        workers = loader.num_workers if loader else 1
        self.corpus.check_readers(self.processes, workers)
        # a loader starts with its worker 0, which therefore continues the work of `first_worker`
        worker = ((loader.id if loader else 0) + self.first_worker) % workers
        reader, readers = self.process * workers + worker, self.processes * workers
        start = self.positions.get(worker, ReaderPosition())
        skipped: list[str] = []
        warned: set[str] = set()
        for row, position in endless_rows(self.rows, reader, readers, self.seed, self.buffer, start):
            try:
                item = self.item(row, position.epoch)
            except BadImageError as error:
                name = row["file_path"]
                skipped.append(name)
                if self.on_bad_sample == "raise" or len(skipped) == MOST_BAD:
                    raise
                if name not in warned:
                    logger.warning(f"skipped: {error}")
                warned.add(name)
                continue
            yield {**item, "position": (worker, position), "file": row["file_path"], "skipped": skipped}
            skipped = []

    def item(self, row: dict[str, Any], epoch: int) -> dict[str, Any]:
        """Draw a caption of a row and augment the pair for an epoch."""
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
    """Collate pairs as `PairCollator` does, and add "stream" as JSON: its files, skipped files and position."""

    def __init__(self, collate: PairCollator) -> None:
        self.collate = collate

    def __call__(self, pairs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Collate pairs, which all come from one worker."""
        worker, position = pairs[-1]["position"]
        skipped = [name for pair in pairs for name in pair["skipped"]]
        files = [pair["file"] for pair in pairs]
        stream = {"worker": worker, "position": asdict(position), "files": files, "skipped": skipped}
        return {**self.collate(pairs), "stream": json.dumps(stream)}
