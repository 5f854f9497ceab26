"""From items to committed rows: open, encode, append, and lose nothing when something goes wrong half-way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from tbps.data.images import BadImageError
from tbps.encoding import batches, encode_images
from tbps.gallery.errors import GalleryError
from tbps.gallery.home import Home, Row
from tbps.gallery.sources import Item
from tbps.gallery.thumbnails import thumbnail
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor
from tbps.spread import from_first, gather_lists, is_first, own_share


@dataclass(frozen=True)
class Encoded:
    """A batch's rows, their vectors (n, E) float32, and what was said of images that cannot be read."""

    rows: list[Row]
    vectors: np.ndarray
    bad: list[str]


class Intake:
    """Adds blocks of items to a home that is open for writing, in one process or in all of a launch together: each
    encodes its share of the batches, and process 0 writes.

    `added` are the ids that were committed, `skipped` what was said of images that cannot be read. `bar` is told how
    many items are done.
    """

    def __init__(
        self,
        home: Home,
        model: TBPSModel,
        processor: TBPSProcessor,
        batch_size: int,
        skip_bad: bool,
        thumbnails: bool,
        bar: Any,
    ) -> None:
        self.added: list[str] = []
        self.skipped: list[str] = []
        self._home, self._model, self._processor = home, model, processor
        self._batch_size, self._skip_bad, self._thumbnails, self._bar = batch_size, skip_bad, thumbnails, bar

    def add(self, block: Sequence[Item]) -> None:
        """
        Commit those of a block that are new; also when it ends in an error, what was encoded before it.

        Raises:
            BadImageError: an image cannot be read, unless those are skipped.
        """
        new = [block[place] for place in from_first(lambda: self._new(block))]
        self._bar.update(len(block) - len(new))
        own: list[Encoded] = []
        try:
            for batch in own_share(list(batches(new, self._batch_size))):
                own.append(self._encode(batch))
                self._bar.update(len(batch))
                if own[-1].bad and not self._skip_bad:
                    break
        finally:
            encoded = gather_lists(own)
            self._commit([one for one in encoded if one.rows])
        self._report([bad for one in encoded for bad in one.bad])

    def _new(self, block: Sequence[Item]) -> list[int]:
        """The places of the items not in the home, of each id the first."""
        known = self._home.known([item.row.id for item in block])
        first: dict[str, int] = {}
        for place, item in enumerate(block):
            if item.row.id not in known:
                first.setdefault(item.row.id, place)
        return list(first.values())

    def _commit(self, encoded: Sequence[Encoded]) -> None:
        rows = [row for one in encoded for row in one.rows]
        if rows and is_first():
            self._home.append(rows, np.concatenate([one.vectors for one in encoded]))
        self.added += [row.id for row in rows]

    def _encode(self, batch: Sequence[Item]) -> Encoded:
        items, pictures, bad = self._open(batch)
        vectors = encode_images(
            self._model, self._processor, pictures, batch_size=self._batch_size, progress=False
        ).numpy()
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            name = items[int(finite.argmin())].name
            raise GalleryError(f"The model gives no finite vector for {name}: check its weights and its dtype.")
        rows = [self._row(item, picture) for item, picture in zip(items, pictures, strict=True)]
        return Encoded(rows, vectors, bad)

    def _open(self, batch: Sequence[Item]) -> tuple[list[Item], list[Image.Image], list[str]]:
        """The items that can be read, their pictures, and the errors of the others (of the first, if it is the end)."""
        readable: list[Item] = []
        pictures: list[Image.Image] = []
        bad: list[str] = []
        for item in batch:
            try:
                pictures.append(item.open())
                readable.append(item)
            except BadImageError as error:
                bad.append(str(error))
                if not self._skip_bad:
                    break
        return readable, pictures, bad

    def _row(self, item: Item, picture: Image.Image) -> Row:
        return replace(item.row, thumbnail=thumbnail(picture)) if self._thumbnails else item.row

    def _report(self, bad: list[str]) -> None:
        if bad and not self._skip_bad:
            raise BadImageError(
                f"{bad[0]} The images before it are in the gallery. Mend or remove it and add again (nothing is "
                "encoded twice), or add with skip_bad=True (--skip-bad)."
            )
        self.skipped += bad
