"""Vectors for `benchmarks/search.py`: a million images and their queries, from a trained model.

    python benchmarks/search_vectors.py runs/search            # resumes where it stopped

Trains the demo's recipe with retrieval vectors of the default width, E = 512 + 8 * 64 = 1024. Renders people whom the
model has never seen, each by four cameras, makes four images of each by random crop, flip, random erasing and colour
jitter, and embeds them. The queries are captions of the first of these people. Nothing here is timed.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import yaml
from tqdm import tqdm
from transformers import AutoModel, AutoProcessor

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script: the training program is beside this folder

import train_hf
from tbps import TBPSModel, TBPSProcessor
from tbps.data.atomic_files import write_atomically
from tbps.data.augment import Augmentation
from tbps.data.preprocessing import PixelPreparation, stack_pixels
from tbps.data.toypedes import generate, render
from tbps.data.toypedes.attributes import draw_person
from tbps.data.toypedes.camera import camera_names, draw_camera
from tbps.data.toypedes.captions import write_caption
from tbps.data.toypedes.regions import BODY
from tbps.evaluation.encoding import encode_texts

SEED = 1  # of the people rendered; the model's are those of seed 0
CAMERAS, VARIANTS = 4, 4
PEOPLE_AT_ONCE = 250  # 4,000 images: one file
WIDTH = {"projection_dim": 512, "num_parts": 8, "part_dim": 64}


def main() -> None:
    """Train, embed the queries, and embed the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    train(options.out)
    embed_sentences(options.out, options.queries)
    count = -(-options.images // (PEOPLE_AT_ONCE * CAMERAS * VARIANTS))
    missing = [part for part in range(count) if not part_file(options.out, part).exists()]
    with ProcessPoolExecutor(options.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(tqdm(pool.map(partial(embed_part, options.out), missing), total=len(missing), desc="4000 images"))


def train(out: Path) -> None:
    """Train the demo's model with wider vectors."""
    if (out / "model" / "config.json").exists():
        return
    recipe = yaml.safe_load(Path("recipes/quickstart.yaml").read_text(encoding="utf-8"))
    recipe["model_config"] |= WIDTH
    recipe |= {"root": str(out / "data"), "output_dir": str(out / "model")}
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    if not (out / "data").exists():
        generate(out / "data")
    train_hf.main([str(out / "recipe.yaml"), "--resume_from_checkpoint", "true"])


@cache
def load(out: Path) -> tuple[TBPSModel, TBPSProcessor]:
    """Load the model once per process."""
    return AutoModel.from_pretrained(out / "model").eval(), AutoProcessor.from_pretrained(out / "model")


def embed_sentences(out: Path, count: int) -> None:
    """Write `queries.npy` (count, E): one caption of each person."""
    everything = frozenset(BODY)
    captions = [
        write_caption(draw_person(SEED, person), "front", everything, seed=SEED, key=(person, 0, 0)).text
        for person in range(count)
    ]
    (out / "queries.txt").write_text("\n".join(captions), encoding="utf-8")
    np.save(out / "queries.npy", encode_texts(*load(out), captions).numpy())


def part_file(out: Path, part: int) -> Path:
    """Return the file of the vectors of some people."""
    return out / "vectors" / f"{part:05d}.npy"


@torch.no_grad()
def embed_part(out: Path, part: int) -> None:
    """Embed all images of `PEOPLE_AT_ONCE` people."""
    model, processor = load(out)
    preparation, augmentation = PixelPreparation(processor.image_processor), Augmentation(color_jitter=0.2)
    vectors = []
    for person_id in range(part * PEOPLE_AT_ONCE, (part + 1) * PEOPLE_AT_ONCE):
        person, rng = draw_person(SEED, person_id), np.random.default_rng([SEED, person_id])
        names = camera_names(SEED, person_id, CAMERAS)
        shots = [render(person, draw_camera(SEED, person_id, i, name))[0] for i, name in enumerate(names)]
        pixels = [preparation.resize(shot) for shot in shots]
        variants = [augmentation(shot, rng, preparation.blank) for shot in pixels for _ in range(VARIANTS)]
        batch = preparation.normalize(stack_pixels(variants))
        vectors.append(model.get_image_features(pixel_values=batch).pooler_output.numpy())
    path = part_file(out, part)
    path.parent.mkdir(exist_ok=True)
    file = BytesIO()
    np.save(file, np.concatenate(vectors))
    write_atomically(path, file.getvalue())


if __name__ == "__main__":
    main()
