"""The stream of a corpus: readers share every epoch, and go on after any row."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from corpora import IMAGES, copied

from tbps.data.corpora.corpus import Corpus
from tbps.data.corpora.index import CorpusError
from tbps.data.corpora.stream import TRAINING_START, ReaderPosition, endless_rows


def epochs_of(stream: Iterator[tuple[dict[str, Any], ReaderPosition]], epochs: int) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in range(epochs)]
    for row, place in stream:
        if place.epoch == epochs:
            return found
        found[place.epoch].append(row["file_path"])
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("readers", [1, 2, 3, 7])
@pytest.mark.parametrize("buffer", [1, 16, 1000])
def test_readers_share_every_epoch(corpus: Corpus, readers: int, buffer: int) -> None:
    shares = [epochs_of(endless_rows(corpus.rows(), reader, readers, 5, buffer), 3) for reader in range(readers)]
    for epoch in range(3):
        counts = Counter(path for share in shares for path in share[epoch])
        assert len(counts) == IMAGES
        assert set(counts.values()) == {1}
    first, second = ([path for share in shares for path in share[epoch]] for epoch in range(2))
    assert first != second
    assert first != sorted(first)


def test_seed_and_buffer_decide_the_order(corpus: Corpus) -> None:
    def order(seed: int, buffer: int) -> list[str]:
        return epochs_of(endless_rows(corpus.rows(), 0, 1, seed, buffer), 1)[0]

    assert order(5, 16) == order(5, 16)
    assert order(5, 16) != order(6, 16)
    plain = order(5, 1)  # shards in random order, rows as they lie
    assert [plain[i][6:] for i in range(3)] == sorted(plain[i][6:] for i in range(3))
    places = {path: place for place, path in enumerate(plain)}
    far = [abs(place - places[path]) for place, path in enumerate(order(5, 16))]
    assert 0 < max(far) < 16  # within windows of 16


@pytest.mark.parametrize("buffer", [1, 7, 16, 1000])
def test_any_place_goes_on_with_the_next_row(corpus: Corpus, buffer: int) -> None:
    rows, last = corpus.rows(), 70  # into the third epoch

    def after(place: ReaderPosition, count: int) -> tuple[list[tuple[Any, ...]], list[ReaderPosition]]:
        found = list(islice(endless_rows(rows, 1, 2, 5, buffer, place), count))
        return [(row, place.epoch, place.window, place.given) for row, place in found], [place for _, place in found]

    whole, places = after(TRAINING_START, last)
    for stop in range(1, last):
        rest, new_places = after(places[stop - 1], last - stop)
        assert rest == whole[stop:], stop
        if stop % 9 == 0:  # from a place of a stream that itself went on
            ahead = stop + 5
            assert after(new_places[4], last - ahead)[0] == whole[ahead:], stop


@pytest.mark.parametrize("name", ["run[1]", "a*b?", "x::y"])
def test_any_folder_name_is_taken_literally(tmp_path: Path, folder: Path, name: str) -> None:
    rows = Corpus(copied(folder, tmp_path / name / "shards")).rows()
    assert len(epochs_of(endless_rows(rows, 0, 1, 5, 16), 1)[0]) == IMAGES


def test_an_epoch_without_rows_is_an_error(tmp_path: Path, folder: Path) -> None:
    corpus = Corpus(copied(folder, tmp_path / "shards"))
    for path in corpus.files:
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(CorpusError, match="Reader 1 of 2 found no row in epoch 0"):
        next(endless_rows(corpus.rows(), 1, 2, 5, 16))


def test_a_damaged_page_is_named(tmp_path: Path, folder: Path) -> None:
    corpus = Corpus(copied(folder, tmp_path / "shards"))
    column = pq.read_metadata(corpus.files[2]).row_group(0).column(2)  # captions
    data = bytearray(corpus.files[2].read_bytes())
    data[column.data_page_offset : column.data_page_offset + 12] = b"\xff" * 12
    corpus.files[2].write_bytes(data)
    with pytest.raises(CorpusError, match=r"shard-00002\.parquet cannot be read"):
        epochs_of(endless_rows(corpus.rows(), 0, 1, 5, 16), 1)
