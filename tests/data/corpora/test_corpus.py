"""A corpus is opened only if it is complete and readable."""

import json
from pathlib import Path
from typing import Any

import pytest
from corpora import IMAGES

from tbps.data.corpora.corpus import Corpus
from tbps.data.corpora.index import CorpusError


def test_a_corpus_that_is_not_whole_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no corpus\.json: expected a folder that `tbps data shard` made"):
        Corpus(tmp_path)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "shard-00002.parquet").write_bytes(b"short")
    with pytest.raises(CorpusError, match=r"shard-00002\.parquet is missing or does not have"):
        Corpus(tmp_path)
    index = json.loads((tmp_path / "corpus.json").read_text())
    (tmp_path / "corpus.json").write_text(json.dumps({**index, "complete": False}))
    with pytest.raises(CorpusError, match=r"is not complete\. Run the same `tbps data shard` again"):
        Corpus(tmp_path)
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(CorpusError, match="is damaged"):
        Corpus(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"made_from": {}, "complete": True, "shards": []}, r"corpus\.json is damaged \(it does not name the format"),
        ({"made_from": {"format": "mals"}, "complete": True, "shards": []}, "has no images according to corpus.json"),
        ([], r"corpus\.json is damaged"),
    ],
)
def test_an_index_of_nothing_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "corpus.json").write_text(json.dumps(content))
    with pytest.raises(CorpusError, match=message):
        Corpus(tmp_path)


def test_captions_are_read_without_images(corpus: Corpus) -> None:
    captions = list(corpus.captions())
    assert len(captions) == 2 * IMAGES
    assert captions[0].endswith("number 0")
