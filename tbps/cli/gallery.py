"""`tbps gallery`: inspect and maintain a gallery. Only `calibrate` needs the model."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tbps.cli.listing import add_list, add_remove
from tbps.cli.options import WHERE, add_benchmark, check_output, load, load_splits, open_gallery, token
from tbps.cli.parser import Commands, add_command, add_group, path, positive, rename_option
from tbps.cli.terminal import show, warnings_shown

if TYPE_CHECKING:
    from tbps.gallery.store import FileInfo, IndexInfo


def info(options: argparse.Namespace) -> None:
    """Run `tbps gallery info`."""
    found = open_gallery(options).info()
    layout = found.layout
    facts = {
        "images": found.images,
        "model": found.model,
        "revision": found.revision,
        "fingerprint": found.fingerprint,
        "vector": f"{layout.prefix_dim} + {layout.num_parts} x {layout.part_dim}, {layout.dtype}",
    }
    if found.files is not None:
        facts |= _file_facts(found.files, found.images)
    if options.json:
        show(json.dumps(facts))
    else:
        _show_facts(facts)


def _file_facts(files: "FileInfo", images: int) -> dict[str, Any]:
    return {
        "removed, until compact": files.removed,
        "files": files.files,
        "bytes": files.bytes,
        "bytes an image": round(files.bytes / images) if images else None,
        **_index_facts(files.index),
        "made by": f"tbps {files.tbps_version}",
    }


def _index_facts(index: "IndexInfo | None") -> dict[str, Any]:
    if index is None:
        return {"index": None}
    remark = "" if index.is_used else "; mode index searches exactly, which is faster or safer here"
    return {
        "index": f"{index.images} images in {index.nlist} lists; a search reads {index.nprobe} of them{remark}",
        "index recall@10": round(index.recall, 4),
        "index target": index.target_recall,
        "index measured with": f"{index.queries} altered vectors of the gallery's images; text queries may find fewer",
    }


def _show_facts(facts: dict[str, Any]) -> None:
    for name, fact in facts.items():
        show(f"{name:24}{'none' if fact is None else fact}")


def check(options: argparse.Namespace) -> None:
    """Run `tbps gallery check`."""
    gallery = open_gallery(options)
    gallery.check()
    show(f"{options.gallery}: {gallery.count()} images, all checksums match")


def compact(options: argparse.Namespace) -> None:
    """Run `tbps gallery compact`."""
    gallery = open_gallery(options)
    with warnings_shown():
        gallery.compact(options.rows_per_file)
        files = gallery.info().files
        show(f"{options.gallery}: {gallery.count()} images in {files.files if files else 0} files")


def build_index(options: argparse.Namespace) -> None:
    """Run `tbps gallery build-index`."""
    gallery = open_gallery(options)
    with warnings_shown():
        gallery.build_index(options.nlist, target_recall=options.target_recall)
        files = gallery.info().files
        _show_facts(_index_facts(files.index if files else None))


def repair(options: argparse.Namespace) -> None:
    """Run `tbps gallery repair`. A damaged gallery cannot be opened, so this works on its files."""
    from tbps.gallery.checks import GalleryError
    from tbps.gallery.folder.repair import repair as repair_folder
    from tbps.gallery.open_store import place_of

    place = place_of(options.gallery)
    if isinstance(place, str):
        raise GalleryError(f"{options.gallery} is in Milvus, which maintains its own files: name a folder.")
    done = repair_folder(place)
    if options.json:
        show(json.dumps(asdict(done)))
        return
    result = f"rebuilt from {done.source}" if done.changed else "all checksums match"
    show(f"{options.gallery}: {done.images} images, {result}")
    for fault in done.set_aside:
        state = "missing" if fault.now is None else f"renamed to {fault.now}: {fault.reason}"
        show(f"not usable: {fault.file}, {state}")
    for what, lines in (("added", done.added), ("lost", done.lost)):
        for line in lines:
            show(f"{what}: {line}")


def export(options: argparse.Namespace) -> None:
    """Run `tbps gallery export` or, in the other direction, `tbps gallery import`."""
    from tbps.gallery import Gallery

    where, to = (options.other, options.gallery) if options.inwards else (options.gallery, options.other)
    copied = Gallery.open(where, token=token()).export(to, token=token())
    show(f"{copied} images copied, {Gallery.open(to, token=token()).count()} in {to}")


def calibrate(options: argparse.Namespace) -> None:
    """Run `tbps gallery calibrate`."""
    from tbps.data.splits import select_split
    from tbps.gallery import calibration

    check_output("OUT", options.out)
    rows = select_split(load_splits(options), options.benchmark, options.split)
    found = calibration.calibrate(*load(options.model), rows, options.false_accept_rate)
    found.save(options.out)
    show(f"threshold {found.score:.4f} for {found.gallery_size} images, {found.growth:+.4f} for each e-fold more")
    show(f"{100 * found.false_accept_rate:.1f} % of queries for an absent person still get a hit; of {found.captions} "
         f"captions whose person is present, {100 * found.accept_rate:.1f} % find that person above the threshold",
         )  # fmt: skip


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
