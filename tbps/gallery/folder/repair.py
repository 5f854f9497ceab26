"""A gallery in a folder that was damaged, made usable again with what is sound."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from tbps.data.atomic_files import locked_folder
from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.current_manifest import PUT_BACK
from tbps.gallery.folder.leftovers import ASIDE, LOCK_NAME, in_use, remove_leftovers
from tbps.gallery.folder.location import Folder
from tbps.gallery.folder.manifest import (
    CONVERTIBLE_VERSION,
    COPY_NAME,
    MANIFEST_NAME,
    Manifest,
    OtherFormatError,
    ShardEntry,
    file_number,
    manifest_of,
    read_manifest,
)
from tbps.gallery.folder.older_format import as_present, convert_shard
from tbps.gallery.folder.salvage import (
    Fault,
    Salvaged,
    by_manifest,
    by_themselves,
    highest_number,
    index_fault,
    is_of_the_process,
    newest_rows,
    shard_names,
)
from tbps.gallery.store import Layout

_MISSING = "it is missing"
_NO_INDEX = "the index: `tbps gallery build-index` makes it again"
FROM_SHARDS = "the shards"


@dataclass(frozen=True)
class Repair:
    """
    What was done.

    Args:
        images: in the gallery now.
        source: what the manifest was made from: its own name if it was sound, its copy's, "the shards" or "format 2".
        set_aside: files that could not be used, now under a name that ends in ".damaged", or missing.
        lost: what could not be restored. added: what the manifest did not name and is there now.
        changed: whether anything was.
    """

    images: int
    source: str
    set_aside: tuple[Fault, ...] = ()
    lost: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    changed: bool = True


def repair(directory: Path) -> Repair:
    """
    Make a gallery usable again: every file is read, sound shards are kept, the others and an index that cannot be used
    get a name that ends in `.damaged`; a manifest that is lost is made from its copy, or from what the shards say. A
    gallery of format 2 is converted. Nothing is encoded, and no file of a user is deleted.

    Raises:
        GalleryError: there is no gallery, another process is writing to it, its format is of a later version, a file
            may not be read, or none of its files is sound.
    """
    if not directory.is_dir():
        raise GalleryError(f"{directory} is no folder: expected that of a gallery.")
    folder = Folder(directory)
    if not (folder.has(MANIFEST_NAME) or folder.has(COPY_NAME) or shard_names(directory)):
        raise GalleryError(f"{directory} is no gallery: it holds neither {MANIFEST_NAME} nor a shard.")
    folder.check_own(MANIFEST_NAME, COPY_NAME, LOCK_NAME)
    try:
        with locked_folder(directory, LOCK_NAME, in_use(directory)):
            return _repair(directory)
    except OSError as error:
        raise GalleryError(f"{directory} could not be repaired ({error}): nothing of it was deleted.") from error


def _repair(directory: Path) -> Repair:
    found, former, faults = _manifests(directory)
    if former is not None and not found:
        return _converted(directory, as_present(former), [] if former.get("index") is None else [_NO_INDEX])
    if not found:
        return _from_shards(directory, faults)
    source, manifest = max(found, key=lambda one: one[1].next_file)  # of the same state the manifest itself
    if source == COPY_NAME and MANIFEST_NAME not in {fault.file for fault in faults}:
        faults.append(Fault(MANIFEST_NAME, PUT_BACK))
    if source == MANIFEST_NAME:
        faults = [fault for fault in faults if fault.reason != _MISSING]  # a copy is made again without a word
        lost = []
    else:
        lost = ["changes that were made last may be missing: the copy is written after each"]
    sound, unusable = by_manifest(directory, manifest)
    lost += [f"{fault.rows} rows of {fault.file}, but for those that a later file has" for fault in unusable]
    # beside a sound manifest a file of a later number is what a killed writer left, and is overwritten
    added, unknown = ([], []) if source == MANIFEST_NAME else _later(directory, manifest)
    number = manifest.next_file if source == MANIFEST_NAME else _next_file(directory, manifest)
    repaired = replace(manifest, shards=newest_rows([*sound, *added]), index=None, next_file=number)
    done = _finish(directory, manifest, repaired, source, [*faults, *unusable, *unknown], lost)
    return replace(done, added=tuple(f"{len(one.shard)} rows of {one.entry.file}" for one in added))


def _manifests(directory: Path) -> tuple[list[tuple[str, Manifest]], dict[str, Any] | None, list[Fault]]:
    """What can be used of the manifest and its copy, by their names; the content of a manifest of format 2; and what
    cannot be used.

    Raises:
        GalleryError: one is of a later format.
    """
    found: list[tuple[str, Manifest]] = []
    faults: list[Fault] = []
    former: dict[str, Any] | None = None
    for name in (MANIFEST_NAME, COPY_NAME):
        try:
            content = read_manifest(directory / name)
            if content["format_version"] == CONVERTIBLE_VERSION:
                former = former or content
            else:
                found.append((name, manifest_of(content)))
        except OtherFormatError as error:
            raise GalleryError(f"{directory / name} {error}") from None
        except (OSError, ValueError) as error:
            if is_of_the_process(error):
                raise
            faults.append(Fault(name, _missing(error) or str(error)))
    return found, former, faults


def _later(directory: Path, manifest: Manifest) -> tuple[list[Salvaged], list[Fault]]:
    """Shards that were written after a manifest, and those of them that cannot be used."""
    names = [name for name in shard_names(directory) if file_number(name, "shard") >= manifest.next_file]
    sound, faults = by_themselves(directory, names)
    own = [one for one in sound if _gallery(one) == (manifest.model.fingerprint, manifest.layout)]
    others = [Fault(one.entry.file, f"it is of a gallery of {one.origin.model}") for one in sound if one not in own]
    return own, [*faults, *others]


def _gallery(one: Salvaged) -> tuple[str, Layout]:
    return one.origin.model.fingerprint, one.origin.layout


def _from_shards(directory: Path, faults: list[Fault]) -> Repair:
    """Without a manifest and without its copy."""
    sound, unusable = by_themselves(directory, shard_names(directory))
    if not sound:
        reasons = "; ".join(fault.reason for fault in [*faults, *unusable][:3])
        raise GalleryError(f"Nothing of {directory} can be restored: {reasons}")
    if len({_gallery(one) for one in sound}) > 1:
        models = ", ".join(f"{one.entry.file} of {one.origin.model}" for one in sound[:8])
        raise GalleryError(f"{directory} holds shards of several galleries ({models}): keep those of one, then repeat.")
    origin = sound[-1].origin
    manifest = Manifest(origin.model, origin.layout, origin.tbps_version)
    numbered = replace(manifest, next_file=_next_file(directory, manifest))
    repaired = replace(numbered, shards=newest_rows(sound))
    lost = ["which images had been removed: those that were still in the files are there again", _NO_INDEX]
    return _finish(directory, None, repaired, FROM_SHARDS, [*faults, *unusable], lost)


def _converted(directory: Path, manifest: Manifest, lost: list[str]) -> Repair:
    """A gallery of format 2; its files are deleted when all is written."""
    shards: list[ShardEntry] = []
    faults: list[Fault] = []
    for entry in manifest.shards:
        if not entry.kept:
            continue
        try:
            shards.append(convert_shard(directory, entry, manifest.next_file + len(shards), manifest.origin))
        except GalleryError as error:
            faults.append(Fault(entry.file, str(error), entry.kept))
            lost.append(f"{entry.kept} rows of {entry.file}")
    repaired = replace(manifest, shards=tuple(shards), next_file=manifest.next_file + len(shards))
    done = _finish(directory, None, repaired, "format 2", faults, lost)
    remove_leftovers(directory, repaired)
    return done


def _finish(directory: Path, before: Manifest | None, repaired: Manifest, source: str, faults: Sequence[Fault],
            lost: Sequence[str]) -> Repair:  # fmt: skip
    """Set aside what cannot be used, and put the manifest on disk."""
    if before is not None and before.index is not None:
        fault = index_fault(directory, before, repaired.shards)
        if fault is None:
            repaired = replace(repaired, index=before.index)
        else:
            faults, lost = [*faults, fault], [*lost, _NO_INDEX]
    aside = tuple(replace(fault, now=_set_aside(directory, fault.file)) for fault in faults)
    changed = bool(aside) or repaired != before
    if changed or source != MANIFEST_NAME or not (directory / COPY_NAME).exists():
        repaired.write(directory)
    return Repair(repaired.rows, source, aside, tuple(lost), changed=changed)


def _set_aside(directory: Path, name: str) -> str | None:
    """Give a file another name, under which nothing ever touches it; None if there is no such file."""
    path = directory / name
    if not os.path.lexists(path):
        return None
    endings = (ASIDE if number == 1 else f"{ASIDE}{number}" for number in count(1))
    new = next(name + ending for ending in endings if not os.path.lexists(directory / (name + ending)))
    path.rename(directory / new)
    return new


def _next_file(directory: Path, manifest: Manifest) -> int:
    """A number that no file has, whatever became of the manifest that counted them."""
    return max(manifest.next_file, highest_number(directory) + 1)


def _missing(error: Exception) -> str | None:
    return _MISSING if isinstance(error, FileNotFoundError) else None
