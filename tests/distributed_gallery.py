"""Two processes add the same folder to one gallery: `torchrun --nproc_per_node 2 distributed_gallery.py MODEL FOLDER
GALLERY`; prints what each sees."""

import json
import sys
from dataclasses import asdict

import torch
import torch.distributed as dist
from transformers import AutoModel, AutoProcessor

import tbps

torch.set_num_threads(1)
dist.init_process_group("gloo")
checkpoint, folder, where = sys.argv[1:]
model, processor = AutoModel.from_pretrained(checkpoint).eval(), AutoProcessor.from_pretrained(checkpoint)
gallery = tbps.Gallery.open(where, model, processor)
first = gallery.add(folder, skip_bad=True, batch_size=2, commit_every=8, progress=False)
again = gallery.add(folder, skip_bad=True, batch_size=2, commit_every=8, progress=False)
cameras = [{"camera": n % 2} for n in range(19)]
updated = gallery.add(folder, cameras, skip_bad=True, update=True, batch_size=2, commit_every=8, progress=False)
seen = [None, None]
dist.all_gather_object(
    seen, {"first": asdict(first), "again": asdict(again), "updated": asdict(updated), "count": gallery.count()}
)
if dist.get_rank() == 0:
    print(json.dumps(seen))
dist.destroy_process_group()
