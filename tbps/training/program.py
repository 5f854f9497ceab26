"""What a training program prints: errors of the user on one line, and a summary of the results at the end."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tbps.data.provenance import why_not_comparable
from tbps.evaluation.metrics import METRICS
from tbps.files_tbps import printable

ERROR, STOPPED = 2, 130


class OneLineErrors:
    """Mixin for a parser that raises its errors instead of printing a usage message."""

    def error(self, message: str) -> NoReturn:
        """Reject the command line.

        Raises:
            ValueError: always, with argparse's message.
        """
        raise ValueError(f"{message}; `--help` lists the options.")


class OneLineParser(OneLineErrors, argparse.ArgumentParser):
    """`argparse.ArgumentParser` that raises its errors."""


def run(name: str, main: Callable[[Sequence[str]], Any], arguments: Sequence[str]) -> int:
    """Run a program.

    Returns:
        The exit status: 0; 2 after an error that the user can fix, printed on one line of standard error; 130 after
        Ctrl-C. Other errors are bugs and keep their traceback.
    """
    try:
        main(arguments)
    except (ValueError, OSError, ImportError) as error:
        sys.stderr.write(f"{name}: error: {printable(' '.join(str(error).split()))}\n")
        return ERROR
    except KeyboardInterrupt:
        sys.stderr.write(
            f"{name}: stopped. Complete checkpoints are kept: resume with --resume_from_checkpoint true.\n"
        )
        return STOPPED
    return 0


def summary(results: dict[str, Any], images: dict[str, int], output: Path) -> str:
    """Summarise a run as text: retrieval on val and test in percent, the selected checkpoint, and the output folder.

    Args:
        results: as written to results.json, metrics under `val_` and `test_`. images: number of images in each split.
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
    remarks = (why_not_comparable(results["benchmark"], split, found) for split, found in results["data"].items())
    lines += [f"no result on {results['benchmark']}: {said}" for said in remarks if said]
    best = results["best_checkpoint"]
    lines.append(f"checkpoint: {'selected on val, ' + best if best else 'the last one'}")
    lines.append(f"saved to {output}")
    return "\n".join(lines)
