"""Recipe files that train the tiny model on ToyPEDES."""

from pathlib import Path

import yaml
from tiny import make_config


def recipe(folder: Path, data: Path, **changes: object) -> str:
    """Write a recipe into `folder` and return its path; `changes` replaces single keys."""
    tiny = make_config().to_dict()
    drop = ("transformers_version", "architectures", "dtype")
    vision = {name: value for name, value in tiny["vision_config"].items() if name not in drop}
    values = {
        "benchmark": "ToyPEDES", "root": str(data), "output_dir": str(folder / "run"),
        "tokenizer_vocab_size": 600,
        "model_config": {
            "vision_config": vision, "projection_dim": 24, "num_parts": 3, "part_dim": 8, "decoder_attention_heads": 4,
            "text_config": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
                            "num_attention_heads": 2, "max_position_embeddings": 48},
        },
        "do_train": True, "do_predict": True, "use_cpu": True, "disable_tqdm": True, "num_train_epochs": 2,
        "per_device_train_batch_size": 14, "learning_rate": 1e-3, "eval_strategy": "epoch", "save_strategy": "epoch",
        "load_best_model_at_end": True, "dataloader_pin_memory": False, "seed": 1,
    }  # fmt: skip
    if {"clip_checkpoint", "model_name_or_path"} & changes.keys():  # which have a tokenizer
        del values["tokenizer_vocab_size"]
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}))
    return str(path)
