"""How four pre-training corpora lie on disk: a reader each, from their JSON to entries, one at a time.

The files hold millions of entries. They are read piece by piece (ijson), so that memory does not grow with them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tbps.data.corpora.index import CorpusError
from tbps.data.corpora.readers import captions_by_image, members, parquet_rows, pieces
from tbps.data.images import shown


class Entry(NamedTuple):
    """One image of a corpus and what is said of it."""

    where: str  # file and place, for messages
    file_path: str  # below the images' folder
    captions: list[str]
    person_id: int
    data: bytes | None = None  # the image's file, where the corpus holds it


@dataclass(frozen=True)
class CorpusFormat:
    """One corpus: what its entries look like, and who reads them."""

    name: str
    shape: str
    read: Callable[[Sequence[Path]], Iterator[Entry]]


def read_mals(sources: Sequence[Path]) -> Iterator[Entry]:
    """MALS (Yang et al., ACM MM 2023): entries of one `image_id` show one person, as its authors train. The mirror in
    parquet holds the images themselves, and their paths as `image_path`."""
    for where, entry in listed(sources):
        captions, who = [field(where, entry, "caption", str)], person(field(where, entry, "image_id", int | str))
        if isinstance(field(where, entry, "image", str | dict), str):
            yield Entry(where, entry["image"], captions, who)
        else:
            data = field(where, entry["image"], "bytes", bytes)
            yield Entry(where, field(where, entry, "image_path", str), captions, who, data)


def read_synth_pedes(sources: Sequence[Path]) -> Iterator[Entry]:
    """SYNTH-PEDES (Zuo et al., ECCV 2024): several images a person, two or three captions each; attributes and
    `prompt_caption` are left out."""
    for where, entry in listed(sources):
        captions = strings(where, "captions", field(where, entry, "captions", list))
        yield Entry(
            where, field(where, entry, "file_path", str), captions, person(field(where, entry, "id", int | str))
        )


def read_luperson_mllm(sources: Sequence[Path]) -> Iterator[Entry]:
    """LUPerson-MLLM (Tan et al., CVPR 2024): one object a captioner, of the same images by file name, which are joined
    here; each image is a person of its own."""

    def said() -> Iterator[tuple[str, str, str]]:
        for source in sources:
            for number, (path, caption) in enumerate(members(source, "")):
                yield str(source), path, strings(f"{source}, entry {number} (from 0)", path, [caption])[0]

    for number, (path, captions) in enumerate(captions_by_image(said())):
        yield Entry(f"image {number} (from 0)", path, captions, person(Path(path).name))


def read_webperson(sources: Sequence[Path]) -> Iterator[Entry]:
    """WebPerson (Zheng et al., EMNLP 2025): two captions an image; each image is a person of its own."""
    for source in sources:
        for number, (path, said) in enumerate(members(source, "item")):
            where = f"{source}, entry {number} (from 0)"
            captions = [field(where, said, key, str) for key in ("caption1", "caption2")]
            yield Entry(where, path, captions, person(path))


FORMATS = {
    entry.name: entry
    for entry in (
        CorpusFormat("mals", '[{"image", "caption", "image_id", "label"}, ...], or its mirror in parquet', read_mals),
        CorpusFormat("synth-pedes", '[{"id", "file_path", "captions", ...}, ...]', read_synth_pedes),
        CorpusFormat("luperson-mllm", "{path: caption, ...}, one file a captioner", read_luperson_mllm),
        CorpusFormat("webperson", '[{path: {"caption1", "caption2"}}, ...]', read_webperson),
    )
}


def read_corpus(name: str, sources: Sequence[Path]) -> Iterator[Entry]:
    """The entries of a corpus, in the order of its files.

    Args:
        name: a key of `FORMATS`. sources: its files.

    Raises:
        CorpusError: an unknown format; a file that is missing, truncated, of another format or without entries; the
            first entry at fault is named.
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


def listed(sources: Sequence[Path]) -> Iterator[tuple[str, Any]]:
    """The elements of JSON lists, or the rows of parquet files, each with its place."""
    for source in sources:
        entries = parquet_rows(source) if source.suffix == ".parquet" else pieces(source, "item")
        for number, entry in enumerate(entries):
            yield f"{source}, entry {number} (from 0)", entry


def field(where: str, entry: Any, key: str, kind: Any) -> Any:
    """`entry[key]`, which must be there and of a kind."""
    if not isinstance(entry, dict):
        raise CorpusError(f"{where} is {entry!r:.80}: expected an object with the key {key!r}.")
    if key not in entry:
        raise CorpusError(f"{where} lacks the key {key!r}, it has: {', '.join(entry)}. Is this another corpus?")
    if not isinstance(entry[key], kind) or isinstance(entry[key], bool):
        kinds = getattr(kind, "__name__", str(kind))
        raise CorpusError(f"{where}: {key!r} is {entry[key]!r:.80}, expected {kinds}. Correct the file.")
    return entry[key]


def strings(where: str, key: str, values: list[Any]) -> list[str]:
    """`values`, which must be strings."""
    if not all(isinstance(value, str) for value in values):
        raise CorpusError(f"{where}: {shown(key)!r} is {values!r:.80}, expected strings. Correct the file.")
    return values


def person(name: int | str) -> int:
    """A person id: numbers stay, names become 62 bits of their hash, the same in every file and run."""
    if isinstance(name, int):
        return name
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) >> 2
