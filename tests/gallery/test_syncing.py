"""A folder that changed since it was added: what is gone, replaced or moved is found by content."""

import json
import os
import shutil

import numpy as np
import pytest
from gallery_places import new_place
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tbps.cli.index import show_synced
from tbps.cli.main import main
from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery import Filter, Gallery, GalleryError
from tbps.gallery.metadata import make_row
from tbps.gallery.open_store import open_store
from tbps.gallery.store import Layout
from tbps.gallery.stored_image import content_id
from tbps.gallery.syncing import apply, compare
from tbps.gallery.values import select_rows

MODEL, LAYOUT = ModelIdentity("m", "f", 4), Layout("float32", 2, 1, 2)
NAMES = ["a.png", "b.png", "sub/c.png", "sub/d.png"]


def picture(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 8), shade).save(path)


def filled(store, folder):
    """Rows of the files, one of a file beside the folder, and one of no file."""
    paths = [*(str(folder / name) for name in NAMES), f"{folder}2/x.png"]
    for shade, path in enumerate(paths):
        picture(type(folder)(path), shade)
    rows = [make_row(content_id(path), path, {"n": n}) for n, path in enumerate(paths)] + [make_row("none", None, {})]
    with store.writing():
        store.append(rows, np.ones((len(rows), 4), np.float32))
    return {row.path: row.id for row in rows}


CHANGES = st.lists(
    st.tuples(st.sampled_from(["delete", "replace", "move", "swap", "copy", "empty"]), st.sampled_from(NAMES),
              st.sampled_from([*NAMES, "new.png", "sub/deep/new.png", "new.txt"])),
    max_size=4,
)  # fmt: skip


def change(folder, kind, name, other, shade):
    file, to = folder / name, folder / other
    to.parent.mkdir(parents=True, exist_ok=True)
    if kind == "replace":
        picture(file, shade)
    elif file.exists() and kind == "delete":
        file.unlink()
    elif file.exists() and kind == "empty":
        file.write_bytes(b"")
    elif file.exists() and kind == "move":
        file.replace(to)
    elif file.exists() and kind == "copy" and file != to:
        shutil.copy(file, to)
    elif file.exists() and to.exists() and file != to and kind == "swap":
        file.rename(folder / "swapped")
        to.rename(file)
        (folder / "swapped").rename(to)


@settings(max_examples=60, deadline=None)
@given(changes=CHANGES)
def test_every_change_of_a_folder_is_told_apart_by_content(tmp_path_factory, changes):
    top = tmp_path_factory.mktemp("sync")
    check_changes(open_store(top / "g", MODEL, LAYOUT), top / "crops", changes)


def test_a_folder_is_followed_in_milvus_too(tmp_path):
    with new_place("lite", tmp_path) as place:
        changes = [("delete", NAMES[0], NAMES[0]), ("replace", NAMES[1], NAMES[1]), ("move", NAMES[2], "new.png")]
        check_changes(open_store(place.where, MODEL, LAYOUT), tmp_path / "crops", changes)


def check_changes(store, folder, changes):
    ids = {path: id for path, id in filled(store, folder).items() if path and path.startswith(f"{folder}/")}
    for number, one in enumerate(changes):
        change(folder, *one, shade=100 + number)
    now = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = {}
    for path, content in now.items():
        if path.endswith(".png") or path in ids:
            found.setdefault(content_id(content), []).append(path)
    expected = {"unchanged": 0, "moved": {}, "gone": {}, "replaced": {}, "unreadable": {}}
    for path, id in ids.items():
        if path in found.get(id, []):
            expected["unchanged"] += 1
        elif now.get(path) == b"":
            expected["unreadable"][id] = path
        elif id in found:
            expected["moved"][id] = sorted(found[id])[0]
        else:
            expected["replaced" if path in now else "gone"][id] = path
    result = compare(store, folder, progress=False)
    assert {name: getattr(result, name) for name in expected} == expected
    before = list(select_rows(store, None, ["id", "path", "metadata"]))
    wrong = {**expected["gone"], **expected["replaced"]}
    if wrong and not any(path.endswith(".png") for path in now):
        with store.writing(), pytest.raises(GalleryError, match="holds no image: is its disk mounted"):
            apply(store, folder, result)
        assert list(select_rows(store, None, ["id", "path", "metadata"])) == before
        return
    with store.writing():
        apply(store, folder, result)
    assert result.dropped == len(wrong)
    after = {row["id"]: row for row in select_rows(store, None, ["id", "path", "metadata"])}
    left = {row["id"]: {**row, "path": expected["moved"].get(row["id"], row["path"])} for row in before}
    assert after == {id: row for id, row in left.items() if id not in wrong}
    again = compare(store, folder, progress=False)
    assert (again.moved, again.gone, again.replaced) == ({}, {}, {})


def test_a_folder_by_another_name_is_the_same_folder(tmp_path, capsys):
    store = open_store(tmp_path / "g", MODEL, LAYOUT)
    filled(store, tmp_path / "crops")
    (tmp_path / "link").symlink_to(tmp_path / "crops")
    (tmp_path / "crops" / NAMES[1]).unlink()
    found = compare(store, tmp_path / "link", progress=False)
    assert (found.unchanged, list(found.gone.values())) == (3, [str(tmp_path / "crops" / NAMES[1])])
    (tmp_path / "other").mkdir()
    show_synced(compare(store, tmp_path / "other", progress=False))
    assert "no image from below this folder" in capsys.readouterr().err


def dangling(path, top):
    path.unlink()
    path.symlink_to(top / "unmounted" / "a.png")


def pipe(path, top):
    path.unlink()
    os.mkfifo(path)


def folder_instead(path, top):
    path.unlink()
    path.mkdir()


def parent_of_a_disk_that_is_not_mounted(path, top):
    shutil.rmtree(path.parent)
    path.parent.symlink_to(top / "unmounted")


def parent_that_cannot_be_entered(path, top):
    shutil.rmtree(path.parent)
    path.parent.symlink_to(path.parent)  # round and round


@pytest.mark.parametrize(
    "spoil", [dangling, pipe, folder_instead, parent_of_a_disk_that_is_not_mounted, parent_that_cannot_be_entered]
)
def test_what_cannot_be_judged_is_kept(tmp_path, spoil):
    folder = tmp_path / "crops"
    store = open_store(tmp_path / "g", MODEL, LAYOUT)
    paths = filled(store, folder)
    spoil(folder / "sub" / "c.png", tmp_path)
    with store.writing():  # as a stranger may have written it: outside of the folder, by its name within
        store.append([make_row("far", f"{folder}/../crops2/x.png", {})], np.ones((1, 4), np.float32))
    result = compare(store, folder, progress=False)
    assert {str(folder / "sub" / "c.png"), f"{folder}/../crops2/x.png"} <= set(result.unreadable.values())
    assert result.unchanged + len(result.unreadable) == len(NAMES) + 1
    with store.writing():
        apply(store, folder, result)
    assert (result.dropped, store.count()) == (0, len(paths) + 1)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match="Is its disk mounted"):
        compare(store, folder)


def test_a_gallery_follows_its_folder(tmp_path, tiny_model, tiny_processor, pictures, capsys):
    for part in (tiny_model, tiny_processor):
        part.save_pretrained(tmp_path / "model")
    folder = tmp_path / "crops"
    folder.mkdir()
    for number, one in enumerate(pictures):
        one.save(folder / f"{number}.png")
    index = ["index", str(tmp_path / "model"), str(folder), str(tmp_path / "g")]
    assert main([*index, "--drop"]) == 2
    assert "give --sync too" in capsys.readouterr().err
    assert main([*index, "--sync"]) == 0
    assert "files indexed before: 4 unchanged, 0 moved, 0 gone" in capsys.readouterr().out
    gallery = Gallery.open(tmp_path / "g", tiny_model, tiny_processor)
    ids = {row["path"]: row["id"] for row in gallery.rows()}
    (folder / "0.png").unlink()
    pictures[0].rotate(90).save(folder / "1.png")
    found = gallery.sync(folder, progress=False)
    assert (list(found.gone.values()), list(found.replaced.values())) == (
        [str(folder / "0.png")],
        [str(folder / "1.png")],
    )
    assert (found.unchanged, found.dropped, gallery.count()) == (2, 0, 4)
    assert main([*index, "--sync"]) == 0
    printed = capsys.readouterr()
    assert "1 images added, 5 in" in printed.out
    assert "3 unchanged, 0 moved, 1 gone, 1 replaced, 0 unreadable; 0 images dropped" in printed.out
    assert f"  gone: {folder / '0.png'}\n" in printed.err
    assert main([*index, "--sync", "--drop", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["sync"]["dropped"], said["count"], said["added"]) == (2, 3, [])
    gallery.refresh()
    assert ids[str(folder / "1.png")] not in {row["id"] for row in gallery.rows(Filter(path=folder / "1.png"))}
    assert gallery.count(Filter(path=folder)) == 3
    assert gallery.remove(where=Filter(path=[folder / "1.png", folder / "2.png"])) == 2
