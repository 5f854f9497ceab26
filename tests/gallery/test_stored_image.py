"""What a gallery keeps under an id, and shows of it, is of the content that the id is the hash of."""

import hashlib
import json
import tempfile
from functools import cache
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tbps import TBPSImageProcessor, TextBasedPersonSearchPipeline
from tbps.cli.main import main
from tbps.data.images import open_image
from tbps.evaluation.encoding import encode_images, encode_texts
from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery import Gallery, Query
from tbps.gallery.ingest import thumbnail
from tbps.gallery.sources import Item, read_items
from tbps.report import QueryResult, write_search_page, write_search_sheet

SENTENCE = "a person with a red coat"
ITEM_OPEN = Item.open
IDENTITY = ModelIdentity("m", "f", 48)


def png(seed: int) -> bytes:
    """A picture like noise, 24 wide and 48 high; of an odd seed another height."""
    pixels = np.random.default_rng(seed).integers(0, 256, (48 + seed % 2, 24, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


CONTENTS = [png(seed) for seed in range(6)] + [b"no image", b""]
BY_ID = {hashlib.blake2b(content, digest_size=16).hexdigest(): content for content in CONTENTS}


@pytest.fixture(scope="module")
def model_and_processor():
    import torch
    from tiny import make_config, make_tokenizer

    from tbps import TBPSModel, TBPSProcessor

    torch.manual_seed(0)
    return TBPSModel(make_config()).eval(), TBPSProcessor(
        TBPSImageProcessor(size={"height": 32, "width": 16}), make_tokenizer()
    )


@cache
def expected(id, model, processor):
    """The vector and the thumbnail of a content, made from that alone."""
    vectors = encode_images(model, processor, [BY_ID[id]], progress=False)
    return vectors[0].numpy(), thumbnail(open_image(BY_ID[id]))


@pytest.fixture(scope="module")
def checkpoint(model_and_processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    for part in model_and_processor:
        part.save_pretrained(folder)
    return str(folder)


def check_contents(gallery, model, processor):
    """Every row against its own content."""
    rows = [(row, vector) for rows, matrix in gallery._store.scan() for row, vector in zip(rows, matrix, strict=True)]
    assert len({row.id for row, _ in rows}) == len(rows)
    for row, vector in rows:
        own_vector, own_thumbnail = expected(row.id, model, processor)
        assert np.abs(vector - own_vector).max() < 1e-6
        assert row.thumbnail in (None, own_thumbnail)
    return {row.id for row, _ in rows}


NUMBER = st.sampled_from(range(len(CONTENTS)))


@given(
    contents=st.lists(st.tuples(NUMBER, st.none() | NUMBER), min_size=1, max_size=7),
    update=st.booleans(),
    commit_every=st.sampled_from([2, 8]),
)
@example(contents=[(0, 1), (1, None)], update=False, commit_every=8)  # becomes what another one of the commit is
@example(contents=[(0, 1), (1, 0)], update=True, commit_every=8)
@example(contents=[(0, 2), (1, 2), (2, None)], update=False, commit_every=2)
@settings(max_examples=25, deadline=None)
def test_files_overwritten_while_they_are_added(model_and_processor, contents, update, commit_every):
    """`contents`: of each file the number of what it holds when it is looked up, and when it is encoded."""
    model, processor = model_and_processor
    count, (at_first, later) = len(contents), zip(*contents, strict=True)
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        files = [Path(directory) / f"{n}.png" for n in range(count)]
        for file, number in zip(files, at_first, strict=True):
            file.write_bytes(CONTENTS[number])
        overwrite = {str(file): number for file, number in zip(files, later, strict=True) if number is not None}

        def open_later(item):
            if item.name in overwrite:
                Path(item.name).write_bytes(CONTENTS[overwrite[item.name]])
            return ITEM_OPEN(item)

        patch.setattr(Item, "open", open_later)
        # the model is not what is tested here, and telling it from others takes a second
        patch.setattr("tbps.gallery.open_store.identify", lambda model, processor: IDENTITY)
        gallery = Gallery.open(Path(directory) / "gallery", model, processor)
        options = {"skip_bad": True, "thumbnails": True, "update": update, "progress": False}
        first = gallery.add(files, batch_size=2, commit_every=commit_every, **options)
        assert len(first.added) + len(first.updated) + first.unchanged + len(first.skipped) == count
        assert check_contents(gallery, model, processor) == set(first.added)
        patch.undo()
        gallery.add(files, **options)
        there = {hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest() for file in files}
        readable = {id for id in there if BY_ID[id] not in (b"", b"no image")}
        assert readable <= check_contents(gallery, model, processor)


def test_of_thousands_of_items_none_holds_its_image():
    cells = [{"bytes": png(seed), "path": None} for seed in range(3)]
    rows = datasets.Dataset.from_dict({"image": cells}).cast_column("image", datasets.Image())
    _, items = read_items(rows, None)
    for item, cell in zip(items, cells, strict=True):
        assert not any(isinstance(value, bytes) for value in vars(item).values())
        assert item.source.func is not None
        assert item.source() == cell["bytes"]


def test_pictures_are_shrunk_before_the_next_is_opened(tmp_path, model_and_processor, monkeypatch):
    """A batch of 64 photographs of 12 megapixels would else hold 2.3 GB at once."""
    model, processor = model_and_processor
    for n in range(4):
        Image.new("RGB", (300, 600), (n, 0, 0)).save(tmp_path / f"{n}.png")
    given_sizes = []

    def noting(model, processor, images, **options):
        given_sizes.extend(image.size for image in images)
        return encode_images(model, processor, images, **options)

    monkeypatch.setattr("tbps.gallery.ingest.encode_images", noting)
    gallery = Gallery.open(tmp_path / "gallery", model, processor)
    gallery.add(tmp_path, progress=False)
    assert given_sizes == [(16, 32)] * 4


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([2, 3]), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_preparing_a_shrunk_picture_gives_the_same_numbers(width, height, resample, seed):
    processor = TBPSImageProcessor(size={"height": 32, "width": 16}, resample=resample)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    whole = processor(picture, return_tensors="pt").pixel_values
    assert (processor(processor.shrink(picture), return_tensors="pt").pixel_values == whole).all()


@pytest.fixture
def reused(tmp_path, model_and_processor):
    """Rows "same", "changed" and "gone" by what became of their files, with and without a thumbnail."""
    model, processor = model_and_processor
    crops = tmp_path / "crops"
    crops.mkdir()
    gallery = Gallery.open(tmp_path / "gallery", model, processor, roots=[crops])
    for number, (name, kept) in enumerate((name, kept) for name in ("same", "changed", "gone") for kept in (0, 1)):
        file = crops / f"{name} {kept}.png"
        file.write_bytes(CONTENTS[number])
        gallery.add([file], [{"name": f"{name} {kept}", "number": number}], thumbnails=bool(kept), progress=False)
    for kept in (0, 1):
        (crops / f"changed {kept}.png").write_bytes(png(77))
        (crops / f"gone {kept}.png").unlink()
    return gallery, crops


def test_a_file_that_was_replaced_is_never_shown(reused, tmp_path):
    gallery, crops = reused
    hits = {hit.metadata["name"]: hit for hit in gallery.search(SENTENCE, k=6)}
    assert {name: hit.file_state for name, hit in hits.items()} == {
        f"{name} {kept}": state
        for name, state in (("same", "unchanged"), ("changed", "changed"), ("gone", "gone"))
        for kept in (0, 1)
    }
    for name, hit in hits.items():
        content = open_image(CONTENTS[hit.metadata["number"]])
        picture, remark = hit.load_image()
        if name.startswith("same"):
            assert (hit.image, remark) == (crops / f"{name}.png", "")
            assert picture.tobytes() == content.tobytes()
        elif name.endswith("1"):
            assert hit.image == thumbnail(content)
            assert picture.tobytes() == open_image(thumbnail(content)).tobytes()
        else:
            assert hit.image is None
            assert picture is None
        assert remark == {"s": "", "c": "the file has changed", "g": "the file is gone"}[name[0]]
    write_search_page(tmp_path / "page.html", [QueryResult(SENTENCE, list(hits.values()))])
    write_search_sheet(tmp_path / "sheet.png", [QueryResult(SENTENCE, list(hits.values()))])
    page = (tmp_path / "page.html").read_text()
    assert page.count("the file has changed") == 2
    assert page.count("<img") == 4, "the two that are the same, and two thumbnails"


def test_a_file_replaced_between_the_check_and_the_showing(reused, monkeypatch):
    """What was compared with the id is what is shown: the bytes are read once."""
    gallery, _ = reused
    hit = next(hit for hit in gallery.search(SENTENCE, k=6) if hit.metadata["name"] == "same 0")
    from tbps.data.images import read_image_file

    def read_and_replace(path):
        data = read_image_file(path)
        Path(path).write_bytes(png(99))
        return data

    monkeypatch.setattr("tbps.gallery.stored_image.read_image_file", read_and_replace)
    assert hit.load_image()[0].tobytes() == open_image(CONTENTS[0]).tobytes()
    assert hit.load_image() == (None, "the file has changed")


def test_a_search_reads_no_file_before_its_image_is_asked_for(reused, monkeypatch):
    gallery, _ = reused
    monkeypatch.setattr("tbps.gallery.stored_image.read_image_file", lambda path: pytest.fail("read"))
    monkeypatch.setattr("tbps.gallery.stored_image.read_image_file", lambda path: pytest.fail("read"))
    hits = gallery.search(SENTENCE, k=6)
    assert "image=" not in repr(hits[0])


def test_the_command_line_says_what_became_of_a_file(reused, tmp_path, checkpoint, capsys):
    _, crops = reused
    command = ["search", checkpoint, str(tmp_path / "gallery"), SENTENCE, "--roots", str(crops)]
    assert main([*command, "--json"]) == 0
    states = {hit["metadata"]["name"]: hit["file_state"] for hit in json.loads(capsys.readouterr().out)}
    assert states["changed 0"] == "changed"
    assert states["same 1"] == "unchanged"
    assert main(command) == 0
    table = capsys.readouterr().out
    assert table.count("(the file has changed)") == table.count("(the file is gone)") == 2


def test_a_copy_added_under_a_living_path_is_said_to_have_moved(tmp_path, model_and_processor):
    gallery = Gallery.open(tmp_path / "gallery", *model_and_processor)
    old, new = tmp_path / "old.png", tmp_path / "new.png"
    old.write_bytes(CONTENTS[0])
    (id,) = gallery.add([old], progress=False).added
    new.write_bytes(CONTENTS[0])
    assert gallery.add([new], progress=False).moved == []
    old.unlink()
    result = gallery.add([new], progress=False)
    assert (result.moved, result.unchanged) == ([id], 1)
    assert gallery.get([id])[0].path == str(old), "what is kept changes only with update"
    assert gallery.add([new], update=True, progress=False).updated == [id]
    assert gallery.get([id])[0].path == str(new)
    assert gallery.add([new], progress=False).moved == []


@pytest.mark.parametrize("name", ["photo.png", "photo.JFIF", "folder/no ending"])
def test_the_name_of_an_image_is_no_sentence(tmp_path, model_and_processor, checkpoint, name, monkeypatch, capsys):
    model, processor = model_and_processor
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(CONTENTS[0])
    gallery = Gallery.open("gallery", model, processor)
    gallery.add([Path(name)], progress=False)
    ways = {
        "search": lambda: gallery.search(name),
        "one of several": lambda: gallery.search([SENTENCE, name]),
        "query": lambda: gallery.search(Query(text=name)),
        "query with an image": lambda: gallery.search(Query(text=name, image=Path(name))),
        "absolute": lambda: gallery.search(str(Path(name).absolute())),
        "encode": lambda: encode_texts(model, processor, [name], progress=False),
        "processor": lambda: processor(text=[name], return_tensors="pt"),
        "pipeline": lambda: TextBasedPersonSearchPipeline(model=model, processor=processor)([name], name),
    }
    for call in ways.values():
        with pytest.raises(ValueError, match=r"the address of an image, and would be read as words.*Path\(\.\.\.\)"):
            call()
    image = Path(name).absolute()
    monkeypatch.setenv("HOME", str(image.parent))
    for spelt in (f" {name}\n", f"~/{image.name}", image.as_uri(), "https://example.org/a.png", "HTTP://example.org/a",
                  "data:image/png;base64,AAAA"):  # fmt: skip
        with pytest.raises(ValueError, match="the address of an image, and would be read as words"):
            gallery.search(spelt)
    assert main(["search", checkpoint, "gallery", name]) == 2
    assert "--image" in capsys.readouterr().err
    assert gallery.search(Path(name))[0].score == pytest.approx(1, abs=1e-5)
    for words in ("photo.jpeg", "red/blue coat", "a" * 3000, "folder"):  # no such file
        assert gallery.search(words)


def test_what_a_folder_holds_of_other_images_is_in_the_result(tmp_path, model_and_processor, checkpoint, capsys):
    model, processor = model_and_processor
    crops = tmp_path / "crops"
    crops.mkdir()
    (crops / "a.png").write_bytes(CONTENTS[0])
    (crops / "b.heic").write_bytes(b"?")
    (crops / "model.pt").write_bytes(b"?")
    gallery = Gallery.open(tmp_path / "gallery", model, processor)
    (skipped,) = gallery.add(crops, progress=False).skipped
    assert Path(skipped.name) == crops / "b.heic"
    command = ["index", checkpoint, str(crops), str(tmp_path / "gallery")]
    assert main(command) == 0
    assert "b.heic is in a format that Pillow cannot open here" in capsys.readouterr().err
    assert main([*command, "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["skipped"]] == [str(crops / "b.heic")]
    (crops / "a.png").rename(crops / "c.png")
    assert main(command) == 0
    assert "1 images are in the gallery under paths of files that are gone: --update" in capsys.readouterr().err
