"""Repair of a damaged gallery in a folder, from the files that are sound."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.leftovers import ASIDE, remove_leftovers
from tbps.gallery.folder.location import Folder
from tbps.gallery.folder.locks import LOCK_NAME, write_lock
from tbps.gallery.folder.manifest import (
    CONVERTIBLE_VERSION,
    COPY_NAME,
    MANIFEST_NAME,
    OUTDATED,
    Manifest,
    OtherFormatError,
    parse_manifest,
    read_content,
)
from tbps.gallery.folder.manifest_entries import ShardEntry, file_number
from tbps.gallery.folder.older_format import convert_shard, upgrade_manifest
from tbps.gallery.folder.salvage import (
    Fault,
    Salvaged,
    highest_number,
    index_fault,
    is_process_failure,
    newest_rows,
    salvage_named,
    salvage_unnamed,
    shard_names,
)
from tbps.gallery.store import Layout

_MISSING = "it is missing"
_NO_INDEX = "the index: rebuild it with `tbps gallery build-index`"
FROM_SHARDS = "the shards"


@dataclass(frozen=True)
class Repair:
    """
    The result of a repair.

    Args:
        images: the number of images in the gallery now.
        source: the origin of the manifest: "gallery.json", the name of its copy, "the shards" or "format 2".
        set_aside: the files that could not be used. Their names now end in ".damaged", unless they are missing.
        lost: what could not be restored.
        added: rows that the manifest did not name.
        changed: whether the repair changed anything.
    """

    images: int
    source: str
    set_aside: tuple[Fault, ...] = ()
    lost: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    changed: bool = True


def repair(directory: Path) -> Repair:
    """
    Make a damaged gallery usable again.

    Every file is read. Sound shards stay; other shards, and an index that cannot be used, get names that end in
    `.damaged`. A lost manifest is rebuilt from its copy or from the shards. A gallery of format 2 is converted. No
    image is encoded, and no file of a user is deleted.

    Raises:
        GalleryError: the folder is not a gallery, another process is writing to it, a later version of tbps wrote it,
            this process may not read a file, or no file is sound.
    """
    if not directory.is_dir():
        raise GalleryError(f"{directory} is not a folder. Give the gallery's folder.")
    folder = Folder(directory)
    if not (folder.has(MANIFEST_NAME) or folder.has(COPY_NAME) or shard_names(directory)):
        raise GalleryError(f"{directory} is not a gallery: it holds neither {MANIFEST_NAME} nor a shard.")
    folder.check_no_links(MANIFEST_NAME, COPY_NAME, LOCK_NAME)
    try:
        with write_lock(directory):
            return _repair(directory)
    except OSError as error:
        raise GalleryError(f"{directory} could not be repaired ({error}). No file was deleted.") from error


def _repair(directory: Path) -> Repair:
    found, former, faults = _manifests(directory)
    if former is not None and not found:
        return _converted(directory, upgrade_manifest(former), [] if former.get("index") is None else [_NO_INDEX])
    if not found:
        return _from_shards(directory, faults)
    source, manifest = max(
        found, key=lambda one: one[1].next_file
    )  # if both are of the same state, the manifest itself
    if source == COPY_NAME and MANIFEST_NAME not in {fault.file for fault in faults}:
        faults.append(Fault(MANIFEST_NAME, OUTDATED))
    if source == MANIFEST_NAME:
        faults = [
            fault for fault in faults if fault.reason != _MISSING
        ]  # a lost copy is rewritten, which is not worth a report
        lost = []
    else:
        lost = ["possibly the last changes: the copy is written after each change"]
    sound, unusable = salvage_named(directory, manifest)
    lost += [f"{fault.rows} rows of {fault.file}, except those that a later file holds" for fault in unusable]
    # if the manifest is sound, a killed writer left the files with later numbers, and they are overwritten
    added, unknown = ([], []) if source == MANIFEST_NAME else _later(directory, manifest)
    number = manifest.next_file if source == MANIFEST_NAME else _next_file(directory, manifest)
    repaired = replace(manifest, shards=newest_rows([*sound, *added]), index=None, next_file=number)
    done = _finish(directory, manifest, repaired, source, [*faults, *unusable, *unknown], lost)
    return replace(done, added=tuple(f"{len(one.shard)} rows of {one.entry.file}" for one in added))


def _manifests(directory: Path) -> tuple[list[tuple[str, Manifest]], dict[str, Any] | None, list[Fault]]:
    """
    Read the manifest and its copy.

    Returns:
        The usable ones of the two, with their names; the content of a manifest of format 2; and the faults of others.

    Raises:
        GalleryError: one of them has a later format.
    """
    found: list[tuple[str, Manifest]] = []
    faults: list[Fault] = []
    former: dict[str, Any] | None = None
    for name in (MANIFEST_NAME, COPY_NAME):
        try:
            content = read_content(directory / name)
            if content["format_version"] == CONVERTIBLE_VERSION:
                former = former or content
            else:
                found.append((name, parse_manifest(content)))
        except OtherFormatError as error:
            raise GalleryError(f"{directory / name} {error}") from None
        except (OSError, ValueError) as error:
            if is_process_failure(error):
                raise
            faults.append(Fault(name, _missing(error) or str(error)))
    return found, former, faults


def _later(directory: Path, manifest: Manifest) -> tuple[list[Salvaged], list[Fault]]:
    """Salvage the shards that were written after a manifest."""
    names = [name for name in shard_names(directory) if file_number(name, "shard") >= manifest.next_file]
    sound, faults = salvage_unnamed(directory, names)
    own = [one for one in sound if _gallery(one) == (manifest.model.fingerprint, manifest.layout)]
    others = [
        Fault(one.entry.file, f"it belongs to a gallery of {one.origin.model}") for one in sound if one not in own
    ]
    return own, [*faults, *others]


def _gallery(one: Salvaged) -> tuple[str, Layout]:
    return one.origin.model.fingerprint, one.origin.layout


def _from_shards(directory: Path, faults: list[Fault]) -> Repair:
    """Rebuild a gallery without a manifest or its copy."""
    sound, unusable = salvage_unnamed(directory, shard_names(directory))
    if not sound:
        reasons = "; ".join(fault.reason for fault in [*faults, *unusable][:3])
        raise GalleryError(f"Nothing of {directory} can be restored: {reasons}")
    if len({_gallery(one) for one in sound}) > 1:
        models = ", ".join(f"{one.entry.file} of {one.origin.model}" for one in sound[:8])
        raise GalleryError(
            f"{directory} holds shards of several galleries ({models}). Move the others away, then repeat."
        )
    origin = sound[-1].origin
    manifest = Manifest(origin.model, origin.layout, origin.tbps_version)
    numbered = replace(manifest, next_file=_next_file(directory, manifest))
    repaired = replace(numbered, shards=newest_rows(sound))
    lost = ["the list of removed images: those still in the files are back", _NO_INDEX]
    return _finish(directory, None, repaired, FROM_SHARDS, [*faults, *unusable], lost)


def _converted(directory: Path, manifest: Manifest, lost: list[str]) -> Repair:
    """Convert a gallery of format 2, then delete its files."""
    shards: list[ShardEntry] = []
    faults: list[Fault] = []
    for entry in manifest.shards:
        if not entry.live:
            continue
        try:
            shards.append(convert_shard(directory, entry, manifest.next_file + len(shards), manifest.origin))
        except GalleryError as error:
            faults.append(Fault(entry.file, str(error), entry.live))
            lost.append(f"{entry.live} rows of {entry.file}")
    repaired = replace(manifest, shards=tuple(shards), next_file=manifest.next_file + len(shards))
    done = _finish(directory, None, repaired, "format 2", faults, lost)
    remove_leftovers(directory, repaired)
    return done


def _finish(directory: Path, before: Manifest | None, repaired: Manifest, source: str, faults: Sequence[Fault],
            lost: Sequence[str]) -> Repair:  # fmt: skip
    """Set aside the files that cannot be used, and write the manifest."""
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
    """Give a file a name under which nothing touches it, and return that name; None if the file does not exist."""
    path = directory / name
    if not os.path.lexists(path):
        return None
    endings = (ASIDE if number == 1 else f"{ASIDE}{number}" for number in count(1))
    new = next(name + ending for ending in endings if not os.path.lexists(directory / (name + ending)))
    path.rename(directory / new)
    return new


def _next_file(directory: Path, manifest: Manifest) -> int:
    """Return a number above those of all files, even if a lost manifest counted them."""
    return max(manifest.next_file, highest_number(directory) + 1)


def _missing(error: Exception) -> str | None:
    return _MISSING if isinstance(error, FileNotFoundError) else None
