"""Gallery: add images once, search them by sentences ever after."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from tqdm.auto import tqdm

from tbps.evaluation.distributed import is_main_process, wait_for_everyone
from tbps.evaluation.fingerprint import identify
from tbps.gallery.checks import check_positive
from tbps.gallery.crops import warn_of_shapes
from tbps.gallery.filters import Filter
from tbps.gallery.ingest import Ingestor
from tbps.gallery.listing import Listing
from tbps.gallery.open_store import check_dtype, check_stored_dtype, open_by_model
from tbps.gallery.queries import Query, as_query, query_vectors
from tbps.gallery.results import AddResult, Hit
from tbps.gallery.searching import Options, check_k, find
from tbps.gallery.sources import expand_folder, read_items
from tbps.gallery.store import Dtype, Mode, VectorStore, View
from tbps.gallery.stored_image import real_roots
from tbps.gallery.upkeep import Upkeep
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor

_DEFAULT_K = 10


class Gallery(Listing, Upkeep):
    """
    Images of people, searched by sentences, in a folder or in a Milvus collection.

    In a folder: there from its first image on; a process may be killed at any moment and the gallery opens with all
    that was committed. Opening checks the lengths of files; their contents are verified when they are first read.
    Search is exact and walks over a memory map, so the gallery may be larger than memory. One process may write while
    others search; those see what was there when they opened.
    """

    def __init__(
        self, store: VectorStore, model: TBPSModel, processor: TBPSProcessor, roots: Sequence[Path] = ()
    ) -> None:
        self._store = store
        self._model = model
        self._processor = processor
        self._roots = roots

    @classmethod
    def open(
        cls,
        where: str | Path,
        model: TBPSModel,
        processor: TBPSProcessor,
        *,
        dtype: Dtype | None = None,
        roots: Sequence[str | Path] = (),
        token: str | None = None,
    ) -> "Gallery":
        """
        The gallery at `where`, or a new one. A folder is made when the first images are added, a collection at once.

        Args:
            where: a folder; or an address of Milvus: a file that ends in `.db` (Milvus Lite), or
                `http(s)://host:port/collection`. Milvus needs `pip install tbps[milvus]`.
            dtype: how a new gallery in a folder keeps vectors: float32 (if None), float16 (half the room) or int8 (a
                quarter). Milvus keeps float32.
            roots: folders below which images of hits may be opened to be shown. What a gallery says of paths is only
                text, which could point anywhere.
            token: of the Milvus server, as `user:password` or an API key.

        Raises:
            GalleryError: it is damaged, was made with another model or dtype, or the folder holds something else.
            ValueError: an unknown dtype, a root that is no folder.
            ImportError: Milvus's client is not installed.
        """
        check_dtype(dtype)
        store = open_by_model(where, model, processor, dtype, token)
        check_stored_dtype(store, dtype)
        return cls(store, model, processor, real_roots(roots))

    @property
    def fingerprint(self) -> str:
        """That of the model which makes the vectors, by the present rule."""
        made_by = self._store.model
        return made_by.fingerprint if made_by.traits else identify(self._model, self._processor).fingerprint

    def add(
        self,
        images: Any,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        *,
        skip_bad: bool = False,
        thumbnails: bool = False,
        update: bool = False,
        batch_size: int = 64,
        commit_every: int = 4096,
        progress: bool = True,
    ) -> AddResult:
        """
        Encode images and keep them; those whose id is there already are skipped, so a run cut short can be repeated.
        The processes of a launch (accelerate, torchrun) share the work, where all call this with the same arguments.

        An image's id is a hash of its content: of a file's bytes, or of the pixels of a picture in memory. The same
        file under two names is one image, with the first one's path and metadata; adding it again changes nothing,
        unless `update` is set.

        Args:
            images: a folder (with all below it), a list of files or PIL images, or a `datasets.Dataset` with a column
                `image`, whose other columns but captions become metadata.
            metadata: one dict for each image (of a folder: in sorted order), returned with the hits. Of its names,
                `camera`, `timestamp` (datetime, ISO 8601 or seconds since 1970), `source` and `box` have a
                fixed meaning; the first three can be filtered by. A box is left, top, right, bottom in pixels: of the
                person in the image, or of the image in the frame that it was cut from; any other is a bad image.
            skip_bad: go on after an image that cannot be read; the result names them.
            thumbnails: also keep a small JPEG of each image, for reports without the files.
            update: of an image that is there already take up the path and the metadata given here, as `update` does,
                and a thumbnail if it has none; it is not encoded again.
            batch_size: images encoded at once.
            commit_every: images after which those encoded are on disk; each commit makes one file.

        Returns:
            The ids added and updated, in order; how many were there already; what was skipped, and why; what is not
            shaped like the crop of a person (the log warns of those once); what has moved since it was added.

        Raises:
            BadImageError: an image cannot be read; those before it have been added.
            GalleryError: another process is writing to this gallery.
            TypeError, ValueError, FileNotFoundError: arguments that do not fit; nothing has been added.
        """
        check_positive("batch_size", batch_size)
        check_positive("commit_every", commit_every)
        images, left_out = expand_folder(images)
        count, items = read_items(images, metadata)
        writing = self._store.writing() if is_main_process() else nullcontext()
        with writing, tqdm(total=count, desc="images", disable=not progress) as bar:
            intake = Ingestor(self._store, self._model, self._processor, batch_size, skip_bad, thumbnails, update, bar)
            while block := list(islice(items, commit_every)):
                intake.add(block)
        wait_for_everyone()  # process 0 may still be writing
        self.refresh()
        intake.result.skipped += left_out
        if is_main_process():
            warn_of_shapes(intake.result.not_crops, len(intake.result.added))
        return intake.result

    @overload
    def search(self, query: str | Query | Path, k: int | None = None, **options: Any) -> list[Hit]: ...
    @overload
    def search(self, query: list[Any], k: int | None = None, **options: Any) -> list[list[Hit]]: ...
    def search(self, query: Any, k: int | None = None, **options: Any) -> list[Hit] | list[list[Hit]]:
        """
        The k images that fit best, best first; of equal scores the image added first comes first.

        Args:
            query: a sentence; an image (`Path` or PIL image); a `Query` of both; or a list of such, which gives a list
                of hits for each.
            k: from 1 to `count()`; None is 10, or all of a smaller gallery. Fewer come where fewer fit the options.
            options: of `search_embeddings`.

        Raises:
            ValueError: a sentence without words, or k out of range.
            TypeError: a query or k of another type.
            BadImageError: an image of a query cannot be read.
            GalleryError: the gallery is empty.
        """
        several = isinstance(query, list | tuple)
        asked = [as_query(one) for one in (query if several else [query])]
        view, chosen = self._store.snapshot(), Options(**options)
        k = min(_DEFAULT_K, max(1, view.count())) if k is None else k
        check_k(view, k)
        hits = self._hits(view, query_vectors(self._model, self._processor, asked), k, chosen)
        return hits if several else hits[0]

    def search_embeddings(
        self,
        queries: torch.Tensor,
        k: int = _DEFAULT_K,
        *,
        where: Filter | None = None,
        exclude: Collection[str] = (),
        exclude_similar: float | None = None,
        group_by: str | None = None,
        min_score: float | None = None,
        mode: Mode = "exact",
        candidates: int | None = None,
        nprobe: int | None = None,
    ) -> list[list[Hit]]:
        """
        As `search`, for retrieval vectors (Q, E).

        Args:
            where: only images that meet this `Filter`; recall among them is as without it.
            exclude: ids of images that are not wanted.
            exclude_similar: also drop images whose cosine similarity to one of those is at least
                this: "not this person". `Calibration.same_person` is one that was measured.
            group_by: at most one hit, the best, for each value of this metadata name, such as "source" or "track";
                images without it are all kept.
            min_score: leave out hits below; an empty list means that nobody fits. See `Calibration`, for sentences;
                scores of queries with an image are of another scale.
            mode: "exact"; or "int8", "global" or "index", which look at 8-bit codes, at the global embedding or into
                an approximate index first and at the whole vectors of the best `candidates` after that. A Milvus store
                has its own index instead.
            candidates: default 10 k, at least 100. nprobe: lists of an index that are read, default
                as many as were measured to be enough when it was made.

        Raises:
            ValueError: queries of another shape or not finite, k out of range, an unknown mode.
            TypeError: an option of another type.
            GalleryError: the gallery is empty, has no index, or an excluded id is not in it.
        """
        options = Options(where, exclude, exclude_similar, group_by, min_score, mode, candidates, nprobe)
        view = self._store.snapshot()
        check_k(view, k)
        return self._hits(view, self._checked(queries), k, options)

    def _hits(self, view: View, queries: np.ndarray, k: int, options: Options) -> list[list[Hit]]:
        found = find(view, queries, k, options)
        return [[self._hit(row, query) for row in rows] for query, rows in zip(queries, found, strict=True)]

    def _checked(self, queries: torch.Tensor) -> np.ndarray:
        width = self._model.config.embedding_dim
        if queries.ndim != 2 or queries.shape[1] != width:
            raise ValueError(f"queries have the shape {tuple(queries.shape)}: expected (Q, {width}).")
        return queries.detach().float().cpu().numpy()
