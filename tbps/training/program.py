"""A program that a user starts: what the user can mend is said in one line, without a traceback.

What a training run says at its end.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tbps.data.provenance import why_not_comparable
from tbps.files_tbps import printable

ERROR, STOPPED = 2, 130


class OneLineErrors:
    """Mixin of a parser whose errors are exceptions and no usage message."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            ValueError: says what is wrong with it.
        """
        raise ValueError(f"{message}; `--help` lists the options.")


class OneLineParser(OneLineErrors, argparse.ArgumentParser):
    """`argparse.ArgumentParser` with such errors."""


def run(name: str, main: Callable[[Sequence[str]], Any], arguments: Sequence[str]) -> int:
    """Run a program.

    Returns:
        The exit status: 0; 2 after an error that the user can mend, which is said in one line on standard error; 130
        when stopped by the keyboard. Other errors are the program's own and keep their traceback.
    """
    try:
        main(arguments)
    except (ValueError, OSError, ImportError) as error:
        sys.stderr.write(f"{name}: error: {printable(' '.join(str(error).split()))}\n")
        return ERROR
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: stopped; whole checkpoints are kept (--resume_from_checkpoint true).\n")
        return STOPPED
    return 0


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
    remarks = (why_not_comparable(results["benchmark"], split, found) for split, found in results["data"].items())
    lines += [f"no result on {results['benchmark']}: {said}" for said in remarks if said]
    best = results["best_checkpoint"]
    lines.append(f"checkpoint: {'selected on val, ' + best if best else 'the last one'}")
    lines.append(f"saved to {output}")
    return "\n".join(lines)
