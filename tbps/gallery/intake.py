"""From items to committed rows: open, encode, append, and lose nothing when something goes wrong half-way."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from tbps.data.images import BadImageError
from tbps.encoding import batches, encode_images
from tbps.gallery.errors import GalleryError
from tbps.gallery.sources import Item
from tbps.gallery.store import Store
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor


class Intake:
    """Adds blocks of items to a store that is open for writing.

    `added` are the ids that were committed, `skipped` what was said of images that cannot be read. `bar` is told how
    many items are done.
    """

    def __init__(
        self, store: Store, model: TBPSModel, processor: TBPSProcessor, batch_size: int, skip_bad: bool, bar: Any
    ) -> None:
        self.added: list[str] = []
        self.skipped: list[str] = []
        self._store, self._model, self._processor = store, model, processor
        self._batch_size, self._skip_bad, self._bar = batch_size, skip_bad, bar

    def add(self, block: Sequence[Item]) -> None:
        """
        Commit those of a block that are new; also when it ends in an error, what was encoded before it.

        Raises:
            BadImageError: an image cannot be read, unless those are skipped.
        """
        new = self._new(block)
        self._bar.update(len(block) - len(new))
        done: list[Item] = []
        vectors: list[np.ndarray] = []
        try:
            for batch in batches(new, self._batch_size):
                readable, pictures, bad = self._open(batch)
                vectors.append(self._encode(readable, pictures))
                done += readable
                self._bar.update(len(batch))
                self._report(bad)
        finally:
            if done:
                self._store.append([item.row for item in done], np.concatenate(vectors))
                self.added += [item.row.id for item in done]

    def _new(self, block: Sequence[Item]) -> list[Item]:
        """The items not in the store, each id once."""
        known = self._store.known([item.row.id for item in block])
        first: dict[str, Item] = {}
        for item in block:
            if item.row.id not in known:
                first.setdefault(item.row.id, item)
        return list(first.values())

    def _open(self, batch: Sequence[Item]) -> tuple[list[Item], list[Image.Image], list[BadImageError]]:
        """The items that can be read, their pictures, and the errors of the others (of the first, if it is the end)."""
        readable: list[Item] = []
        pictures: list[Image.Image] = []
        bad: list[BadImageError] = []
        for item in batch:
            try:
                pictures.append(item.open())
                readable.append(item)
            except BadImageError as error:
                bad.append(error)
                if not self._skip_bad:
                    break
        return readable, pictures, bad

    def _encode(self, items: Sequence[Item], pictures: list[Image.Image]) -> np.ndarray:
        """(N, E) float32."""
        vectors = encode_images(
            self._model, self._processor, pictures, batch_size=self._batch_size, progress=False
        ).numpy()
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            name = items[int(finite.argmin())].name
            raise GalleryError(f"The model gives no finite vector for {name}: check its weights and its dtype.")
        return vectors

    def _report(self, bad: list[BadImageError]) -> None:
        if bad and not self._skip_bad:
            raise BadImageError(
                f"{bad[0]} The images before it are in the gallery. Mend or remove it and add again (nothing is "
                "encoded twice), or add with skip_bad=True (--skip-bad)."
            ) from bad[0]
        self.skipped += [str(error) for error in bad]
