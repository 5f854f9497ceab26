"""The file formats of four pre-training corpora: a reader for each, from its files to entries, one at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tbps.data.corpora.index import CorpusError
from tbps.data.corpora.readers import captions_by_image, iter_json_items, iter_json_members, iter_parquet_rows
from tbps.data.images import shown


class Entry(NamedTuple):
    """One image of a corpus with its captions."""

    where: str  # file and number of the entry, for messages
    file_path: str  # relative to the folder of the images
    captions: list[str]
    person_id: int
    data: bytes | None = None  # the bytes of the image file, if the corpus contains them


@dataclass(frozen=True)
class CorpusFormat:
    """The format of one corpus: its name, the shape of its files for messages, and its reader."""

    name: str
    shape: str
    read: Callable[[Sequence[Path]], Iterator[Entry]]


def read_mals(sources: Sequence[Path]) -> Iterator[Entry]:
    """MALS (Yang et al., ACM MM 2023): entries with the same `image_id` show one person, as its authors train.

    The parquet mirror contains the image files, and their paths as `image_path`.
    """
    for where, entry in iter_entries(sources):
        captions = [require_field(where, entry, "caption", str)]
        person_id = to_person_id(require_field(where, entry, "image_id", int | str))
        if isinstance(require_field(where, entry, "image", str | dict), str):
            yield Entry(where, entry["image"], captions, person_id)
        else:
            data = require_field(where, entry["image"], "bytes", bytes)
            yield Entry(where, require_field(where, entry, "image_path", str), captions, person_id, data)


def read_synth_pedes(sources: Sequence[Path]) -> Iterator[Entry]:
    """SYNTH-PEDES (Zuo et al., ECCV 2024): several images per person, with two or three captions each.

    Attributes and `prompt_caption` are not used.
    """
    for where, entry in iter_entries(sources):
        captions = require_strings(where, "captions", require_field(where, entry, "captions", list))
        person_id = to_person_id(require_field(where, entry, "id", int | str))
        yield Entry(where, require_field(where, entry, "file_path", str), captions, person_id)


def read_luperson_mllm(sources: Sequence[Path]) -> Iterator[Entry]:
    """LUPerson-MLLM (Tan et al., CVPR 2024): one JSON object per captioner; every image is a separate person.

    The captioners describe the same images. Their captions are joined by file name.
    """

    def entries() -> Iterator[tuple[str, str, str]]:
        for source in sources:
            for number, (path, caption) in enumerate(iter_json_members(source, "")):
                yield str(source), path, require_strings(f"{source}, entry {number} (from 0)", path, [caption])[0]

    for number, (path, captions) in enumerate(captions_by_image(entries())):
        yield Entry(f"image {number} (from 0)", path, captions, to_person_id(Path(path).name))


def read_webperson(sources: Sequence[Path]) -> Iterator[Entry]:
    """WebPerson (Zheng et al., EMNLP 2025): two captions per image; every image is a separate person."""
    for source in sources:
        for number, (path, value) in enumerate(iter_json_members(source, "item")):
            where = f"{source}, entry {number} (from 0)"
            captions = [require_field(where, value, key, str) for key in ("caption1", "caption2")]
            yield Entry(where, path, captions, to_person_id(path))


FORMATS = {
    entry.name: entry
    for entry in (
        CorpusFormat("mals", '[{"image", "caption", "image_id", "label"}, ...], or its mirror in parquet', read_mals),
        CorpusFormat("synth-pedes", '[{"id", "file_path", "captions", ...}, ...]', read_synth_pedes),
        CorpusFormat("luperson-mllm", "{path: caption, ...}, one file per captioner", read_luperson_mllm),
        CorpusFormat("webperson", '[{path: {"caption1", "caption2"}}, ...]', read_webperson),
    )
}


def read_corpus(name: str, sources: Sequence[Path]) -> Iterator[Entry]:
    """Read the entries of a corpus in the order of its files.

    Args:
        name: A key of `FORMATS`.
        sources: The files of the corpus.

    Raises:
        CorpusError: The format is unknown, or a file is missing, truncated, in another format or empty. The message
            names the first entry at fault.
    """
    if name not in FORMATS:
        raise CorpusError(f"unknown corpus format {name!r}: expected one of {', '.join(FORMATS)}.")
    for source in sources:
        if not source.is_file():
            raise CorpusError(f"{source} is not a file: expected the JSON of {name}, {FORMATS[name].shape}.")
    entries = FORMATS[name].read(sources)
    first = next(entries, None)
    if first is None:
        names = ", ".join(map(str, sources))
        raise CorpusError(f"{names} has no entries of {name}: expected {FORMATS[name].shape}.")
    return chain([first], entries)


def iter_entries(sources: Sequence[Path]) -> Iterator[tuple[str, Any]]:
    """Yield the elements of JSON lists or the rows of parquet files, each with its file and number for messages."""
    for source in sources:
        entries = iter_parquet_rows(source) if source.suffix == ".parquet" else iter_json_items(source, "item")
        for number, entry in enumerate(entries):
            yield f"{source}, entry {number} (from 0)", entry


def require_field(where: str, entry: Any, key: str, kind: Any) -> Any:
    """Return `entry[key]`, which must exist and be of type `kind`."""
    if not isinstance(entry, dict):
        raise CorpusError(f"{where} is {entry!r:.80}: expected an object with the key {key!r}.")
    if key not in entry:
        raise CorpusError(f"{where} lacks the key {key!r}; its keys are: {', '.join(entry)}. Is this another corpus?")
    if not isinstance(entry[key], kind) or isinstance(entry[key], bool):
        kinds = getattr(kind, "__name__", str(kind))
        raise CorpusError(f"{where}: {key!r} is {entry[key]!r:.80}, expected {kinds}. Correct the file.")
    return entry[key]


def require_strings(where: str, key: str, values: list[Any]) -> list[str]:
    """Return `values`, which must all be strings."""
    if not all(isinstance(value, str) for value in values):
        raise CorpusError(f"{where}: {shown(key)!r} is {values!r:.80}, expected strings. Correct the file.")
    return values


def to_person_id(name: int | str) -> int:
    """Make a person id: keep a number, hash a name to 62 bits, the same in every file and run."""
    if isinstance(name, int):
        return name
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) >> 2
