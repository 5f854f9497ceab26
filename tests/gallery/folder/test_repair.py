"""`tbps gallery repair`: sound files stay, damaged files are named, and nothing is deleted."""

import errno
import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from damaged_gallery import ROWS, SIZES, VECTORS, all_but, flip, ids, make, shards
from handmade_gallery import IDENTITY, layout
from kill_at import kill_at
from PIL import Image

from tbps import files_tbps
from tbps.cli.main import main
from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery import Gallery, GalleryError
from tbps.gallery.folder import checked_file
from tbps.gallery.folder.manifest import Manifest
from tbps.gallery.folder.repair import FROM_SHARDS, Repair, repair
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import Row, SearchRequest


def test_a_sound_gallery_is_not_changed(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert repair(folder) == Repair(36, "gallery.json", changed=False)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / "gallery.copy.json").unlink()
    assert not repair(folder).changed
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, "a copy is made again"


def test_a_lost_manifest_is_rebuilt_from_its_copy(folder):
    (folder / "gallery.json").unlink()
    with pytest.raises(GalleryError, match="tbps gallery repair"):
        FolderStore.read(folder)
    done = repair(folder)
    assert (done.source, done.images) == ("gallery.copy.json", 36)
    assert ids(folder) == all_but()


def test_without_the_copy_the_manifest_is_rebuilt_from_the_shards(folder):
    for name in ("gallery.json", "gallery.copy.json"):
        flip(folder / name)
    done = repair(folder)
    assert (done.source, done.images) == (FROM_SHARDS, 40)
    assert "removed images" in done.lost[0]
    assert ids(folder) == [row.id for row in ROWS], "also those that were removed, as it says"
    assert {fault.now for fault in done.set_aside} == {"gallery.json.damaged", "gallery.copy.json.damaged"}
    assert FolderStore.open(folder, IDENTITY, layout()).model == IDENTITY


def test_the_newest_row_of_an_id_is_kept(folder):
    changed = [Row(row.id, "/moved.png", row.metadata) for row in ROWS[:30:8]]
    store = FolderStore.read(folder)
    with store.writing():
        store.replace(changed)
    expected = ids(folder)
    for name in ("gallery.json", "gallery.copy.json"):
        (folder / name).unlink()
    repair(folder)
    assert set(ids(folder)) - {"03", "04", "21", "39"} == set(expected)
    assert len(ids(folder)) == 40, "each once"
    found = {one.row.id: one.row.path for one in FolderStore.read(folder).get([row.id for row in ROWS]) if one}
    assert {id for id, path in found.items() if path == "/moved.png"} == {row.id for row in changed}


@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-8]),
                                    lambda path: path.write_bytes(b"")])  # fmt: skip
@pytest.mark.parametrize("number", range(3))
def test_a_damaged_shard_is_set_aside_and_the_others_stay(folder, damage, number):
    path = shards(folder)[number]
    damage(path)
    left = path.read_bytes() if path.exists() else None
    first = sum(SIZES[:number])
    with pytest.raises(GalleryError, match=path.name):
        ids(folder)
    done = repair(folder)
    assert ids(folder) == all_but(*range(first, first + SIZES[number]))
    [fault] = done.set_aside
    assert fault.file == path.name
    assert path.name in done.lost[0]
    aside = folder / f"{path.name}.damaged"
    assert (aside.read_bytes() if aside.exists() else None) == left
    with FolderStore.read(folder).writing():  # cleans up
        pass
    assert (aside.read_bytes() if aside.exists() else None) == left
    assert repair(folder) == Repair(done.images, "gallery.json", changed=False)
    queries = VECTORS[:3]
    assert all(len(found) == 5 for found in FolderStore.read(folder).search(queries, SearchRequest(5)))


def test_a_compaction_names_files_that_a_repair_set_aside(folder, tiny_model, tiny_processor, capsys):
    gallery = Gallery.open(folder.parent / "own", tiny_model, tiny_processor)
    gallery.add([Image.new("RGB", (20, 40))], progress=False)
    for one in (folder, folder.parent / "own"):
        flip(shards(one)[0])
        repair(one)
        (one / "mine.damaged").write_text("of the user")
    gallery.refresh()
    with pytest.warns(UserWarning, match=r"^shard-000000\.arrow\.damaged in .*own: .* not erased"):
        gallery.compact(progress=False)
    main(["gallery", "compact", str(folder)])
    assert "shard-000000.arrow.damaged in " in capsys.readouterr().err
    (folder / "shard-000000.arrow.damaged").unlink()
    main(["gallery", "compact", str(folder)])
    assert "not erased" not in capsys.readouterr().err


def test_with_a_sound_manifest_files_of_a_killed_writer_are_ignored(folder):
    """Such a file may hold rows that were removed later."""
    left = make(folder.parent / "left", (1,) * 9)  # whose last file gets the next number
    with left.writing():
        left.append(ROWS[:5], VECTORS[:5])
    data = shards(folder.parent / "left")[-1].read_bytes()
    next_file = folder / Manifest.read(folder).next_name()
    next_file.write_bytes(data)
    assert repair(folder) == Repair(36, "gallery.json", changed=False)
    assert ids(folder) == all_but()


def test_a_copy_of_a_shard_under_another_name_is_set_aside(folder):
    shutil.copy(folder / "shard-000000.arrow", folder / "shard-000077.arrow")
    for name in ("gallery.json", "gallery.copy.json"):
        (folder / name).unlink()
    done = repair(folder)
    assert "shard-000077.arrow.damaged" in {fault.now for fault in done.set_aside}
    assert any("another name" in fault.reason for fault in done.set_aside)
    assert len(ids(folder)) == 40


def test_shards_of_another_gallery_are_not_mixed_in(folder, tmp_path):
    other = make(tmp_path / "other", (1,) * 5, model=ModelIdentity("other", "g", 16))
    with other.writing():
        other.append(ROWS[5:], VECTORS[5:])
    foreign = shards(tmp_path / "other")[-1]
    (folder / "gallery.json").unlink()
    shutil.copy(foreign, folder)
    done = repair(folder)
    assert [fault.now for fault in done.set_aside] == [None, f"{foreign.name}.damaged"]
    assert ids(folder) == all_but()
    shutil.copy(foreign, folder)
    for name in ("gallery.json", "gallery.copy.json"):
        (folder / name).unlink()
    with pytest.raises(GalleryError, match="shards of several galleries"):
        repair(folder)


def test_an_index_of_lost_rows_is_dropped_and_one_of_sound_rows_stays(folder):
    store = FolderStore.read(folder)
    with store.writing():
        store.build_index(nlist=2, progress=False)
        store.append([Row("new", None, "{}")], VECTORS[:1])
    index = Manifest.read(folder).index
    flip(shards(folder)[-1])
    repair(folder)
    assert Manifest.read(folder).index == index
    flip(shards(folder)[0])
    done = repair(folder)
    assert Manifest.read(folder).index is None
    assert any("index" in line for line in done.lost)


def test_a_folder_that_cannot_be_repaired_is_named(tmp_path, folder):
    with pytest.raises(GalleryError, match="is not a folder"):
        repair(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(GalleryError, match="is not a gallery"):
        repair(tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())
    store = FolderStore.read(folder)
    with store.writing(), pytest.raises(GalleryError, match="Another process is writing"):
        repair(folder)
    (folder / "gallery.lock").unlink(missing_ok=True)
    (folder / "gallery.lock").mkdir()
    with pytest.raises(GalleryError, match="could not be repaired"):
        repair(folder)
    (folder / "gallery.lock").rmdir()
    (folder / "gallery.lock").touch()
    for path in folder.iterdir():
        if path.suffix != ".lock":
            path.write_bytes(b"x")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(GalleryError, match=r"Nothing of .* can be restored"):
        repair(folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "no"), OSError(errno.EMFILE, "too many"), MemoryError()]
)
@pytest.mark.parametrize("name", ["shard-000001.arrow", "gallery.json", "index"])
def test_a_file_that_only_this_process_cannot_read_is_not_set_aside(folder, monkeypatch, error, name):
    store = FolderStore.read(folder)
    with store.writing():
        store.build_index(nlist=2, progress=False)
    before = {path.name for path in folder.iterdir()}
    for module in (checked_file, files_tbps):
        monkeypatch.setattr(module, "open_regular", failing(module.open_regular, name, error))
    with pytest.raises((GalleryError, MemoryError)):
        repair(folder)
    monkeypatch.undo()
    assert {path.name for path in folder.iterdir()} == before
    assert not repair(folder).changed


def test_an_invalid_index_with_matching_checksums_is_set_aside(folder):
    store = FolderStore.read(folder)
    with store.writing():
        store.build_index(nlist=2, progress=False)
    manifest = Manifest.read(folder)
    path = folder / manifest.index.file
    path.write_bytes(bytes(path.stat().st_size))
    entry = replace(manifest.index, checksums=checked_file.block_checksums(path.read_bytes()))
    replace(manifest, index=entry).write(folder)
    done = repair(folder)
    assert [fault.now for fault in done.set_aside] == [f"{path.name}.damaged"]
    assert ids(folder) == all_but()


def failing(function, name, error):
    def call(path, *arguments):
        if Path(path).name.startswith(name):
            raise error
        return function(path, *arguments)

    return call


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_a_manifest_behind_a_broken_link_is_not_lost(folder, tmp_path):
    (folder / "gallery.json").rename(tmp_path / "elsewhere.json")
    (folder / "gallery.json").symlink_to("/no/such/disk/gallery.json")
    with pytest.raises(GalleryError, match="is a link"):
        repair(folder)


@pytest.mark.parametrize("lost", [(), ("gallery.json", "gallery.copy.json")])
def test_a_shard_on_an_unmounted_disk_is_not_damaged(folder, tmp_path, lost):
    disk, other = tmp_path / "disk", tmp_path / "other"
    disk.mkdir()
    (folder / "shard-000001.arrow").rename(disk / "shard-000001.arrow")
    (folder / "shard-000001.arrow").symlink_to(disk / "shard-000001.arrow")
    assert ids(folder) == all_but()
    disk.rename(other)
    with pytest.raises(GalleryError, match="mount its disk"):
        FolderStore.read(folder)
    for name in lost:
        (folder / name).unlink()
    before = sorted(folder.iterdir())
    with pytest.raises(GalleryError, match="shard-000001"):
        repair(folder)
    assert sorted(folder.iterdir()) == before
    other.rename(disk)
    repair(folder)
    assert set(ids(folder)) >= set(all_but())


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_a_killed_repair_can_be_repeated(folder, tmp_path):
    (folder / "gallery.json").unlink()
    flip(folder / "shard-000001.arrow")
    killed, step = True, 0
    while killed:
        copy = tmp_path / f"copy{step}"
        shutil.copytree(folder, copy)
        child = os.fork()
        if not child:
            kill_at(step, "rename", "replace", "fsync")
            repair(copy)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        repair(copy)
        assert ids(copy) == all_but(*range(20, 32))
        step += 1
    assert step > 4


def test_the_command_reports_the_repair(folder, capsys):
    main(["gallery", "repair", str(folder)])
    assert capsys.readouterr().out == f"{folder}: 36 images, all checksums match\n"
    flip(folder / "shard-000001.arrow")
    (folder / "gallery.json").unlink()
    main(["gallery", "repair", str(folder)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{folder}: 25 images, rebuilt from gallery.copy.json"
    assert any("shard-000001.arrow" in line and "renamed to shard-000001.arrow.damaged" in line for line in lines)
    assert any(line.startswith("lost: 11 rows of shard-000001.arrow") for line in lines)
    main(["gallery", "repair", str(folder), "--json"])
    assert json.loads(capsys.readouterr().out)["images"] == 25
