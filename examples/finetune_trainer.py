"""Fine-tune a checkpoint with plain `transformers.Trainer`.

    .venv/bin/tbps data toy runs/more-people --people 1000 --seed 1  # people that the checkpoint never saw
    .venv/bin/python examples/finetune_trainer.py runs/demo/model runs/more-people --output_dir runs/finetuned

`TBPSModel.forward` returns a loss when it gets `person_ids`, so Trainer needs only training pairs.
"""

import argparse
from collections.abc import Sequence

import torch
from transformers import AutoModel, AutoProcessor, Trainer, TrainingArguments

import tbps  # noqa: F401 - makes AutoModel and AutoProcessor know the model
from tbps.data.loading import load_benchmark
from tbps.data.pairs import PairCollator, PersonPairs
from tbps.evaluation.retrieval import evaluate_retrieval


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on the train split, save, and print retrieval on the test split before and after."""
    options = parse(arguments)
    model = AutoModel.from_pretrained(options.checkpoint, dtype=torch.float32)  # steps are lost in half precision
    processor = AutoProcessor.from_pretrained(options.checkpoint)
    splits = load_benchmark(options.benchmark, options.root)
    training = TrainingArguments(
        output_dir=options.output_dir,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        warmup_steps=0.1,  # fraction of all steps
        dataloader_drop_last=True,  # a small last batch has few negatives
        save_strategy="no",
        logging_nan_inf_filter=False,  # otherwise a loss that is not finite is logged as 0
    )
    trainer = Trainer(
        model,
        training,
        train_dataset=PersonPairs(splits["train"], processor),
        data_collator=PairCollator(processor),
        processing_class=processor,  # saved beside the model
    )
    before = evaluate_retrieval(model, processor, splits["test"])
    trainer.train()
    trainer.save_model()
    after = evaluate_retrieval(model, processor, splits["test"])
    for name in before:
        print(f"{name:8}{100 * before[name]:6.1f} -> {100 * after[name]:5.1f}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="folder or Hub id of a tbps model")
    parser.add_argument("root", help="folder that holds the benchmark's folder")
    parser.add_argument("--benchmark", default="ToyPEDES", help="or CUHK-PEDES, ICFG-PEDES, RSTPReid")
    parser.add_argument("--output_dir", default="runs/finetuned")
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
