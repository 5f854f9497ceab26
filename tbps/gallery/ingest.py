"""Adding images: open, encode and commit them in batches, and lose nothing when an error comes half-way."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from tbps.data.images import BadImageError, shown
from tbps.data.paths import name_on_disk
from tbps.evaluation.distributed import broadcast_from_main, gather_shards, is_main_process, shard
from tbps.evaluation.encoding import batches, encode_images
from tbps.gallery.checks import GalleryError
from tbps.gallery.crops import is_crop_shaped
from tbps.gallery.metadata import changed_row, metadata_of, update_rows
from tbps.gallery.results import AddResult, Skipped
from tbps.gallery.sources import Item
from tbps.gallery.store import Row, VectorStore
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor

_THUMBNAIL_SIZE = (96, 192)  # pixels at most


def thumbnail(image: Image.Image) -> bytes:
    """Make a JPEG file of a few kilobytes, without the time and place that the original may carry."""
    small = image.copy()
    small.thumbnail(_THUMBNAIL_SIZE)
    file = BytesIO()
    small.save(file, format="JPEG", quality=80)
    return file.getvalue()


@dataclass(frozen=True)
class LookedUp:
    """What a block of items needs: the positions of the items to encode, the ids of updated and of moved images."""

    new: list[int]
    updated: list[str]
    moved: list[str]


@dataclass(frozen=True)
class Encoded:
    """
    A batch of images.

    Args:
        rows: their rows. vectors: (n, E) float32.
        bad: the images that cannot be read.
        not_crops: the names, by id, of images that are not shaped like the crop of a person.
    """

    rows: list[Row]
    vectors: np.ndarray
    bad: list[Skipped]
    not_crops: dict[str, str]


@dataclass
class Ingestor:
    """
    Adds blocks of items to a store that is open for writing.

    The processes of a launch share the work: each encodes some of the batches, and the main process writes.

    Args:
        bar: a progress bar that counts the items done.
        result: the outcome so far.
    """

    store: VectorStore
    model: TBPSModel
    processor: TBPSProcessor
    batch_size: int
    skip_bad: bool
    thumbnails: bool
    update: bool
    bar: Any
    result: AddResult = field(default_factory=AddResult)
    _seen: set[str] = field(default_factory=set)  # in the main process; of an image that comes twice, the first counts

    def add(self, block: Sequence[Item]) -> None:
        """
        Commit the items that are new, and update those that differ. If an error ends the block, what was encoded before
        it is committed.

        Raises:
            BadImageError: an image cannot be read, and bad images are not skipped.
        """
        found = broadcast_from_main(lambda: self._look_up(block))
        new = [block[place] for place in found.new]
        self.result.updated += found.updated
        self.result.moved += found.moved
        self.result.unchanged += len(block) - len(new) - len(found.updated)
        self.bar.update(len(block) - len(new))
        own: list[Encoded] = []
        try:
            for batch in shard(list(batches(new, self.batch_size))):
                own.append(self._encode(batch))
                self.bar.update(len(batch))
                if own[-1].bad and not self.skip_bad:
                    break
        finally:
            encoded = gather_shards(own)
            self._commit([one for one in encoded if one.rows], {item.row.id for item in new})
        self._report([bad for one in encoded for bad in one.bad])

    def _look_up(self, block: Sequence[Item]) -> LookedUp:
        """Find the new items of a block, the first of each id. With `update`, also update stored items that differ."""
        known = self.store.known([item.row.id for item in block])
        first: dict[str, int] = {}
        for place, item in enumerate(block):
            first.setdefault(item.row.id, place)
        new = [place for id, place in first.items() if id not in known]
        stored = [block[place] for id, place in first.items() if id in known and id not in self._seen]
        self._seen.update(first if self.update else ())
        if not self.update:
            return LookedUp(new, [], self._moved(stored))
        ids = [item.row.id for item in stored]
        updated, _ = update_rows(self.store, ids, lambda place, row: self._changed(stored[place], row))
        return LookedUp(new, updated, [])

    def _moved(self, stored: Sequence[Item]) -> list[str]:
        """Return the ids of items whose stored path leads to no file."""
        ids = [item.row.id for item in stored if item.row.path is not None]
        rows = [found.row for found in self.store.get(ids) if found is not None]
        return [row.id for row in rows if row.path is not None and not os.path.exists(name_on_disk(row.path))]

    def _changed(self, item: Item, row: Row) -> Row:
        changed = changed_row(row, item.row.path, metadata_of(item.row))
        has_thumbnail = row.thumbnail is not None or not self.thumbnails
        if has_thumbnail and (item.box is None or changed.metadata == row.metadata):
            return changed
        opened = item.open()  # this checks the box, too
        if opened.row.id != row.id:
            return row  # the file was overwritten
        return changed if has_thumbnail else replace(changed, thumbnail=thumbnail(opened.image))

    def _commit(self, encoded: Sequence[Encoded], asked: set[str]) -> None:
        """Commit what was encoded. A file that was overwritten after the look-up has another id, which the store may
        already hold."""
        rows = [row for one in encoded for row in one.rows]
        places = list(range(len(rows)))
        ids = {row.id for row in rows}
        if len(ids) < len(rows) or not ids <= asked:
            places = broadcast_from_main(lambda: self._unknown(rows))
        kept = [rows[place] for place in places]
        if kept and is_main_process():
            self.store.append(kept, np.concatenate([one.vectors for one in encoded])[places])
        self.result.added += [row.id for row in kept]
        self.result.unchanged += len(rows) - len(kept)
        names = {id: name for one in encoded for id, name in one.not_crops.items()}
        self.result.not_crops += [names[row.id] for row in kept if row.id in names]

    def _unknown(self, rows: Sequence[Row]) -> list[int]:
        """Return the positions of rows that the store does not hold, the first of each id."""
        known = self.store.known([row.id for row in rows])
        first: dict[str, int] = {}
        for place, row in enumerate(rows):
            first.setdefault(row.id, place)
        return [place for id, place in first.items() if id not in known]

    def _encode(self, batch: Sequence[Item]) -> Encoded:
        encoded, images = self._open(batch)
        vectors = encode_images(self.model, self.processor, images, batch_size=self.batch_size, progress=False).numpy()
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            row = encoded.rows[int(finite.argmin())]
            name = row.id if row.path is None else shown(row.path)
            raise GalleryError(f"The model gives no finite vector for {name}: check its weights and its dtype.")
        return replace(encoded, vectors=vectors)

    def _open(self, batch: Sequence[Item]) -> tuple[Encoded, list[Image.Image]]:
        """Open the images of a batch, shrunk to the size that the model reads: full images would take gigabytes. Unless
        bad images are skipped, the first of them ends the batch."""
        images: list[Image.Image] = []
        encoded = Encoded([], np.empty(0), [], {})
        for item in batch:
            try:
                opened = item.open()
            except BadImageError as error:
                encoded.bad.append(Skipped(item.name, str(error)))
                if not self.skip_bad:
                    break
                continue
            row, image = opened.row, opened.image
            encoded.rows.append(replace(row, thumbnail=thumbnail(image)) if self.thumbnails else row)
            images.append(self.processor.image_processor.shrink(image))
            if not is_crop_shaped(image.size):
                encoded.not_crops[row.id] = item.name
        return encoded, images

    def _report(self, bad: list[Skipped]) -> None:
        if bad and not self.skip_bad:
            raise BadImageError(
                f"{bad[0].reason} The images before it are in the gallery. Mend or remove it and add again (nothing is "
                "encoded twice), or add with skip_bad=True (--skip-bad)."
            )
        self.result.skipped += bad
