"""A figure of where the parts look: people of test, and the attention of each region's part."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.method.parts import Parts
from benchmarks.method.regions import BODY
from tbps.data.images import open_image

PEOPLE, EACH = 6, 28  # rows, and the step between them in images: other people, other cameras


def draw_attention(parts: Parts, captions: list[str], assignment: dict[int, int], folder: Path, path: Path) -> None:
    """Draw one row per person: the caption, the image, and the attention of each region's part in red.

    Args:
        captions: one for every image of `parts`.
        folder: holds the images.
        path: the JPEG or PNG to write.
    """
    rows = range(0, min(len(parts.people), PEOPLE * EACH), EACH)
    figure = Figure(figsize=(9, 2.1 * len(rows)), layout="constrained")
    widths = [2, *[1] * (1 + len(assignment))]
    cells = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths)
    for axis in cells.flat:
        axis.set_axis_off()
    for line, row in zip(cells, rows, strict=True):
        line[0].text(0, 0.5, textwrap.fill(captions[row], 30), fontsize=8, va="center")
        image = open_image(folder / parts.file_paths[row])
        line[1].imshow(image)
        for axis, (region, part) in zip(line[2:], sorted(assignment.items()), strict=True):
            attention = parts.image_attention[row, part].numpy()
            axis.imshow(image.convert("L"), cmap="gray", alpha=0.6)
            whole = (-0.5, image.width - 0.5, image.height - 0.5, -0.5)
            axis.imshow(
                np.zeros_like(attention), cmap="autumn", vmin=0, vmax=1, alpha=attention / attention.max(), extent=whole
            )
            if row == 0:
                axis.set_title(f"{BODY[region].name.lower()} (part {part})", fontsize=8)
    figure.savefig(path, dpi=90, pil_kwargs={"quality": 85})
