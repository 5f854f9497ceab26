"""The parts of a model on a split of rendered people: embeddings, attention maps and ground truth."""

from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image

from benchmarks.method.regions import BODY
from tbps import TBPSModel, TBPSProcessor
from tbps.data.images import open_image
from tbps.data.toypedes import GroundTruth, Person
from tbps.data.toypedes.phrases import Stated

IMAGES_A_PERSON = 3  # of ToyPEDES as the study renders it
SEEN = 20  # mask pixels from which a region counts as visible


@dataclass(frozen=True)
class Parts:
    """N images, one caption each.

    Args:
        image_parts, text_parts: (N, K, d). image_attention: (N, K, rows, columns).
        text_reading: (N, K, 5) share of part k's attention on the words about each region of `BODY`.
        masks: (N, H, W) region numbers. person_ids: (N,). people, stated: the truth of image and caption.
    """

    image_parts: torch.Tensor
    text_parts: torch.Tensor
    image_attention: torch.Tensor
    text_reading: np.ndarray
    masks: np.ndarray
    person_ids: torch.Tensor
    people: list[Person]
    stated: list[Stated]
    file_paths: list[str]

    def seen(self, region: int) -> np.ndarray:
        """Whether each image shows the region, (N,) bool."""
        return (self.masks == region).sum(axis=(1, 2)) >= SEEN

    def spoken_of(self) -> np.ndarray:
        """Whether each caption mentions each region, (N, 5) bool."""
        return self.text_reading.sum(axis=1) > 0


@torch.no_grad()
def read_parts(
    model: TBPSModel, processor: TBPSProcessor, rows: datasets.Dataset, truth: GroundTruth, root: Path, people: int
) -> Parts:
    """Read the parts of the first `people` people of a split: all their images, each with its first caption."""
    rows = rows.select(range(min(len(rows), people * IMAGES_A_PERSON)))
    files = rows["file_path"][:]
    folder = root / "ToyPEDES"
    embedded = [image_batch(model, processor, [folder / "imgs" / f for f in files[i : i + 256]])
                for i in range(0, len(files), 256)]  # fmt: skip
    captions = [captions[0] for captions in rows["captions"][:]]
    spans = [truth.images[file].spans[0] for file in files]
    read = [text_batch(model, processor, captions[i : i + 512], spans[i : i + 512])
            for i in range(0, len(files), 512)]  # fmt: skip
    return Parts(
        image_parts=torch.cat([parts for parts, _ in embedded]),
        text_parts=torch.cat([parts for parts, _ in read]),
        image_attention=torch.cat([attention for _, attention in embedded]),
        text_reading=np.concatenate([reading for _, reading in read]),
        masks=np.stack([np.asarray(Image.open(folder / "ground_truth" / "masks" / file)) for file in files]),
        person_ids=torch.tensor(rows["person_id"][:]),
        people=[truth.people[truth.images[file].person_id] for file in files],
        stated=[truth.images[file].stated[0] for file in files],
        file_paths=files,
    )


def image_batch(
    model: TBPSModel, processor: TBPSProcessor, images: list[Path] | list[Image.Image]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the part embeddings (B, K, d) and attention maps (B, K, rows, columns) of images."""
    inputs = processor(images=[open_image(image) for image in images], return_tensors="pt")
    out = model.get_image_features(**inputs, output_part_attentions=True)
    return out.part_embeds, out.part_attentions


def text_batch(
    model: TBPSModel, processor: TBPSProcessor, captions: list[str], spans: list[tuple[tuple[int, int, int], ...]]
) -> tuple[torch.Tensor, np.ndarray]:
    """Return the part embeddings (B, K, d) of captions, and how much of its attention each part gives to the words of
    each region, (B, K, 5)."""
    inputs = processor.tokenizer(captions, padding=True, return_tensors="pt", return_offsets_mapping=True)
    offsets = inputs.pop("offset_mapping").numpy()  # (B, L, 2) characters
    out = model.get_text_features(**inputs, output_part_attentions=True)
    attention = out.part_attentions.numpy()  # (B, K, L)
    reading = np.zeros((*attention.shape[:2], len(BODY)))
    for row, marked in enumerate(spans):
        for start, end, region in marked:
            if region in BODY:
                inside = (offsets[row, :, 0] >= start) & (offsets[row, :, 1] <= end) & (offsets[row, :, 1] > 0)
                reading[row, :, BODY.index(region)] += attention[row][:, inside].sum(axis=1)
    return out.part_embeds, reading
