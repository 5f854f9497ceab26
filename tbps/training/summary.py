"""What a training run says at its end."""

from pathlib import Path
from typing import Any

from tbps.data.provenance import remark

METRICS = ("rank_1", "rank_5", "rank_10", "mAP", "mINP")


def summary(results: dict[str, Any], images: dict[str, int], output: Path) -> str:
    """A few lines of text: retrieval on val and test in percent, how the checkpoint was selected, where it lies.

    Args:
        results: as written to results.json, metrics under `val_` and `test_`. images: number of images of each split.
    """
    lines = [
        "",
        f"{results['benchmark']}, seed {results['seed']}, {results['parameters'] / 1e6:.1f} M parameters, "
        f"trained in {results['train_seconds']:.0f} s",
        f"{'split':8}{'images':>8}" + "".join(f"{name:>9}" for name in METRICS),
    ]
    for split in ("val", "test"):
        if f"{split}_rank_1" in results:
            values = "".join(f"{100 * results[f'{split}_{name}']:9.2f}" for name in METRICS)
            lines.append(f"{split:8}{images[split]:8}{values}")
    remarks = (remark(results["benchmark"], split, found) for split, found in results["data"].items())
    lines += [f"no result on {results['benchmark']}: {said}" for said in remarks if said]
    best = results["best_checkpoint"]
    lines.append(f"checkpoint: {'selected on val, ' + best if best else 'the last one'}")
    lines.append(f"saved to {output}")
    return "\n".join(lines)
