"""Run under torchrun by test_distributed.py: what two processes compute, beside one; process 0 writes the findings."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tiny import make_config, make_rows, make_tokenizer
from torch.nn.parallel import DistributedDataParallel

from benchmarks.method.commonality import register_estimates
from tbps import TBPSImageProcessor, TBPSModel, TBPSProcessor, TBPSTrainer, TBPSTrainingArguments
from tbps.commonality_tbps import COMMONALITY
from tbps.evaluation.distributed import encode_distributed
from tbps.evaluation.encoding import encode_images
from tbps.evaluation.metrics import retrieval_metrics
from tbps.evaluation.retrieval import evaluate_retrieval
from tbps.ranking_loss_tbps import NEGATIVES
from tbps.training.distributed import gather_pairs

register_estimates()

PERSON_IDS = torch.tensor([0, 1, 2, 2, 1, 3, 3, 0])  # identities repeat across processes
WEIGHTS = (
    "global_loss_weight",
    "id_loss_weight",
    "cmr_loss_weight",
    "part_matching_loss_weight",
    "part_independence_loss_weight",
    "part_compactness_loss_weight",
)
NONE = dict.fromkeys(WEIGHTS, 0.0)
CASES: dict[str, dict[str, Any]] = {
    **{name: {**NONE, "global_loss": name, "global_loss_weight": 1.0} for name in ("sdm", "itc", "tal")},
    "id": {**NONE, "id_loss_weight": 1.0},
    **{
        f"part_matching by {name}": {**NONE, "part_matching_loss": name, "part_matching_loss_weight": 1.0}
        for name in ("sdm", "itc")
    },
    "independence": {**NONE, "part_independence_loss_weight": 1.0},
    "compactness": {**NONE, "part_compactness_loss_weight": 1.0},
    **{f"cmr, {name}": {**NONE, "commonality": name, "cmr_loss_weight": 1.0} for name in COMMONALITY},
    **{f"cmr, {name} negatives": {**NONE, "cmr_negatives": name, "cmr_loss_weight": 1.0} for name in NEGATIVES},
    "all": {},
    "all, in chunks": {"chunk": 3, "part_compactness_loss_weight": 1.0},  # uneven: a process has four pairs
    "all, gradient checkpointing": {"checkpointing": True},
}


def gradients(
    batch: dict[str, torch.Tensor], rank: int, world: int, fields: dict[str, Any]
) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of all pairs and its gradient, where a process embeds its share of them."""
    torch.manual_seed(0)
    plain = {name: value for name, value in fields.items() if name not in ("chunk", "checkpointing")}
    model = TBPSModel(make_config(num_identities=4, **{"text_part_weights": True, **plain}))
    if fields.get("checkpointing") and world > 1:
        model.gradient_checkpointing_enable()
    wrapped = DistributedDataParallel(model, find_unused_parameters=True) if world > 1 else model
    size = len(PERSON_IDS) // world
    own = slice(rank * size, (rank + 1) * size)
    chunk = fields.get("chunk") if world > 1 else None
    share = {name: value[own] for name, value in batch.items()}
    gather = gather_pairs if world > 1 else None
    loss = wrapped(**share, person_ids=PERSON_IDS[own], embed_chunk_size=chunk, gather=gather).loss
    loss.backward()
    return float(loss.detach()), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def exactness(rank: int, world: int) -> dict[str, dict[str, float]]:
    """Of every loss: its value by all processes and by one, the largest gradient and the largest difference of one."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, 200, (8, 10), generator=generator)
    ids[:, -1] = 1
    batch = {"input_ids": ids, "pixel_values": torch.randn(8, 3, 32, 16, generator=generator)}
    found = {}
    for name, fields in CASES.items():
        shared_loss, shared = gradients(batch, rank, world, fields)
        loss, alone = gradients(batch, 0, 1, fields)
        # DistributedDataParallel fills in zeros where one process alone has no gradient
        differences = [float((value - alone.get(key, 0)).abs().max()) for key, value in shared.items()]
        largest = max(float(value.abs().max()) for value in alone.values())
        found[name] = {"shared": shared_loss, "alone": loss, "largest": largest, "worst": max(differences)}
        found[name]["missing"] = len(alone.keys() - shared.keys())
    return found


def make_processor() -> TBPSProcessor:
    return TBPSProcessor(TBPSImageProcessor(size={"height": 32, "width": 16}), make_tokenizer())


def seen_pairs(folder: Path) -> list[list[list[int]]]:
    """Of two epochs and every process: the pairs of its batches of 4, out of 28 pairs."""
    rows = make_rows(folder / f"train{dist.get_rank()}", people=7)
    torch.manual_seed(0)
    arguments = TBPSTrainingArguments(
        output_dir=str(folder / "run"), per_device_train_batch_size=4, use_cpu=True, dataloader_pin_memory=False
    )
    trainer = TBPSTrainer(TBPSModel(make_config()), arguments, rows, processing_class=make_processor())
    loader = trainer.get_train_dataloader()
    epochs = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        epochs.append([pair for batch in loader.batch_sampler for _, pair in batch])
    return epochs


def evaluation(folder: Path) -> dict[str, Any]:
    """Of batches that do and do not come out even: metrics and vectors by all processes, and by one."""
    model, processor = TBPSModel(make_config()).eval(), make_processor()
    for parameter in model.parameters():
        dist.broadcast(parameter.data, 0)
    rows = make_rows(folder / f"val{dist.get_rank()}", people=7)
    images = [row["path"] for row in rows.cast_column("image", type(rows.features["image"])(decode=False))["image"]]
    found: dict[str, Any] = {}
    for size in (1, 3, 4, 64):

        def encode(items: Any, size: int = size) -> torch.Tensor:
            return encode_images(model, processor, items, batch_size=size, progress=False)

        spread, alone = encode_distributed(encode, images, size), encode(images)
        ids = torch.tensor(rows["person_id"])
        found[str(size)] = {
            "equal": torch.equal(spread, alone),
            "spread": evaluate_retrieval(model, processor, rows, batch_size=size, progress=False),
            "alone": alone_metrics(model, processor, rows, size),
            "image_to_image": retrieval_metrics(spread, spread, ids, ids)["rank_1"],
        }
    return found


def alone_metrics(model: TBPSModel, processor: TBPSProcessor, rows: Any, size: int) -> dict[str, float]:
    """The result of `evaluate_retrieval` with one process."""
    initialised, dist.is_initialized = dist.is_initialized, lambda: False
    try:
        return evaluate_retrieval(model, processor, rows, batch_size=size, progress=False)
    finally:
        dist.is_initialized = initialised


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    found: dict[str, Any] = {"world": world, "losses": exactness(rank, world), "evaluation": evaluation(folder)}
    shares: list[Any] = [None] * world
    dist.all_gather_object(shares, seen_pairs(folder))
    if rank == 0:
        (folder / "result.json").write_text(json.dumps({**found, "seen": shares}))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
