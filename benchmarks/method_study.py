"""The study of the method: which objective finds people best, and do the parts correspond?

    python benchmarks/method_study.py --quick              # minutes: few people and steps, does everything run?
    python benchmarks/method_study.py                      # days on two cores; resumes where it stopped
    python benchmarks/method_study.py --report             # tables and chart of the finished runs
    python benchmarks/method_study.py --noise 0.2          # with 20 % of the captions at other people's images

Every method has the same towers, starting checkpoint, data, batches and steps. Methods differ in fields of `TBPSConfig`
(benchmarks/method/methods.py); the robust ones also in training arguments. Each run is one process of one thread. It
writes one JSON file below --results, beside the starting checkpoint, and is skipped next time if its settings are the
same. When all runs are done, their files become one table, results.csv. Rendered data sets go below --out; they
can be deleted.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script: `benchmarks` is a package of the checkout

from benchmarks.method.methods import ABLATED, NOISE_METHODS
from benchmarks.method.plan import Planned, ablation_runs, chosen, main_runs, tuning_runs
from benchmarks.method.report import write_report
from benchmarks.method.results import TABLE, BrokenResultError, condense
from benchmarks.method.run import Regime, is_done, run
from benchmarks.method.start import make_start

FULL = Regime(people=5000, steps=1200, batch_size=128, start_people=10000, start_steps=2400)
SHORT_STEPS = 500  # of tuning and ablations, so that there is time for all of them
QUICK = Regime(people=300, steps=30, batch_size=64, start_people=300, start_steps=30)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the missing runs stage by stage: start, tuning, methods, methods with the oracle, ablations, report."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    regime = dataclasses.replace(QUICK if options.quick else FULL, caption_noise=options.noise)
    out = options.out or Path("runs/method_study_quick" if options.quick else "runs/method_study")
    study = out / "results" if options.quick else Path("benchmarks/results/method_study")
    noisy = study.with_name(f"{study.name}_noise") / f"{options.noise:g}"
    results = options.results or (noisy if options.noise else study)
    try:
        chosen(options.only)
    except ValueError as error:
        parser.error(str(error))
    if options.report and not (results / TABLE).is_file() and not any(results.glob("*/*/seed*.json")):
        parser.error(f"--report: {results} does not hold results: expected {TABLE} or runs/METHOD/seedN.json there.")
    options.only = options.only or (list(NOISE_METHODS) if options.noise else None)
    try:
        if not options.report:
            start = (study if options.noise else results) / "start"  # the same, whatever the noise
            make_start(start, out, regime.start_people, regime.start_steps, regime.batch_size)
            for planned, length in stages(options, results, regime):
                execute(planned(), length, start, out, options.workers)
            condense(results)
        write_report(results)
    except BrokenResultError as error:
        parser.exit(1, f"{error}\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="one seed, few people and steps: check that everything runs"
    )
    parser.add_argument("--report", action="store_true", help="run nothing, rewrite report.md and report.png")
    parser.add_argument("--out", type=Path, default=None, help="rendered data sets (default runs/method_study)")
    parser.add_argument("--results", type=Path, default=None, help="default benchmarks/results/method_study")
    parser.add_argument("--seeds", type=positive, default=5, help="seeds of data and training")
    parser.add_argument("--workers", type=positive, default=2, help="runs at the same time, one thread each")
    parser.add_argument("--only", nargs="+", help=f"methods to run (default: all); {ABLATED} includes the ablations")
    parser.add_argument("--untuned", action="store_true", help="skip tuning, use the first of the values to tune")
    parser.add_argument("--skip-ablations", action="store_true", help="run methods only")
    parser.add_argument(
        "--noise", type=share, default=0.0, help="fraction of the training captions to move to other people's images"
    )
    return parser


def stages(
    options: argparse.Namespace, results: Path, regime: Regime
) -> list[tuple[Callable[[], list[Planned]], Regime]]:
    """Return how to plan each stage, and how long its runs are. Plan a stage when the one before has finished: tuning
    decides the settings of the methods, and the oracle needs their runs."""
    tuned, only = not options.untuned, options.only
    seeds = range(1, 2 if options.quick else 1 + options.seeds)
    shorter = dataclasses.replace(regime, steps=min(regime.steps, SHORT_STEPS))
    found = [(lambda: tuning_runs(results, only), shorter)] if tuned else []
    found += [(partial(main_runs, results, seeds, only, tuned, oracle), regime) for oracle in (False, True)]
    if not options.skip_ablations and not options.noise and (only is None or ABLATED in only):
        found.append((lambda: ablation_runs(results, tuned), shorter))
    return found


def execute(planned: Sequence[Planned], regime: Regime, start: Path, out: Path, workers: int) -> None:
    """Make the runs that are not done, several processes at a time."""
    missing = [what for what in planned if not is_done(what, regime)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = {pool.submit(run, what, regime, start, out): what.file for what in missing}
        for future in tqdm(as_completed(runs), total=len(runs), desc="runs", disable=not runs):
            future.result()


def positive(value: str) -> int:
    """Parse a number of seeds or processes."""
    if int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value}: expected 1 or more.")
    return int(value)


def share(value: str) -> float:
    """Parse a fraction of the captions."""
    if not 0 <= float(value) <= 1:
        raise argparse.ArgumentTypeError(f"{value}: expected 0 to 1.")
    return float(value)


if __name__ == "__main__":
    main()
