"""From items to committed rows: open, encode, append, and lose nothing when something goes wrong half-way.

Small pictures kept beside vectors, for reports without the files.

Other metadata for images that are in a gallery already; their vectors are kept.
"""

import os
from collections.abc import Callable, Sequence
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
from tbps.gallery.metadata import changed_row, metadata_of
from tbps.gallery.results import AddResult, Skipped
from tbps.gallery.sources import Item
from tbps.gallery.store import Row, VectorStore
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor

_SIZE = (96, 192)  # pixels at most


def thumbnail(picture: Image.Image) -> bytes:
    """A JPEG file of a few kilobytes; it holds nothing of what the original says of place and time."""
    small = picture.copy()
    small.thumbnail(_SIZE)
    file = BytesIO()
    small.save(file, format="JPEG", quality=80)
    return file.getvalue()


@dataclass
class UpdateResult:
    """What an update did: the ids of those that are different now, and the ids that are not in the gallery."""

    updated: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def update_rows(store: VectorStore, ids: Sequence[str], change: Callable[[int, Row], Row]) -> UpdateResult:
    """
    Put changed rows in the place of rows of a store that is open for writing, in one commit.

    Args:
        ids: of rows, each once; those that are not there are left out.
        change: the new row, of the place among the ids and the row that is there.
    """
    rows = store.get(ids)
    there = [(place, found) for place, found in enumerate(rows) if found is not None]
    changed = [(change(place, found.row), found.row) for place, found in there]
    new = [row for row, old in changed if row != old]
    if new:
        store.replace(new)
    unknown = [id for id, found in zip(ids, rows, strict=True) if found is None]
    return UpdateResult([row.id for row in new], unknown)


@dataclass(frozen=True)
class LookedUp:
    """Of a block: the places of the items to encode, and the ids of those updated and of those moved."""

    new: list[int]
    updated: list[str]
    moved: list[str]


@dataclass(frozen=True)
class Encoded:
    """A batch's rows, their vectors (n, E) float32, the images that cannot be read, and those that are no crops."""

    rows: list[Row]
    vectors: np.ndarray
    bad: list[Skipped]
    not_crops: dict[str, str]  # names by ids


@dataclass
class Ingestor:
    """Adds blocks of items to a store that is open for writing, in one process or in all of a launch together: each
    encodes its share of the batches, and process 0 writes.

    `bar` is told how many items are done, `result` holds what became of them.
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
    _seen: set[str] = field(default_factory=set)  # by process 0: of an image that comes twice the first one counts

    def add(self, block: Sequence[Item]) -> None:
        """
        Commit those of a block that are new, or that are there and differ; also when it ends in an error, what was
        encoded before it.

        Raises:
            BadImageError: an image cannot be read, unless those are skipped.
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
        """What is new of a block, of each id the first; of the others those that differ are updated, if that is
        asked."""
        known = self.store.known([item.row.id for item in block])
        first: dict[str, int] = {}
        for place, item in enumerate(block):
            first.setdefault(item.row.id, place)
        new = [place for id, place in first.items() if id not in known]
        there = [block[place] for id, place in first.items() if id in known and id not in self._seen]
        self._seen.update(first if self.update else ())
        if not self.update:
            return LookedUp(new, [], self._moved(there))
        ids = [item.row.id for item in there]
        return LookedUp(new, update_rows(self.store, ids, lambda n, row: self._changed(there[n], row)).updated, [])

    def _moved(self, there: Sequence[Item]) -> list[str]:
        """The ids of items that are in the store under a path which is gone."""
        ids = [item.row.id for item in there if item.row.path is not None]
        rows = [found.row for found in self.store.get(ids) if found is not None]
        return [row.id for row in rows if row.path is not None and not os.path.exists(name_on_disk(row.path))]

    def _changed(self, item: Item, row: Row) -> Row:
        changed = changed_row(row, item.row.path, metadata_of(item.row))
        pictured = row.thumbnail is not None or not self.thumbnails
        if pictured and (item.box is None or changed.metadata == row.metadata):
            return changed
        opened = item.open()  # which checks the box, too
        if opened.row.id != row.id:
            return row  # the file is another one by now
        return changed if pictured else replace(changed, thumbnail=thumbnail(opened.picture))

    def _commit(self, encoded: Sequence[Encoded], asked: set[str]) -> None:
        """Keep what was encoded. Files that were overwritten since they were looked up have other ids than those asked
        for, which may be there already."""
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
        """The places of rows that are not in the store, of each id the first."""
        known = self.store.known([row.id for row in rows])
        first: dict[str, int] = {}
        for place, row in enumerate(rows):
            first.setdefault(row.id, place)
        return [place for id, place in first.items() if id not in known]

    def _encode(self, batch: Sequence[Item]) -> Encoded:
        encoded, pictures = self._open(batch)
        vectors = encode_images(
            self.model, self.processor, pictures, batch_size=self.batch_size, progress=False
        ).numpy()
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            row = encoded.rows[int(finite.argmin())]
            name = row.id if row.path is None else shown(row.path)
            raise GalleryError(f"The model gives no finite vector for {name}: check its weights and its dtype.")
        return replace(encoded, vectors=vectors)

    def _open(self, batch: Sequence[Item]) -> tuple[Encoded, list[Image.Image]]:
        """What is known of a batch before its vectors, and its pictures, each in the size that the model reads: whole
        ones would take gigabytes. Where bad images are not skipped, the first of them ends it."""
        pictures: list[Image.Image] = []
        encoded = Encoded([], np.empty(0), [], {})
        for item in batch:
            try:
                opened = item.open()
            except BadImageError as error:
                encoded.bad.append(Skipped(item.name, str(error)))
                if not self.skip_bad:
                    break
                continue
            row, picture = opened.row, opened.picture
            encoded.rows.append(replace(row, thumbnail=thumbnail(picture)) if self.thumbnails else row)
            pictures.append(self.processor.image_processor.shrink(picture))
            if not is_crop_shaped(picture.size):
                encoded.not_crops[row.id] = item.name
        return encoded, pictures

    def _report(self, bad: list[Skipped]) -> None:
        if bad and not self.skip_bad:
            raise BadImageError(
                f"{bad[0].reason} The images before it are in the gallery. Mend or remove it and add again (nothing is "
                "encoded twice), or add with skip_bad=True (--skip-bad)."
            )
        self.result.skipped += bad
