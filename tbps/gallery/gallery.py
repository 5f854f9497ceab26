"""Gallery: add images once, search them by sentences ever after."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from tqdm.auto import tqdm

from tbps.encoding import encode_texts
from tbps.fingerprint import identify
from tbps.gallery.errors import GalleryError
from tbps.gallery.exact import exact_top_k
from tbps.gallery.intake import Intake
from tbps.gallery.sources import read_items
from tbps.gallery.store import Store
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor

_QUERIES_AT_ONCE = 256
_DEFAULT_K = 10
_SKIPPED_SHOWN = 10


@dataclass(frozen=True)
class Hit:
    """An image found. `score` is the inner product of the retrieval vectors; `path` is None where it is no file."""

    id: str
    score: float
    path: str | None
    metadata: dict[str, Any]


class Gallery:
    """
    Images of people on disk, searched by sentences.

    Persistent from the first `add`: a process may be killed at any moment and the gallery opens with all that was
    committed. Opening reads every file once, to verify it. Search is exact and walks over a memory map, so the gallery
    may be larger than memory. One process may add while others search; those see what was there when they opened.
    """

    def __init__(self, store: Store, model: TBPSModel, processor: TBPSProcessor) -> None:
        self._store = store
        self._model = model
        self._processor = processor

    @classmethod
    def open(cls, where: str | Path, model: TBPSModel, processor: TBPSProcessor) -> "Gallery":
        """
        The gallery in the folder `where`, made if the folder is new or empty.

        Raises:
            GalleryError: it is damaged, was made with another model, or the folder holds something else.
        """
        return cls(Store.open(Path(where), identify(model, processor)), model, processor)

    def count(self) -> int:
        """The number of images."""
        return self._store.count()

    def add(
        self,
        images: Any,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        *,
        skip_bad: bool = False,
        batch_size: int = 64,
        commit_every: int = 4096,
        progress: bool = True,
    ) -> list[str]:
        """
        Encode images and keep them; those whose id is there already are skipped, so a run cut short can be repeated.

        The id of a file is its absolute path, that of a picture in memory a hash of its content.

        Args:
            images: a folder (with all below it), a list of files or PIL images, or a `datasets.Dataset` with a column
                `image`, whose other scalar columns but captions become metadata.
            metadata: one dict for each image (of a folder: in sorted order), returned with the hits.
            skip_bad: go on after an image that cannot be read, and name all of them in one warning at the end.
            batch_size: images encoded at once.
            commit_every: images after which those encoded are on disk; each commit makes one file.

        Returns:
            The ids added, in order.

        Raises:
            BadImageError: an image cannot be read; those before it have been added.
            GalleryError: another process is adding to this gallery.
            TypeError, ValueError, FileNotFoundError: arguments that do not fit; nothing has been added.
        """
        _check_positive("batch_size", batch_size)
        _check_positive("commit_every", commit_every)
        count, items = read_items(images, metadata)
        with self._store.writing(), tqdm(total=count, desc="images", disable=not progress) as bar:
            intake = Intake(self._store, self._model, self._processor, batch_size, skip_bad, bar)
            while block := list(islice(items, commit_every)):
                intake.add(block)
        if intake.skipped:
            _warn_of_skipped(intake.skipped)
        return intake.added

    @overload
    def search(self, query: str, k: int | None = None) -> list[Hit]: ...
    @overload
    def search(self, query: list[str], k: int | None = None) -> list[list[Hit]]: ...
    def search(self, query: str | list[str], k: int | None = None) -> list[Hit] | list[list[Hit]]:
        """
        The k images that fit a sentence best, best first; of equal scores the image added first comes first.

        Args:
            query: one sentence, or several (which gives a list of hits for each).
            k: from 1 to `count()`; None is 10, or all of a smaller gallery.

        Raises:
            ValueError: a sentence without words, or k out of range.
            TypeError: a query or k of another type.
            GalleryError: the gallery is empty.
        """
        sentences = list(query) if isinstance(query, list | tuple) else [query]
        for sentence in sentences:
            if not isinstance(sentence, str):
                raise TypeError(f"Cannot search for {sentence!r}: expected a sentence or a list of sentences.")
        k = min(_DEFAULT_K, max(1, self.count())) if k is None else k
        self._check_k(k)
        vectors = encode_texts(self._model, self._processor, sentences, progress=False)
        hits = self.search_embeddings(vectors, k)
        return hits[0] if isinstance(query, str) else hits

    def search_embeddings(self, queries: torch.Tensor, k: int = _DEFAULT_K) -> list[list[Hit]]:
        """
        As `search`, for retrieval vectors (Q, E) of sentences.

        Raises:
            ValueError: queries of another shape or not finite, or k out of range.
            GalleryError: the gallery is empty.
        """
        self._check_k(k)
        width = self._model.config.embedding_dim
        if queries.ndim != 2 or queries.shape[1] != width:
            raise ValueError(f"queries have the shape {tuple(queries.shape)}: expected (Q, {width}).")
        if not queries.isfinite().all():
            raise ValueError("queries hold a NaN or an infinite number: expected retrieval vectors of sentences.")
        matrix = queries.detach().float().cpu().numpy()
        starts = range(0, len(matrix), _QUERIES_AT_ONCE)
        return [hits for s in starts for hits in self._search_matrix(matrix[s : s + _QUERIES_AT_ONCE], k)]

    def _search_matrix(self, queries: np.ndarray, k: int) -> Iterator[list[Hit]]:
        for scores, positions in exact_top_k(queries, self._store.embeddings(), k):
            yield [self._hit(int(position), float(s)) for s, position in zip(scores, positions, strict=True)]

    def _hit(self, position: int, score: float) -> Hit:
        row = self._store.row(position)
        return Hit(row.id, score, row.path, json.loads(row.metadata))

    def _check_k(self, k: int) -> None:
        _check_positive("k", k)
        count = self.count()
        if not count:
            raise GalleryError(f"The gallery {self._store.directory} is empty: add images before searching.")
        if k > count:
            raise ValueError(f"k={k} is more than the {count} images in the gallery: ask for at most {count}.")


def _check_positive(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: expected a whole number.")
    if value < 1:
        raise ValueError(f"{name}={value}: expected 1 or more.")


def _warn_of_skipped(skipped: list[str]) -> None:
    shown = "\n  ".join(skipped[:_SKIPPED_SHOWN])
    more = f"\n  and {len(skipped) - _SKIPPED_SHOWN} more" if len(skipped) > _SKIPPED_SHOWN else ""
    warnings.warn(f"{len(skipped)} images could not be read and were skipped:\n  {shown}{more}", stacklevel=3)
