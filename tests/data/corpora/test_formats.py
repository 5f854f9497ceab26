"""Corpus formats: files are read one entry at a time, and faults are named."""

import json
from pathlib import Path
from typing import Any

import pytest
from corpora import entries, sentence

from tbps.data.corpora import FORMAT_NAMES
from tbps.data.corpora.formats import FORMATS, read_corpus
from tbps.data.corpora.index import CorpusError

PATHS = [f"part{i % 2}/{i}.jpg" for i in range(6)]


def written(folder: Path, content: Any, name: str = "corpus.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_command_line_knows_every_format() -> None:
    assert tuple(FORMATS) == FORMAT_NAMES


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_read(name: str, tmp_path: Path) -> None:
    found = list(read_corpus(name, [written(tmp_path, entries(name, PATHS))]))
    assert [entry.file_path for entry in found] == PATHS
    several = name in ("synth-pedes", "webperson")
    for number, entry in enumerate(found):
        assert entry.captions == [sentence(number), sentence(number) + " again"][: 1 + several]
        assert 0 <= entry.person_id < 2**63
    same = [found[0].person_id == entry.person_id for entry in found[1:]]
    assert same == [name in ("mals", "synth-pedes"), False, False, False, False]  # two images a person, or one
    if name == "synth-pedes":
        assert found[0].person_id == 100


def test_captioners_are_joined_by_image(tmp_path: Path) -> None:
    first = {"a/1.jpg": "one", "a/2.jpg": "two"}
    second = {"elsewhere/2.jpg": "zwei", "elsewhere/3.jpg": "drei", "elsewhere/1.jpg": "eins"}
    sources = [written(tmp_path, first, "1.json"), written(tmp_path, second, "2.json")]
    found = {entry.file_path: entry.captions for entry in read_corpus("luperson-mllm", sources)}
    assert found == {"a/1.jpg": ["one", "eins"], "a/2.jpg": ["two", "zwei"], "elsewhere/3.jpg": ["drei"]}


def test_one_file_with_two_images_of_one_name_is_refused(tmp_path: Path) -> None:
    """By their names alone they would be taken for one image."""
    first = {"a/1.jpg": "one", "a/2.jpg": "two"}
    second = {"x/1.jpg": "eins", "x/2.jpg": "zwei", "y/1.jpg": "another"}
    sources = [written(tmp_path, first, "1.json"), written(tmp_path, second, "2.json")]
    with pytest.raises(CorpusError, match=r"2\.json has x/1\.jpg and y/1\.jpg\. .*must differ within a file"):
        list(read_corpus("luperson-mllm", sources))


def test_several_files_follow_each_other(tmp_path: Path) -> None:
    sources = [written(tmp_path, entries("mals", PATHS[i : i + 3]), f"{i}.json") for i in (0, 3)]
    assert [entry.file_path for entry in read_corpus("mals", sources)] == PATHS


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    source = tmp_path / "mals.json"
    source.write_bytes(b"\xef\xbb\xbf" + json.dumps(entries("mals", PATHS)).encode())
    assert len(list(read_corpus("mals", [source]))) == 6


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_file_is_named_after_its_complete_entries(name: str, tmp_path: Path) -> None:
    text = json.dumps(entries(name, PATHS))
    source = written(tmp_path, text[:-20])
    with pytest.raises(CorpusError, match=r"corpus\.json \(\d+ bytes\) is not JSON: .*truncated"):
        list(read_corpus(name, [source]))


def test_messages_of_the_parser_are_text(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"is not JSON: (lexical|parse) error"):
        list(read_corpus("mals", [written(tmp_path, '[{"image": nonsense}]')]))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "mals",
            [{"image": "a", "caption": "b", "image_id": 1}, {"image": "a"}],
            r"entry 1 \(from 0\) lacks .*caption",
        ),
        ("mals", [{"image": "a", "caption": 3, "image_id": 1}], "'caption' is 3, expected str"),
        ("mals", [{"image": "a", "caption": "b", "image_id": True}], "'image_id' is True"),
        ("mals", ["a"], r"entry 0 \(from 0\) is 'a': expected an object"),
        ("mals", {"image": "a"}, "has no entries of mals: expected"),
        ("synth-pedes", [{"id": 1, "file_path": "a", "captions": ["b", 2]}], "expected strings"),
        ("synth-pedes", entries("mals", PATHS), "lacks the key 'captions'; its keys are: image, caption"),
        ("luperson-mllm", {"a.jpg": ["b"]}, "'a.jpg' is .* expected strings"),
        ("luperson-mllm", entries("mals", PATHS), "has no entries of luperson-mllm"),
        ("webperson", [{"a.jpg": {"caption1": "b"}}], "lacks the key 'caption2'"),
        ("webperson", [], "has no entries"),
        ("market", [], "unknown corpus format 'market': expected one of mals, synth-pedes"),
    ],
)
def test_the_first_fault_is_named(name: str, content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=message):
        list(read_corpus(name, [written(tmp_path, content)]))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"nowhere\.json is not a file: expected the JSON of mals"):
        read_corpus("mals", [tmp_path / "nowhere.json"])
