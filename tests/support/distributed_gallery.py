"""Two processes add the same folder to one gallery, and to another one while its files are overwritten: `torchrun
--nproc_per_node 2 distributed_gallery.py MODEL FOLDER GALLERY`; prints what each sees."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from transformers import AutoModel, AutoProcessor

import tbps
from tbps.gallery.sources import Item

torch.set_num_threads(1)
dist.init_process_group("gloo")
checkpoint, folder, where = sys.argv[1:]
model, processor = AutoModel.from_pretrained(checkpoint).eval(), AutoProcessor.from_pretrained(checkpoint)
gallery = tbps.Gallery.open(where, model, processor)
first = gallery.add(folder, skip_bad=True, batch_size=2, commit_every=8, progress=False)
again = gallery.add(folder, skip_bad=True, batch_size=2, commit_every=8, progress=False)
cameras = [{"camera": n % 2} for n in range(19)]
updated = gallery.add(folder, cameras, skip_bad=True, update=True, batch_size=2, commit_every=8, progress=False)

contents = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
opened = Item.open
dist.barrier()


def overwritten(item):
    """By the time that a file is encoded it holds what another one held."""
    path = Path(item.name)
    path.write_bytes(contents[(int(path.stem) + 5) % len(contents)])
    return opened(item)


Item.open = overwritten
other = tbps.Gallery.open(where + "_overwritten", model, processor)
changed = other.add(folder, skip_bad=True, batch_size=2, commit_every=8, progress=False)
changed = {"added": changed.added, "unchanged": changed.unchanged, "skipped": len(changed.skipped)}
seen = [None, None]
dist.all_gather_object(
    seen,
    {
        "first": asdict(first),
        "again": asdict(again),
        "updated": asdict(updated),
        "count": gallery.count(),
        "changed": {**changed, "count": other.count()},
    },
)
if dist.get_rank() == 0:
    print(json.dumps(seen))
dist.destroy_process_group()
