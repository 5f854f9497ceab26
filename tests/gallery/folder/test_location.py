"""The folder of a gallery: other files in it, links, moves; and atomic writes."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from handmade_gallery import IDENTITY, append, layout, new_store, numbers_in, row, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.data.atomic_files import target_of_partial
from tbps.gallery import GalleryError
from tbps.gallery.folder.leftovers import is_partial, remove_leftovers
from tbps.gallery.folder.manifest import Manifest
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import SearchRequest

POSIX = pytest.mark.skipif(
    sys.platform == "win32", reason="needs links, modes and folders that can be moved while open"
)
OTHERS = ["thesis.tmp", "x.tmp", "shard-1.arrow", "shard-000000.arrow.bak", "gallery.json.bak", "index-000000.faiss~",
          ".thesis.0123456789abcdef.partial", "shard-000000.arrow.old.tmp", "notes.partial"]  # fmt: skip


def fill(directory):
    """Create files and folders of a user with names that resemble those of a gallery."""
    for name in OTHERS:
        (directory / name).write_text(f"{name} of somebody else")
    for name in ("folder.tmp", "shard-000000.arrow.tmp", "gallery.json.tmp", ".gallery.json.0123456789abcdef.partial"):
        (directory / name).mkdir()
        (directory / name / "inside").write_text("of somebody else")


def assert_filled(directory):
    for name in OTHERS:
        assert (directory / name).read_text() == f"{name} of somebody else"
    assert len(list(directory.rglob("inside"))) == 4


def every_change(store):
    with store.writing():
        for n in range(20):
            append(store, [n])
        store.replace([row(n, 1) for n in range(3)])
        store.remove([row(n).id for n in range(5)])
        store.compact(4, progress=False)
    store.refresh()


def test_a_users_files_survive_every_change(tmp_path):
    store = new_store(tmp_path / "gallery")
    with store.writing():
        append(store, [100])
    fill(tmp_path / "gallery")
    every_change(store)
    with FolderStore.read(tmp_path / "gallery").writing():
        pass
    assert_filled(tmp_path / "gallery")
    assert FolderStore.read(tmp_path / "gallery").count() == 16


def test_a_folder_that_holds_a_users_temporary_files_can_become_a_gallery(tmp_path):
    for name in ("thesis.tmp", "x.html.tmp"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "folder.tmp").mkdir()
    store = new_store(tmp_path)
    with pytest.raises(KeyboardInterrupt), store.writing():
        raise KeyboardInterrupt
    assert {path.name for path in tmp_path.iterdir()} - {"gallery.lock"} == {"thesis.tmp", "x.html.tmp", "folder.tmp"}
    every_change(store)
    assert (tmp_path / "thesis.tmp").read_text() == (tmp_path / "x.html.tmp").read_text() == "mine"
    assert (tmp_path / "folder.tmp").is_dir()


NAMES = st.one_of(
    st.from_regex(r"\.?(shard-[0-9]{1,7}\.arrow|index-[0-9]{6}\.faiss|gallery(\.copy)?\.json|thesis)"
                  r"(\.[0-9a-f]{15,17})?(\.tmp|\.partial|\.bak)?", fullmatch=True),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=30),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(name=NAMES)
def test_only_files_with_names_of_a_gallery_are_deleted(tmp_path_factory, name):
    """An independent rule for names: a complete file with a used number, or a partial file."""
    directory = tmp_path_factory.getbasetemp() / "names"
    directory.mkdir(exist_ok=True)
    try:
        (directory / name).write_text("")
    except OSError:  # "." and "..", and names that are too long
        return
    remove_leftovers(directory, Manifest(IDENTITY, layout(), "0", next_file=5))
    parts = name.split(".")
    whole, rest = (".".join(parts[1:-2]), parts[-1]) if name.startswith(".") else (".".join(parts[:-1]), parts[-1])
    number = int("0" + "".join(letter for letter in whole if letter in "0123456789"))
    own = whole in {"gallery.json", "gallery.copy.json", f"shard-{number:06d}.arrow", f"index-{number:06d}.faiss"}
    past = name in {f"shard-{n:06d}.arrow" for n in range(5)} | {f"index-{n:06d}.faiss" for n in range(5)}
    token = parts[-2] if len(parts) > 2 else ""
    partial = name.startswith(".") and rest == "partial" and len(token) == 16 and set(token) <= set("0123456789abcdef")
    half = own and (partial or (not name.startswith(".") and rest == "tmp"))
    assert (directory / name).exists() == (not past and not half)
    (directory / name).unlink(missing_ok=True)


@POSIX
def test_it_stays_open_after_chdir_and_after_its_folder_is_moved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = new_store(Path("gallery"))
    with store.writing():
        append(store, [1, 2])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with store.writing():
        append(store, [3])
    store.refresh()
    (tmp_path / "gallery").rename(tmp_path / "moved")
    with store.writing():
        append(store, [4])
        store.compact(10, progress=False)
    other = new_store(tmp_path / "gallery")  # a new gallery at the same path
    with other.writing():
        append(other, [50])
    store.refresh()
    with store.writing():
        append(store, [5])
    assert numbers_in(store) == numbers_in(FolderStore.read(tmp_path / "moved")) == [1, 2, 3, 4, 5]
    assert numbers_in(FolderStore.read(tmp_path / "gallery")) == [50]
    assert list((tmp_path / "elsewhere").iterdir()) == []


@POSIX
def test_after_its_folder_is_removed_a_reader_continues_and_a_writer_fails(tmp_path):

    store = new_store(tmp_path / "gallery")
    with store.writing():
        append(store, range(5))
    shutil.rmtree(tmp_path / "gallery")
    assert len(store.search(vector(3)[None], SearchRequest(5))[0]) == 5
    for change in (store.refresh, lambda: store.writing().__enter__()):
        with pytest.raises(GalleryError, match="was removed or moved"):
            change()
    assert not (tmp_path / "gallery").exists(), "what was removed is not made again in silence"


@POSIX
@pytest.mark.parametrize("name", ["gallery", "disk", "gallery.json", "gallery.lock"])
def test_a_broken_link_is_named_and_kept(tmp_path, name):
    directory = tmp_path / "disk" / "gallery" if name == "disk" else tmp_path / "gallery"
    if name.startswith("gallery."):
        directory.mkdir()
        link = directory / name
    else:
        link = tmp_path / name
    link.symlink_to(tmp_path / "not mounted")
    with pytest.raises(GalleryError, match=rf"{name} is a link to .*not mounted, which does not exist: mount"):
        every_change(new_store(directory))
    assert link.is_symlink()
    assert not (tmp_path / "not mounted").exists()


@POSIX
@pytest.mark.parametrize("name", ["gallery.json", "gallery.copy.json", "gallery.lock"])
def test_linked_files_are_read_but_not_changed(tmp_path, name):
    """Content-addressed stores share files between folders by links."""
    store = new_store(tmp_path / "gallery")
    with store.writing():
        append(store, [1, 2])
    (tmp_path / "gallery" / name).rename(tmp_path / "kept")
    (tmp_path / "gallery" / name).symlink_to(tmp_path / "kept")
    before = (tmp_path / "kept").read_bytes()
    assert numbers_in(FolderStore.read(tmp_path / "gallery")) == [1, 2]
    with pytest.raises(
        GalleryError, match=f"{name} is a link, and a gallery is only changed if its files are not links"
    ):
        every_change(FolderStore.read(tmp_path / "gallery"))
    assert (tmp_path / "gallery" / name).is_symlink()
    assert (tmp_path / "kept").read_bytes() == before


@POSIX
def test_a_gallery_behind_a_link_can_be_changed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "gallery").symlink_to(tmp_path / "disk")
    every_change(new_store(tmp_path / "gallery"))
    assert FolderStore.read(tmp_path / "disk").count() == 15
    assert (tmp_path / "gallery").is_symlink()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_that_may_not_be_written_to_is_named(tmp_path):
    store = new_store(tmp_path / "gallery")
    with store.writing():
        append(store, [1])
    (tmp_path / "gallery").chmod(0o500)
    with pytest.raises(GalleryError, match=r"cannot be written to: .*Permission denied"), store.writing():
        pass


def test_partial_files_are_recognised_by_their_names():
    assert target_of_partial(".gallery.json.0123456789abcdef.partial") == "gallery.json"
    assert is_partial(".shard-000007.arrow.0123456789abcdef.partial")
    for name in ("gallery.json", ".gallery.json.partial", "gallery.json.0123456789abcdef.partial", "thesis.tmp"):
        assert not is_partial(name)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which none can be made")
def test_a_folder_that_cannot_be_created_is_not_reported_as_busy():
    store = FolderStore.open(Path("/proc/people/gallery"), IDENTITY, layout())
    with pytest.raises(GalleryError, match=r"cannot be written to: .*No such file"), store.writing():
        pytest.fail("there is no such folder")
