"""The image column of a data set: the source of each image, without decoding it."""

from collections.abc import Sequence
from typing import overload

import datasets

from tbps.data.images import ImageSource, image_source


class ImageColumn:
    """The images of a data set as `open_image` takes them, and their names for messages.

    If all images are files, their paths are held in one Arrow array. A look-up then takes 1 microsecond instead of 50.
    Loader processes share this memory, which they would copy from a list of Python strings as they count references.

    Args:
        rows: A data set with a column `image`.
    """

    def __init__(self, rows: datasets.Dataset) -> None:
        column = rows.select_columns("image").cast_column("image", datasets.Image(decode=False))
        self.cells = column["image"]
        flat = column.flatten()
        stored = flat.data.column("image.bytes")
        self.paths = flat.with_format("arrow")["image.path"][:] if stored.null_count == len(stored) else None

    def __getitem__(self, row: int) -> ImageSource:
        """The source of the image in a row.

        Raises:
            BadImageError: The cell has neither bytes nor a path.
        """
        path = self.paths[row].as_py() if self.paths is not None else None
        return image_source(self.cells[row] if path is None else path)

    def select(self, rows: Sequence[int]) -> Sequence[ImageSource]:
        """The sources of some rows, each read only on access, so that stored images are not all held in memory."""
        return _Selection(self, rows)

    def name(self, row: int) -> str:
        """The name of a row's image for messages: its file, if it has one, and the row."""
        path = self.cells[row]["path"]
        return f"row {row}" if path is None else f"{path} (row {row})"


class _Selection(Sequence[ImageSource]):
    def __init__(self, column: ImageColumn, rows: Sequence[int]) -> None:
        self.column, self.rows = column, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> ImageSource: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImageSource]: ...
    def __getitem__(self, index: int | slice) -> ImageSource | Sequence[ImageSource]:
        if isinstance(index, slice):
            return _Selection(self.column, self.rows[index])
        return self.column[self.rows[index]]
