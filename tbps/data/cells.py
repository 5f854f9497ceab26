"""The image column of a split, cell by cell, without decoding."""

import datasets

from tbps.data.images import ImageSource, image_source


class ImageCells:
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

    def name(self, row: int) -> str:
        """The file of a row, as far as it has one."""
        path = self.cells[row]["path"]
        return f"row {row}" if path is None else f"{path} (row {row})"
