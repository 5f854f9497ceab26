"""Gallery: add images once, search them by text from then on."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from tbps.evaluation.distributed import is_main_process, wait_for_everyone
from tbps.evaluation.fingerprint import identify
from tbps.gallery.checks import GalleryError, check_positive, refuse_renamed
from tbps.gallery.crops import warn_of_shapes
from tbps.gallery.filters import Filter
from tbps.gallery.ingest import Ingestor
from tbps.gallery.maintenance import Maintenance
from tbps.gallery.open_store import check_dtype, check_stored_dtype, open_by_model, open_existing
from tbps.gallery.queries import Query, as_query, query_vectors
from tbps.gallery.records import Records
from tbps.gallery.results import AddResult, Hit
from tbps.gallery.search import SearchOptions, check_k, find
from tbps.gallery.sources import expand_folder, read_items
from tbps.gallery.store import Dtype, Mode, VectorStore, View
from tbps.gallery.stored_image import real_roots
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor

_DEFAULT_K = 10


class Gallery(Records, Maintenance):
    """
    Images of people, searched by text, in a folder or in a Milvus collection.

    A folder is created with its first images. A process may be killed at any moment: the gallery then opens with
    everything that was committed. Opening checks the lengths of the files, and their contents are verified when they
    are first read. Search is exact and reads a memory map, so the gallery may be larger than memory. One process may
    write while others search; they see the state at their opening until they `refresh`.

    Example:
        ```python
        gallery = Gallery.open("people", model, processor, roots=["crops"])
        gallery.add("crops")
        for hit in gallery.search("a woman in a red coat", k=5):
            print(hit.score, hit.path)

        Gallery.open("people").remove(where=Filter(until="2026-05-01"))  # needs no model
        ```
    """

    def __init__(
        self,
        store: VectorStore,
        model: TBPSModel | None = None,
        processor: TBPSProcessor | None = None,
        roots: Sequence[Path] = (),
    ) -> None:
        self._store = store
        self._model = model
        self._processor = processor
        self._roots = roots

    @classmethod
    def open(
        cls,
        where: str | Path,
        model: TBPSModel | None = None,
        processor: TBPSProcessor | None = None,
        *,
        dtype: Dtype | None = None,
        roots: Sequence[str | Path] = (),
        token: str | None = None,
    ) -> "Gallery":
        """
        Open the gallery at an address, or create it.

        A gallery opened without a model must exist. It can do everything but `add` images and search by text or image.

        Args:
            where: a folder; or an address of Milvus: a file that ends in `.db` (Milvus Lite), or
                `http(s)://host:port/collection`. Milvus needs `pip install tbps[milvus]`.
            model: the model that encodes images and text. It must be the one that made the gallery.
            processor: its processor.
            dtype: how a new gallery in a folder stores vectors: float32 (if None), float16 (half the space) or int8 (a
                quarter). Milvus stores float32.
            roots: folders below which the images of hits may be opened. Paths in a gallery are only text and could
                point anywhere.
            token: the token of the Milvus server: `user:password` or an API key.

        Raises:
            GalleryError: the gallery is damaged, or was made with another model or dtype; the folder holds something
                else; or there is no gallery, and no model to create one.
            TypeError: a model without a processor, or the reverse.
            ValueError: an unknown dtype, or a root that is not a folder.
            ImportError: Milvus's client is not installed.
        """
        check_dtype(dtype)
        if model is not None and processor is not None:
            store = open_by_model(where, model, processor, dtype, token)
        elif model is None and processor is None:
            store = open_existing(where, token)
        else:
            raise TypeError("Gallery.open takes a model and its processor, or neither of them: give both.")
        check_stored_dtype(store, dtype)
        return cls(store, model, processor, real_roots(roots))

    @property
    def fingerprint(self) -> str:
        """
        The fingerprint of the model that makes the vectors.

        Raises:
            GalleryError: the gallery was converted from format 2 and was opened without a model.
        """
        made_by = self._store.model
        return made_by.fingerprint if made_by.traits else identify(*self._encoder("fingerprint")).fingerprint

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
        Encode images and store their vectors. Images that the gallery holds are skipped, so an interrupted run can be
        repeated.

        The processes of a launch (accelerate, torchrun) share the work if all of them call this with the same
        arguments.

        An image's id is a hash of its content: of a file's bytes, or of the pixels of an image in memory. The same file
        under two names is one image, with the path and the metadata of the first.

        Args:
            images: a folder (with its sub-folders), a list of files or PIL images, or a `datasets.Dataset` with a
                column `image`. Its other columns, except captions, become metadata.
            metadata: one dict for each image (of a folder: in sorted order), returned with the hits. The names
                `camera`, `source`, `timestamp` (datetime, ISO 8601 or seconds since 1970) and `box` have a fixed
                meaning. A box is left, top, right, bottom in pixels: of the person in the image, or of the image in the
                frame that it was cut from. Any other box makes it a bad image.
            skip_bad: continue after an image that cannot be read; the result names it.
            thumbnails: also store a small JPEG of each image, for reports without the files.
            update: for images that the gallery holds, take over the path and the metadata given here, and add a missing
                thumbnail. They are not encoded again.
            batch_size: the number of images encoded at once.
            commit_every: the number of images after which the encoded ones are written; each commit makes one file.
            progress: show a progress bar.

        Returns:
            What was added, updated, unchanged or skipped.

        Raises:
            BadImageError: an image cannot be read; those before it have been added.
            GalleryError: another process is writing to this gallery, or the gallery was opened without a model.
            TypeError, ValueError, FileNotFoundError: invalid arguments; nothing has been added.
        """
        check_positive("batch_size", batch_size)
        check_positive("commit_every", commit_every)
        model, processor = self._encoder("add")
        images, left_out = expand_folder(images)
        count, items = read_items(images, metadata)
        writing = self._store.writing() if is_main_process() else nullcontext()
        with writing, tqdm(total=count, desc="images", disable=not progress) as bar:
            ingestor = Ingestor(self._store, model, processor, batch_size, skip_bad, thumbnails, update, bar)
            while block := list(islice(items, commit_every)):
                ingestor.add(block)
        wait_for_everyone()  # process 0 may still be writing
        self.refresh()
        ingestor.result.skipped += left_out
        if is_main_process():
            warn_of_shapes(ingestor.result.not_crops, len(ingestor.result.added))
        return ingestor.result

    @overload
    def search(
        self,
        query: str | Path | Image.Image | Query,
        k: int | None = None,
        *,
        where: Filter | None = None,
        exclude: Collection[str] = (),
        exclude_similar: float | None = None,
        group_by: str | None = None,
        min_score: float | None = None,
        mode: Mode = "exact",
        candidates: int | None = None,
        nprobe: int | None = None,
    ) -> list[Hit]: ...
    @overload
    def search(
        self,
        query: list[Any] | tuple[Any, ...],
        k: int | None = None,
        *,
        where: Filter | None = None,
        exclude: Collection[str] = (),
        exclude_similar: float | None = None,
        group_by: str | None = None,
        min_score: float | None = None,
        mode: Mode = "exact",
        candidates: int | None = None,
        nprobe: int | None = None,
    ) -> list[list[Hit]]: ...
    @refuse_renamed(exclude_alike="exclude_similar", one_per="group_by", probes="nprobe")
    def search(
        self,
        query: Any,
        k: int | None = None,
        *,
        where: Filter | None = None,
        exclude: Collection[str] = (),
        exclude_similar: float | None = None,
        group_by: str | None = None,
        min_score: float | None = None,
        mode: Mode = "exact",
        candidates: int | None = None,
        nprobe: int | None = None,
    ) -> list[Hit] | list[list[Hit]]:
        """
        Find the k images that match a query best, best first. Of equal scores the image added first comes first.

        Args:
            query: a text; an image (`Path` or PIL image); a `Query` of both; or a list of them.
            k: the number of hits, from 1 to `count()`; None is 10, or all images of a smaller gallery. A search returns
                fewer if fewer qualify.
            where: only images that meet this `Filter`. It applies before ranking, so it loses no hit.
            exclude: ids of images to leave out.
            exclude_similar: also leave out images whose vector has at least this cosine similarity to that of an
                excluded image: "not this person". `Calibration.same_person` is a measured value.
            group_by: at most one hit, the best, for each value of this metadata name, such as "source". Images without
                the name all stay.
            min_score: drop hits that score below this; an empty list means that nobody matches. See `Calibration` for
                text queries. Queries with an image score on another scale.
            mode: "exact"; or a faster first pass over 8-bit codes ("int8"), the global embeddings ("global") or an
                approximate index ("index"), after which the best `candidates` are ranked by their full vectors. In
                Milvus every mode is exact.
            candidates: the number of candidates; None is 10 k, and at least 100.
            nprobe: the number of index lists to read; None is as many as were measured to be enough.

        Returns:
            The hits; for a list of queries, a list of hits for each.

        Raises:
            ValueError: a text without words, k out of range, or an invalid option.
            TypeError: a query, k or option of another type.
            BadImageError: the image of a query cannot be read.
            GalleryError: the gallery is empty, has no index, does not hold an excluded id, or was opened without a
                model.
        """
        several = isinstance(query, list | tuple)
        queries = [as_query(one) for one in (query if several else [query])]
        options = SearchOptions(where, exclude, exclude_similar, group_by, min_score, mode, candidates, nprobe)
        encoder = self._encoder("search by text or image")
        view = self._store.snapshot()
        k = min(_DEFAULT_K, max(1, view.count())) if k is None else k
        check_k(view, k)
        hits = self._hits(view, query_vectors(*encoder, queries), k, options)
        return hits if several else hits[0]

    @refuse_renamed(exclude_alike="exclude_similar", one_per="group_by", probes="nprobe")
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
        Search with retrieval vectors. This needs no model.

        Args:
            queries: (Q, E) retrieval vectors.
            k: the number of hits, from 1 to `count()`.
            where, exclude, exclude_similar, group_by, min_score, mode, candidates, nprobe: as for `search`.

        Returns:
            A list of hits for each query.

        Raises:
            ValueError: queries of another shape or not finite, k out of range, or an invalid option.
            TypeError: an option of another type.
            GalleryError: the gallery is empty, has no index, or does not hold an excluded id.
        """
        options = SearchOptions(where, exclude, exclude_similar, group_by, min_score, mode, candidates, nprobe)
        view = self._store.snapshot()
        check_k(view, k)
        return self._hits(view, self._checked(queries), k, options)

    def _hits(self, view: View, queries: np.ndarray, k: int, options: SearchOptions) -> list[list[Hit]]:
        found = find(view, queries, k, options)
        return [[self._hit(row, query) for row in rows] for query, rows in zip(queries, found, strict=True)]

    def _checked(self, queries: torch.Tensor) -> np.ndarray:
        width = self._store.model.embedding_dim
        if queries.ndim != 2 or queries.shape[1] != width:
            raise ValueError(f"queries have the shape {tuple(queries.shape)}: expected (Q, {width}).")
        return queries.detach().float().cpu().numpy()

    def _encoder(self, what: str) -> tuple[TBPSModel, TBPSProcessor]:
        if self._model is None or self._processor is None:
            raise GalleryError(
                f"{what} needs a model, and the gallery {self._store.where} was opened without one: use "
                "Gallery.open(where, model, processor)."
            )
        return self._model, self._processor
