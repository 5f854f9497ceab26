"""Search a folder of person crops by text.

    .venv/bin/python examples/search_folder.py runs/demo/model runs/demo/data/ToyPEDES/imgs/cam_a runs/gallery "a woman in red"

The first run embeds every image in the folder and stores the vectors in a gallery on disk. Later runs embed only new
images, so they answer at once.
"""  # noqa: E501 - a command is one line

import argparse
from collections.abc import Sequence
from pathlib import Path

from transformers import AutoModel, AutoProcessor

import tbps
from tbps.cli.terminal import safe_streams


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the best matches, best first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="folder or Hub id of a tbps model")
    parser.add_argument("folder", type=Path, help="folder of person crops, with its subfolders")
    parser.add_argument("gallery", type=Path, help="folder of the gallery; created if it does not exist")
    parser.add_argument("query", help="description of the person")
    parser.add_argument("--k", type=int, default=5, help="images to show")
    options = parser.parse_args(arguments)

    model = AutoModel.from_pretrained(options.checkpoint).eval()
    processor = AutoProcessor.from_pretrained(options.checkpoint)
    gallery = tbps.Gallery.open(options.gallery, model, processor)
    result = gallery.add(options.folder, skip_bad=True)
    print(f"{len(result.added)} images added, {gallery.count()} in {options.gallery}")
    for skipped in result.skipped:
        print(f"skipped: {skipped.reason}")

    for hit in gallery.search(options.query, k=min(options.k, gallery.count())):
        print(f"{hit.score:.3f}  {hit.path}")


if __name__ == "__main__":
    with safe_streams():  # file names may contain terminal control characters
        main()
