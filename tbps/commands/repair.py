"""`tbps gallery repair`: a gallery that was damaged, or made by an earlier version, is made usable again."""

import argparse
import json
from dataclasses import asdict

from tbps.commands.options import Commands, add_command
from tbps.commands.terminal import show


def repair(options: argparse.Namespace) -> None:
    """`tbps gallery repair`"""
    from tbps.gallery.errors import GalleryError
    from tbps.gallery.homes import place_of
    from tbps.gallery.repair import repair as repair_folder

    place = place_of(options.gallery)
    if isinstance(place, str):
        raise GalleryError(f"{options.gallery} is in Milvus, which looks after its files itself: name a folder.")
    done = repair_folder(place)
    if options.json:
        show(json.dumps(asdict(done)))
        return
    made = f", made again from {done.source}" if done.changed else ", all files as they were written"
    show(f"{options.gallery}: {done.images} images{made}")
    for fault in done.set_aside:
        now = "which is missing" if fault.now is None else f"now {fault.now}: {fault.reason}"
        show(f"not usable: {fault.file}, {now}")
    for what, lines in (("added", done.added), ("lost", done.lost)):
        for line in lines:
            show(f"{what}: {line}")


def add_repair(gallery: Commands) -> None:
    """The command."""
    command = add_command(gallery, "repair", "make a damaged gallery usable again, or convert one of an earlier format",
                          "tbps gallery repair people",
                          "Reads every file. Sound ones are kept, others get a name that ends in .damaged; a lost "
                          "gallery.json is made from its copy or from the shards. No image is encoded, and nothing is "
                          "deleted but files of an earlier format that were converted.")  # fmt: skip
    command.add_argument("gallery", metavar="GALLERY", help="folder of the gallery")
    command.add_argument("--json", action="store_true", help="print what was done as JSON")
    command.set_defaults(run=repair)
