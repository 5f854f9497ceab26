"""Generate one person: write images and masks to disk, and return captions and ground truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from tbps.data.toypedes.attributes import Person, draw_person
from tbps.data.toypedes.camera import Camera, camera_names, draw_camera
from tbps.data.toypedes.captions import Caption, write_caption
from tbps.data.toypedes.regions import BODY, Region
from tbps.data.toypedes.render import render

IMAGES, MASKS = "imgs", "ground_truth/masks"
CAPTIONS_PER_IMAGE = 2
VISIBLE_SHARE, VISIBLE_PIXELS = 0.5, 24  # captions mention a region if at least this much of it is visible


@dataclass(frozen=True)
class ImageRecord:
    """One image: its file, its camera parameters and its captions."""

    file_path: str  # relative to imgs/ and to ground_truth/masks/
    person_id: int
    camera: Camera
    captions: tuple[Caption, ...]

    def raw(self, split: str) -> dict[str, object]:
        """The image's entry in reid_raw.json."""
        return {
            "split": split,
            "captions": [caption.text for caption in self.captions],
            "file_path": self.file_path,
            "processed_tokens": [caption.tokens() for caption in self.captions],
            "id": self.person_id,
        }

    def truth(self) -> dict[str, object]:
        """The image's entry in attributes.json."""
        return {
            "person": self.person_id,
            "camera": self.camera.name,
            "parameters": asdict(self.camera),
            "captions": [{"spans": caption.spans, "stated": caption.stated} for caption in self.captions],
        }


def write_person(root: Path, seed: int, person_id: int, images: int) -> tuple[Person, list[ImageRecord]]:
    """Draw a person, write their images and masks below `root`, and return their attributes and image records."""
    person = draw_person(seed, person_id)
    records = []
    for index, name in enumerate(camera_names(seed, person_id, images)):
        camera = draw_camera(seed, person_id, index, name)
        file_path = f"{name}/{person_id:04d}_{index}.png"
        image, mask = render(person, camera)
        image.save(root / IMAGES / file_path, compress_level=1)
        mask.save(root / MASKS / file_path, compress_level=1)
        visible = visible_regions(person, camera, mask)
        captions = tuple(
            write_caption(person, camera.view, visible, seed=seed, key=(person_id, index, caption))
            for caption in range(CAPTIONS_PER_IMAGE)
        )
        records.append(ImageRecord(file_path, person_id, camera, captions))
    return person, records


def visible_regions(person: Person, camera: Camera, mask: Image.Image) -> frozenset[Region]:
    """Find the regions that are visible enough in `mask` for a caption to mention them despite an occluder."""
    seen = region_pixels(mask)
    clear = seen if camera.occluder == "none" else region_pixels(render(person, replace(camera, occluder="none"))[1])
    return frozenset(region for region in BODY if seen[region] >= max(VISIBLE_PIXELS, VISIBLE_SHARE * clear[region]))


def region_pixels(mask: Image.Image) -> np.ndarray:
    """Count the pixels of each region in a mask: (6,) int64, indexed by `Region`."""
    return np.bincount(np.asarray(mask).ravel(), minlength=len(Region))
