"""Fine-tune a checkpoint with LoRA on its towers (PEFT), merge the adapters and save an ordinary checkpoint.

    pip install peft
    .venv/bin/tbps data toy runs/more-people --people 1000 --seed 1  # people that the checkpoint never saw
    .venv/bin/python examples/finetune_lora.py runs/demo/model runs/more-people --output_dir runs/lora

The towers keep their weights and learn a low-rank change of their attention. Everything that tbps adds is fully
trained.
"""

import argparse
from collections.abc import Sequence

from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoProcessor, Trainer, TrainingArguments, set_seed

import tbps  # noqa: F401 - makes AutoModel and AutoProcessor know the model
from tbps.data.loading import load_benchmark
from tbps.data.pairs import PairCollator, PersonPairs
from tbps.evaluation.retrieval import evaluate_retrieval

# the attention of the CLIP and SigLIP encoders, without the part decoder and SigLIP's pooling head
TARGETS = r"(vision_model|text_model)\.encoder\..*\.(q_proj|k_proj|v_proj|out_proj)"
FULLY_TRAINED = ("part_decoder", "part_weighting", "visual_projection", "text_projection", "part_visual_projection")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on the train split, merge, save, and print retrieval on the test split before and after."""
    options = parse(arguments)
    model = AutoModel.from_pretrained(options.checkpoint)
    processor = AutoProcessor.from_pretrained(options.checkpoint)
    splits = load_benchmark(options.benchmark, options.root)
    before = evaluate_retrieval(model, processor, splits["test"])
    trained = [name for name in FULLY_TRAINED if getattr(model, name) is not None]
    set_seed(0)  # adapters start from random numbers
    adapted = get_peft_model(model, LoraConfig(r=options.rank, target_modules=options.targets, modules_to_save=trained))
    adapted.print_trainable_parameters()
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
    pairs, collator = PersonPairs(splits["train"], processor), PairCollator(processor)
    Trainer(adapted, training, collator, train_dataset=pairs).train()
    merged = adapted.merge_and_unload()  # a plain TBPSModel again
    merged.save_pretrained(options.output_dir)
    processor.save_pretrained(options.output_dir)
    after = evaluate_retrieval(merged, processor, splits["test"])
    for name in before:
        print(f"{name:8}{100 * before[name]:6.1f} -> {100 * after[name]:5.1f}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="folder or Hub id of a tbps model")
    parser.add_argument("root", help="folder that holds the benchmark's folder")
    parser.add_argument("--benchmark", default="ToyPEDES", help="or CUHK-PEDES, ICFG-PEDES, RSTPReid")
    parser.add_argument("--output_dir", default="runs/lora")
    parser.add_argument("--rank", type=int, default=8, help="of the low-rank change")
    parser.add_argument("--targets", default=TARGETS, help="regular expression of the linear layers to adapt")
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--learning_rate", type=float, default=2e-3)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
