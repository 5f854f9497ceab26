"""Evaluate text-to-image retrieval on a benchmark split, by the protocol of the field."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import datasets
import torch

from tbps.data.image_column import ImageColumn
from tbps.data.splits import captions_of, person_ids_of
from tbps.evaluation.distributed import broadcast_from_main, encode_distributed
from tbps.evaluation.encoding import encode_images, encode_texts
from tbps.evaluation.metrics import retrieval_metrics
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor


class SplitVectors(NamedTuple):
    """Retrieval vectors of the captions (T, E) and images (I, E) of a split, float32, with the person id of each."""

    texts: torch.Tensor
    images: torch.Tensor
    query_person_ids: torch.Tensor
    gallery_person_ids: torch.Tensor


def embed_split(
    model: TBPSModel, processor: TBPSProcessor, rows: datasets.Dataset, *, batch_size: int = 64, progress: bool = True
) -> SplitVectors:
    """Encode all captions and images of a split of `load_benchmark`; the processes of a launch share the work.

    Raises:
        ValueError: a column of image, captions and person_id is missing, or has invalid captions or ids.
    """
    captions, gallery_person_ids = captions_of(rows), torch.from_numpy(person_ids_of(rows))
    counts = torch.tensor([len(row) for row in captions], dtype=torch.int64)
    query_person_ids = gallery_person_ids.repeat_interleave(counts)
    column = ImageColumn(rows)

    def encode_rows(places: Sequence[int]) -> torch.Tensor:
        return encode_images(model, processor, column.select(places), batch_size=batch_size, progress=progress)

    images = encode_distributed(encode_rows, range(len(rows)), batch_size)
    queries = [caption for row in captions for caption in row]
    text_encoder = partial(encode_texts, model, processor, batch_size=4 * batch_size, progress=progress)
    texts = encode_distributed(text_encoder, queries, 4 * batch_size)
    return SplitVectors(texts, images, query_person_ids, gallery_person_ids)


def evaluate_retrieval(
    model: TBPSModel,
    processor: TBPSProcessor,
    rows: datasets.Dataset,
    *,
    batch_size: int = 64,
    progress: bool = True,
) -> dict[str, float]:
    """Rank all images of a split for each of its captions.

    Every caption is a query, and every image is in the gallery. A match is an image of the same person, including the
    caption's own image. In a launch, all processes must call this. They share the work, and all get the numbers that
    one process would get.

    Args:
        rows: split of `load_benchmark`, with columns image, captions, person_id. batch_size: images per batch.

    Returns:
        rank_1, rank_5, rank_10, mAP, mINP in [0, 1].
    """
    vectors = embed_split(model, processor, rows, batch_size=batch_size, progress=progress)
    return broadcast_from_main(partial(retrieval_metrics, *vectors))
