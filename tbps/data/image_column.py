"""The image column of a split, cell by cell, without decoding."""

from collections.abc import Sequence
from typing import overload

import datasets

from tbps.data.images import ImageSource, image_source


class ImageColumn:
    """What `open_image` takes, of each row; and its name for people.

    Where all images are files, their paths are held in one Arrow array: a look-up then takes a microsecond, not fifty,
    and loader processes share the memory, which they would copy from a list of Python strings as they count references.
    """

    def __init__(self, rows: datasets.Dataset) -> None:
        cells = rows.select_columns("image").cast_column("image", datasets.Image(decode=False))
        self.cells = cells["image"]
        flat = cells.flatten()
        stored = flat.data.column("image.bytes")
        self.paths = flat.with_format("arrow")["image.path"][:] if stored.null_count == len(stored) else None

    def __getitem__(self, row: int) -> ImageSource:
        """The source of a row.

        Raises:
            BadImageError: the cell has neither bytes nor a path.
        """
        path = self.paths[row].as_py() if self.paths is not None else None
        return image_source(self.cells[row] if path is None else path)

    def select(self, rows: Sequence[int]) -> Sequence[ImageSource]:
        """The sources of some rows, each read when it is asked for: images in a data set would else all be held."""
        return _Selection(self, rows)

    def name(self, row: int) -> str:
        """The file of a row, as far as it has one."""
        path = self.cells[row]["path"]
        return f"row {row}" if path is None else f"{path} (row {row})"


class _Selection(Sequence[ImageSource]):
    def __init__(self, cells: ImageColumn, rows: Sequence[int]) -> None:
        self.cells, self.rows = cells, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> ImageSource: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[ImageSource]: ...
    def __getitem__(self, place: int | slice) -> ImageSource | Sequence[ImageSource]:
        if isinstance(place, slice):
            return _Selection(self.cells, self.rows[place])
        return self.cells[self.rows[place]]
