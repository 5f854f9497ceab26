"""From items to committed rows: open, encode, append, and lose nothing when something goes wrong half-way."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from tbps.data.images import BadImageError
from tbps.encoding import batches, encode_images
from tbps.gallery.add_result import AddResult, Skipped
from tbps.gallery.errors import GalleryError
from tbps.gallery.home import Home, Row
from tbps.gallery.rows import changed_row, metadata_of
from tbps.gallery.sources import Item
from tbps.gallery.thumbnails import thumbnail
from tbps.gallery.updates import update_rows
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor
from tbps.spread import from_first, gather_lists, is_first, own_share


@dataclass(frozen=True)
class Encoded:
    """A batch's rows, their vectors (n, E) float32, and the images that cannot be read."""

    rows: list[Row]
    vectors: np.ndarray
    bad: list[Skipped]


@dataclass
class Intake:
    """Adds blocks of items to a home that is open for writing, in one process or in all of a launch together: each
    encodes its share of the batches, and process 0 writes.

    `bar` is told how many items are done, `result` holds what became of them.
    """

    home: Home
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
        places, updated = from_first(lambda: self._look_up(block))
        new = [block[place] for place in places]
        self.result.updated += updated
        self.result.unchanged += len(block) - len(new) - len(updated)
        self.bar.update(len(block) - len(new))
        own: list[Encoded] = []
        try:
            for batch in own_share(list(batches(new, self.batch_size))):
                own.append(self._encode(batch))
                self.bar.update(len(batch))
                if own[-1].bad and not self.skip_bad:
                    break
        finally:
            encoded = gather_lists(own)
            self._commit([one for one in encoded if one.rows])
        self._report([bad for one in encoded for bad in one.bad])

    def _look_up(self, block: Sequence[Item]) -> tuple[list[int], list[str]]:
        """The places of the items not in the home, of each id the first; the others, where they differ, are updated,
        and their ids given too."""
        known = self.home.known([item.row.id for item in block])
        first: dict[str, int] = {}
        for place, item in enumerate(block):
            first.setdefault(item.row.id, place)
        new = [place for id, place in first.items() if id not in known]
        if not self.update:
            return new, []
        there = [block[place] for id, place in first.items() if id in known and id not in self._seen]
        self._seen.update(first)
        ids = [item.row.id for item in there]
        return new, update_rows(self.home, ids, lambda n, row: self._changed(there[n], row)).updated

    def _changed(self, item: Item, row: Row) -> Row:
        changed = changed_row(row, item.row.path, metadata_of(item.row))
        return self._row(changed, item.open()) if row.thumbnail is None and self.thumbnails else changed

    def _commit(self, encoded: Sequence[Encoded]) -> None:
        rows = [row for one in encoded for row in one.rows]
        if rows and is_first():
            self.home.append(rows, np.concatenate([one.vectors for one in encoded]))
        self.result.added += [row.id for row in rows]

    def _encode(self, batch: Sequence[Item]) -> Encoded:
        items, pictures, bad = self._open(batch)
        vectors = encode_images(
            self.model, self.processor, pictures, batch_size=self.batch_size, progress=False
        ).numpy()
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            name = items[int(finite.argmin())].name
            raise GalleryError(f"The model gives no finite vector for {name}: check its weights and its dtype.")
        rows = [self._row(item.row, picture) for item, picture in zip(items, pictures, strict=True)]
        return Encoded(rows, vectors, bad)

    def _open(self, batch: Sequence[Item]) -> tuple[list[Item], list[Image.Image], list[Skipped]]:
        """The items that can be read, their pictures, and the others (the first of them, if it is the end)."""
        readable: list[Item] = []
        pictures: list[Image.Image] = []
        bad: list[Skipped] = []
        for item in batch:
            try:
                pictures.append(item.open())
                readable.append(item)
            except BadImageError as error:
                bad.append(Skipped(item.name, str(error)))
                if not self.skip_bad:
                    break
        return readable, pictures, bad

    def _row(self, row: Row, picture: Image.Image) -> Row:
        return replace(row, thumbnail=thumbnail(picture)) if self.thumbnails else row

    def _report(self, bad: list[Skipped]) -> None:
        if bad and not self.skip_bad:
            raise BadImageError(
                f"{bad[0].reason} The images before it are in the gallery. Mend or remove it and add again (nothing is "
                "encoded twice), or add with skip_bad=True (--skip-bad)."
            )
        self.result.skipped += bad
