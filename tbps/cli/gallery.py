"""`tbps gallery`: what a gallery holds, and its upkeep. None of it needs the model but calibration.

`tbps gallery repair`: a gallery that was damaged, or made by an earlier version, is made usable again.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tbps.cli.listing import add_list, add_remove
from tbps.cli.options import WHERE, add_benchmark, check_output, load, load_splits, token
from tbps.cli.parser import Commands, add_command, add_group, path, positive, rename_option
from tbps.cli.terminal import show, show_error

if TYPE_CHECKING:
    from tbps.gallery.folder.manifest import Manifest
    from tbps.gallery.folder.store import FolderStore


def repair(options: argparse.Namespace) -> None:
    """`tbps gallery repair`"""
    from tbps.gallery.checks import GalleryError
    from tbps.gallery.folder.repair import repair as repair_folder
    from tbps.gallery.open_store import place_of

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


def folder(options: argparse.Namespace) -> "FolderStore":
    """The gallery in a folder that the command names.

    Raises:
        GalleryError: it is in Milvus, or none, or damaged.
    """
    from tbps.gallery.checks import GalleryError
    from tbps.gallery.folder.store import FolderStore
    from tbps.gallery.open_store import place_of

    place = place_of(options.gallery)
    if isinstance(place, str):
        raise GalleryError(f"{options.gallery} is in Milvus, which does this by itself: name a gallery in a folder.")
    return FolderStore.read(place)


def info(options: argparse.Namespace) -> None:
    """`tbps gallery info`"""
    from tbps.gallery.folder.store import FolderStore
    from tbps.gallery.open_store import open_existing

    store = open_existing(options.gallery, token())
    layout = store.layout
    facts = {
        "images": store.count(),
        "model": store.model.name,
        "revision": store.model.revision,
        "fingerprint": store.model.fingerprint,
        "vector": f"{layout.prefix_dim} + {layout.num_parts} x {layout.part_dim}, {layout.dtype}",
    }
    if isinstance(store, FolderStore):
        facts |= file_facts(store.manifest)
    if options.json:
        show(json.dumps(facts))
        return
    for name, fact in facts.items():
        show(f"{name:24}{'none' if fact is None else fact}")


def file_facts(manifest: "Manifest") -> dict[str, Any]:
    """What only a folder has."""
    size = sum(entry.size for entry in (*manifest.shards, manifest.index) if entry is not None)
    return {
        "removed, until compact": sum(len(shard.removed) for shard in manifest.shards),
        "files": len(manifest.files()),
        "bytes": size,
        "bytes an image": round(size / manifest.rows) if manifest.rows else None,
        **index_facts(manifest),
        "made by": f"tbps {manifest.tbps_version}",
    }


def index_facts(manifest: "Manifest") -> dict[str, Any]:
    """What is known of an approximate index."""
    from tbps.gallery.folder.faiss_index import is_worthwhile

    entry = manifest.index
    if entry is None:
        return {"index": None}
    used = "" if is_worthwhile(entry, manifest.live_indexed) else "; mode index searches exactly, which is better here"
    return {
        "index": f"{entry.held} images in {entry.lists} lists, of which a search reads {entry.probes}{used}",
        "index recall@10": round(entry.recall, 4),
        "index target": entry.target_recall,
        "index measured with": f"{entry.queries} altered vectors of the gallery's images; sentences may find fewer",
    }


def check(options: argparse.Namespace) -> None:
    """`tbps gallery check`"""
    store = folder(options)
    store.check()
    show(f"{options.gallery}: {store.count()} images, all files as they were written")


def compact(options: argparse.Namespace) -> None:
    """`tbps gallery compact`"""
    from tbps.gallery.folder.leftovers import not_erased

    store = folder(options)
    with store.writing():
        store.compact(options.rows_per_file)
    show(f"{options.gallery}: {store.count()} images in {len(store.manifest.shards)} files")
    if left := not_erased(Path(store.where)):
        show_error(left)


def build_index(options: argparse.Namespace) -> None:
    """`tbps gallery build-index`"""
    store = folder(options)
    with store.writing():
        store.build_index(options.nlist, options.target_recall)
    for name, fact in index_facts(store.manifest).items():
        show(f"{name:24}{fact}")
    entry = store.manifest.index
    if entry is not None and entry.recall < entry.target_recall:
        show_error("with all lists the index misses its target: mode index searches exactly")


def export(options: argparse.Namespace) -> None:
    """`tbps gallery export` and, the other way round, `tbps gallery import`"""
    from tbps.gallery.copy import copy_rows
    from tbps.gallery.open_store import open_existing, open_store

    where, to = (options.other, options.gallery) if options.inwards else (options.gallery, options.other)
    source = open_existing(where, token())
    target = open_store(to, source.model, source.layout, token())
    show(f"{copy_rows(source, target)} images copied, {target.count()} in {to}")


def calibrate(options: argparse.Namespace) -> None:
    """`tbps gallery calibrate`"""
    from tbps.data.splits import select_split
    from tbps.gallery import calibration

    check_output("OUT", options.out)
    rows = select_split(load_splits(options), options.benchmark, options.split)
    found = calibration.calibrate(*load(options.model), rows, options.false_accept_rate)
    found.save(options.out)
    show(f"threshold {found.score:.4f} for {found.gallery_size} images, {found.growth:+.4f} for each e-fold more")
    show(f"{100 * found.false_accept_rate:.1f} % of questions for an absent person get a hit; of {found.captions} "
          f"captions whose person is there, {100 * found.accept_rate:.1f} % find them above the threshold")  # fmt: skip


def add_gallery(commands: Commands) -> None:
    """Add the commands of `tbps gallery`."""
    gallery = add_group(commands, "gallery", "inspect and maintain a gallery")
    command = add_command(gallery, "info", "print what a gallery contains", "tbps gallery info people")
    command.add_argument("gallery", metavar="GALLERY", help=WHERE)
    command.add_argument("--json", action="store_true", help="print it as JSON")
    command.set_defaults(run=info)
    add_list(gallery)
    add_remove(gallery)
    _add_compact(gallery)
    _add_build_index(gallery)
    command = add_command(gallery, "check", "read every file and compare all checksums", "tbps gallery check people")
    command.add_argument("gallery", metavar="GALLERY", help="folder of the gallery")
    command.set_defaults(run=check)
    _add_repair(gallery)
    _add_export_and_import(gallery)
    _add_calibrate(gallery)


def _add_compact(gallery: Commands) -> None:
    command = add_command(gallery, "compact", "erase removed images from disk, and join small files",
                          "tbps gallery compact people", "An approximate index is dropped.")  # fmt: skip
    command.add_argument("gallery", metavar="GALLERY", help="folder of the gallery")
    command.add_argument("--rows-per-file", type=positive, default=65536, metavar="N",
                         help="images per joined file (default: %(default)s)")  # fmt: skip
    command.set_defaults(run=compact)


def _add_build_index(gallery: Commands) -> None:
    command = add_command(gallery, "build-index", "build the approximate index for `tbps search --mode index`",
                          "tbps gallery build-index people", "An older index is replaced. Needs FAISS.")  # fmt: skip
    command.add_argument("gallery", metavar="GALLERY", help="folder of the gallery")
    command.add_argument("--nlist", type=positive, metavar="N",
                         help="lists that the images are divided into (default: one per thousand images)")  # fmt: skip
    command.add_argument("--target-recall", type=float, default=0.99, metavar="R",
                         help="fraction of the ten best images that a search should find (default: %(default)s)",
                         )  # fmt: skip
    rename_option(command, "--lists", "--nlist")
    command.set_defaults(run=build_index)


def _add_repair(gallery: Commands) -> None:
    command = add_command(gallery, "repair", "repair a damaged gallery, or convert one of an earlier format",
                          "tbps gallery repair people",
                          "Reads every file. Intact files stay; damaged ones are renamed to end in .damaged. A lost "
                          "gallery.json is rebuilt from its copy or from the shards. No image is encoded. Nothing is "
                          "deleted except files of an earlier format that were converted.",
                          )  # fmt: skip
    command.add_argument("gallery", metavar="GALLERY", help="folder of the gallery")
    command.add_argument("--json", action="store_true", help="print what was done as JSON")
    command.set_defaults(run=repair)


def _add_export_and_import(gallery: Commands) -> None:
    for name, other, help, example in (
        ("export", "TO", "copy all images of a gallery to another folder or into Milvus",
         "tbps gallery export people copy"),
        ("import", "FROM", "copy all images of another folder or of Milvus into a gallery",
         "tbps gallery import copy people"),
    ):  # fmt: skip
        command = add_command(gallery, name, help, example,
                              "If it is interrupted, the same command continues where it stopped.")  # fmt: skip
        command.add_argument("gallery", metavar="GALLERY", help=WHERE)
        command.add_argument("other", metavar=other, help=WHERE)
        command.set_defaults(run=export, inwards=name == "import")


def _add_calibrate(gallery: Commands) -> None:
    command = add_command(gallery, "calibrate", "learn from a benchmark which scores mean that the person is absent",
                          "tbps gallery calibrate model ToyPEDES data calibration.json --false-accept-rate 0.1",
                          "Each caption is searched with its own person removed. The false accept rate is the fraction "
                          "of these searches that still return a hit.",
                          )  # fmt: skip
    command.add_argument("model", metavar="MODEL", help="checkpoint directory or Hub id")
    add_benchmark(command)
    command.add_argument("out", metavar="OUT", type=path, help="JSON file for `tbps search --calibration`")
    command.add_argument("--split", default="val", help="train, val or test (default: %(default)s)")
    command.add_argument("--false-accept-rate", type=float, default=0.05, metavar="R",
                         help="(default: %(default)s)")  # fmt: skip
    rename_option(command, "--false-accepts", "--false-accept-rate")
    command.set_defaults(run=calibrate)
