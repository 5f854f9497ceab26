"""The starting checkpoint: towers that know words and colours, as CLIP's do. Trained once for all methods."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase, set_seed

from benchmarks.method.methods import NO_PARTS, TEXT, TOWERS
from benchmarks.method.worlds import START_SEED, splits, with_clauses, world
from tbps import TBPSConfig, TBPSModel, TBPSTrainer
from tbps.tower_weights_tbps import load_towers
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.build import make_processor
from tbps.training.tokenizer import train_tokenizer

TOWER_NAMES = ("stem.", "vision_model.", "text_model.", "visual_projection.", "text_projection.")
WEIGHTS = "towers.safetensors"


def make_start(folder: Path, out: Path, people: int, steps: int, batch_size: int) -> None:
    """Train the towers by ITC on captions and clauses, and write their weights and tokenizer to `folder`, unless they
    exist. Data sets and training files go below `out`."""
    if (folder / WEIGHTS).is_file():
        return
    rows = splits(world(out, START_SEED, people))
    set_seed(0)
    tokenizer = train_tokenizer([caption for row in rows["train"]["captions"] for caption in row], 1000)
    model = new_model(tokenizer, {**NO_PARTS, "global_loss": "itc", "id_loss_weight": 0.0})
    arguments = TBPSTrainingArguments(
        output_dir=str(out / "start"),
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        learning_rate=4e-3,
        augmentation_warmup_epochs=1,  # augmentation from the first step delays the start
        **SETTINGS,
    )
    trainer = TBPSTrainer(
        model,
        arguments,
        train_dataset=with_clauses(rows["train"]),
        processing_class=make_processor(model.config, tokenizer),
    )
    trainer.train()
    tokenizer.save_pretrained(folder)
    towers = {name: value for name, value in model.state_dict().items() if name.startswith(TOWER_NAMES)}
    save_file({name: value.contiguous() for name, value in towers.items()}, folder / WEIGHTS)


def from_start(folder: Path, settings: dict[str, Any], num_identities: int, seed: int) -> TBPSModel:
    """Return a model of these settings whose towers start from the checkpoint; `seed` initialises the rest."""
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = new_model(tokenizer, {**settings, "num_identities": num_identities})
    load_towers(model, load_file(folder / WEIGHTS), str(folder))
    return model


def new_model(tokenizer: PreTrainedTokenizerBase, settings: dict[str, Any]) -> TBPSModel:
    """Return a model with the study's towers and random weights."""
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = AutoConfig.for_model("clip_text_model", **TEXT, vocab_size=len(tokenizer), **special)
    return TBPSModel(TBPSConfig(**{**TOWERS, **settings}, text_config=text))


SETTINGS: dict[str, Any] = {  # of every training run of the study
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "weight_decay": 0.05,
    "adam_beta2": 0.98,
    "max_grad_norm": 1.0,
    "cache_images": True,
    "random_erasing": 0.0,
    "dataloader_pin_memory": False,
    "use_cpu": True,
    "save_strategy": "no",
    "eval_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "logging_steps": 50,
}
