"""Run under torchrun by test_engines.py: three steps of a model sharded as the given accelerate config says, against
three steps of one process with the whole batch; rank 0 writes what both came to.

accelerate itself runs FSDP on accelerators only: its function that shards a model is called here on CPU processes.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
import yaml
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from tiny import make_config
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from tbps import TBPSModel
from tbps.training.learning_rates import new_parameters
from tbps.training.noisy_pairs import NoisyPairs
from tbps.training.sharded import ShardedFeatures, gather_full_model, scale_to_buffer

PERSON_IDS = torch.tensor([0, 1, 2, 2, 1, 3, 3, 0])
NUMBERS = torch.tensor([4, 9, 1, 0, 7, 3, 8, 2])


def make_batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, 200, (8, 10), generator=generator)
    ids[:, -1] = 1
    return {
        "input_ids": ids,
        "pixel_values": torch.randn(8, 3, 32, 16, generator=generator),
        "person_ids": PERSON_IDS,
        "pair_index": NUMBERS,
    }


def train(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[list[float], NoisyPairs]:
    """Three steps with a noisy pair left out in the last two."""
    noisy = NoisyPairs(10)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)  # Adam takes the sign of gradients that are 0
    losses = []
    for step in range(3):
        noisy.posterior[7] = float(step == 0)
        inputs = dict(batch)
        index = inputs.pop("pair_index")
        loss = model(**inputs, gather=lambda *given, index=index: noisy.gather(index, *given)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    return losses, noisy


def build() -> TBPSModel:
    torch.manual_seed(0)
    fields = {"text_part_weights": True, "part_attention": "both"}
    return TBPSModel(make_config(num_identities=4, **fields)).train()


def main(config: str, result: str) -> None:
    settings = yaml.safe_load(Path(config).read_text())["fsdp_config"]
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    names = {"fsdp_version": "fsdp_version", "fsdp_reshard_after_forward": "reshard_after_forward",
             "fsdp_auto_wrap_policy": "auto_wrap_policy", "fsdp_state_dict_type": "state_dict_type"}  # fmt: skip
    plugin = FullyShardedDataParallelPlugin(
        **{name: settings[key] for key, name in names.items()},
        transformer_cls_names_to_wrap=settings["fsdp_transformer_layer_cls_to_wrap"].split(","),
        cpu_ram_efficient_loading=False,
    )
    accelerator = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=plugin), mixed_precision="no", is_main_process=rank == 0, device="cpu"
    )
    whole = build()
    whole.from_checkpoint = frozenset(name for name, _ in whole.named_parameters() if name.startswith("text_model"))
    new = new_parameters(whole)
    scale_to_buffer(whole)
    model = fsdp2_prepare_model(accelerator, whole)
    own = slice(4 * rank, 4 * rank + 4)
    losses, noisy = train(model, {name: value[own] for name, value in make_batch().items()})
    ShardedFeatures().on_train_begin(None, None, None, model=model)
    features = model.get_image_features(make_batch()["pixel_values"]).pooler_output.detach()
    full = gather_full_model(model).state_dict()
    dist.barrier()
    sharded = sorted({type(m).__name__ for m in model.modules() if isinstance(m, FSDPModule)})
    is_sharded = all(isinstance(p, DTensor) for p in model.parameters())
    same_groups = [name for name in new if name != "logit_scale"] == new_parameters(model)
    dist.destroy_process_group()
    if rank == 0:
        alone = build()
        expected, known = train(alone, make_batch())
        weights = alone.state_dict()
        found = {
            "losses": losses,
            "expected": expected,
            "worst": max(float((value - weights[name]).abs().max()) for name, value in full.items()),
            "moved": max(float((value - build().state_dict()[name]).abs().max()) for name, value in weights.items()),
            "features": float(
                (features - alone.get_image_features(make_batch()["pixel_values"]).pooler_output).abs().max()
            ),
            "same_names": full.keys() == weights.keys(),
            "noted": float((noisy.losses - known.losses)[NUMBERS].abs().max()),
            "sharded": sharded,
            "is_sharded": is_sharded,
            "same_groups": same_groups,
        }
        Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
