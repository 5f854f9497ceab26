"""Fixtures for the tests of galleries."""

import pytest
from contract_rows import fill, open_place
from gallery_places import PLACES, new_place


@pytest.fixture(scope="module", params=PLACES)
def filled(request, tmp_path_factory):
    with new_place(request.param, tmp_path_factory.mktemp("filled")) as place:
        store = open_place(place)
        fill(store)
        yield store


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    with new_place(request.param, tmp_path) as new:
        yield new


@pytest.fixture
def make_crops(tmp_path, pictures):
    """Writes a number of image files, four pictures turned a little further each time, and returns their folder."""

    def make(count):
        folder = tmp_path / "crops"
        folder.mkdir()
        for index in range(count):
            pictures[index % 4].rotate(index).save(folder / f"{index:0{len(str(count - 1))}}.png")
        return folder

    return make
