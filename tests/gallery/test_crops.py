"""Boxes are compared with their images, and images that are no crops of people are counted and named."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tbps.data.images import BadImageError
from tbps.gallery import Gallery
from tbps.gallery.crops import MAX_ASPECT, MIN_ASPECT, check_box

SENTENCE = "a person with a red coat"


@pytest.mark.parametrize(
    ("box", "fits"),
    [
        ([0, 0, 24, 48], True),  # the whole image
        ([3, 4, 20, 40.5], True),  # a part of it
        ([-0.6, -1, 24.9, 48], True),  # rounding
        ([500, 300, 524, 348], True),  # where the crop was cut from
        ([500, 300, 525.5, 347], True),
        ([500, 300, 824, 348], False),
        ([5, 10, 24, 480], False),
        ([20, 30, 600, 900], False),
    ],
)
def test_a_box_is_of_the_image_or_of_the_place_that_it_was_cut_from(tmp_path, tiny_model, tiny_processor, box, fits):
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)
    Image.new("RGB", (24, 48)).save(tmp_path / "0.png")
    if fits:
        gallery.add([tmp_path / "0.png"], [{"box": box}], progress=False)
        assert gallery.search(SENTENCE)[0].metadata["box"] == box
    else:
        with pytest.raises(BadImageError, match=r"0\.png: box=.*24 x 48.*left, top, right, bottom.*x \+ width"):
            gallery.add([tmp_path / "0.png"], [{"box": box}], progress=False)
        assert gallery.count() == 0


@given(st.tuples(*[st.integers(0, 500)] * 4))
@settings(max_examples=100, deadline=None)
def test_x_y_width_height_is_refused_wherever_it_can_be_told(box):
    x, y, width, height = box
    if width <= x or height <= y:
        with pytest.raises(ValueError, match=r"no area.*left, top, right, bottom"):
            check_box("metadata[0]", list(box))
    else:
        check_box("metadata[0]", list(box))


@given(
    st.tuples(*[st.floats(0, 1)] * 4)
    .map(lambda box: [*map(min, box[:2], box[2:]), *map(max, box[:2], box[2:])])
    .filter(lambda box: box[0] < box[2] and box[1] < box[3])
)
def test_shares_of_the_image_are_no_pixels(box):
    with pytest.raises(ValueError, match=r"in pixels\. If these are fractions of the image"):
        check_box("metadata[0]", box)


@pytest.mark.parametrize("box", [[1, 2, 3], "1234", [1, 2, 3, "4"], [0, 0, True, 1], [0, 0, float("inf"), 1], {}, 7])
def test_what_is_no_box_is_refused(tmp_path, tiny_model, tiny_processor, box):
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)
    with pytest.raises((TypeError, ValueError), match=r"metadata\[0\]"):
        gallery.add([Image.new("RGB", (24, 48))], [{"box": box}], progress=False)


def test_a_box_given_later_is_compared_with_the_image_too(tmp_path, tiny_model, tiny_processor):
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)
    Image.new("RGB", (24, 48)).save(tmp_path / "0.png")
    gallery.add([tmp_path / "0.png"], progress=False)
    with pytest.raises(BadImageError, match="neither within this image"):
        gallery.add([tmp_path / "0.png"], [{"box": [0, 0, 240, 480]}], update=True, progress=False)
    assert gallery.search(SENTENCE)[0].metadata == {}
    gallery.add([tmp_path / "0.png"], [{"box": [0, 0, 24, 48]}], update=True, progress=False)
    assert gallery.search(SENTENCE)[0].metadata == {"box": [0, 0, 24, 48]}


def test_a_box_set_by_id_is_compared_with_the_file_below_a_root(tmp_path, tiny_model, tiny_processor):
    Image.new("RGB", (24, 48)).save(tmp_path / "0.png")
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor, roots=[tmp_path])
    (id,) = gallery.add([tmp_path / "0.png"], progress=False).added
    with pytest.raises(BadImageError, match=r"0\.png: box=.*24 x 48"):
        gallery.update({id: {"box": [0, 0, 240, 480], "floor": 1}})
    assert gallery.get([id])[0].metadata == {}
    assert gallery.update({id: {"box": [2, 3, 20, 40]}, "unknown": {"box": [0, 0, 240, 480]}}).updated == [id]


def test_images_that_are_no_crops_are_counted_and_named_once(tmp_path, tiny_model, tiny_processor, caplog):
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)
    shapes = [(48, 24), (24, 24), (20, 23), (20, 20 * MAX_ASPECT + 1), (192, 108), (20, 60)]
    images = [Image.new("RGB", (round(width), round(height)), (n, 9, 9)) for n, (width, height) in enumerate(shapes)]
    expected = [f"image {n} of the list" for n, (w, h) in enumerate(shapes) if not MIN_ASPECT <= h / w <= MAX_ASPECT]
    result = gallery.add(images, batch_size=2, commit_every=2, progress=False)
    assert result.not_crops == expected
    assert len(expected) == 4
    (record,) = caplog.records
    assert record.getMessage().startswith("4 of 6 new images are not shaped like crops of one person (1.1 to 6 times")
    caplog.clear()
    assert gallery.add(images, progress=False).not_crops == []
    assert not caplog.records
