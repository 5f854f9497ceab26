"""The study of the method: which objective finds people best, and do the parts correspond?

    python benchmarks/method_study.py --quick              # one seed, small, minutes: does everything run?
    python benchmarks/method_study.py                      # the whole study: days on two cores; goes on where stopped
    python benchmarks/method_study.py --report             # tables and picture of what is done so far
    python benchmarks/method_study.py --noise 0.2          # with 20 % of the captions at other people's images

Every contender has the same towers, starting checkpoint, data, batches and steps; only fields of `TBPSConfig` differ
(benchmarks/method/contenders.py), and of training arguments for the robust ones. Each run is one process of one thread
and one JSON file below --results, where the starting checkpoint lies too; what is there with the same settings is
skipped. Rendered worlds go below --out and can be made again.
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

from benchmarks.method.contenders import NOISE_CONTENDERS
from benchmarks.method.plan import Planned, ablation_runs, chosen, main_runs, tuning_runs
from benchmarks.method.report import write_report
from benchmarks.method.run import Regime, is_done, run
from benchmarks.method.start import make_start

FULL = Regime(people=5000, steps=1200, batch_size=128, start_people=10000, start_steps=2400)
SHORT_STEPS = 500  # of tuning and of ablations: what a change does in a shorter training, so that there is time for all
QUICK = Regime(people=300, steps=30, batch_size=64, start_people=300, start_steps=30)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, stage by stage: start, tuning, contenders, those that are told, ablations, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, few people and steps: checks that all runs")
    parser.add_argument("--report", action="store_true", help="run nothing, write report.md and report.png anew")
    parser.add_argument("--out", type=Path, default=None, help="rendered worlds (default runs/method_study)")
    parser.add_argument("--results", type=Path, default=None, help="default benchmarks/results/method_study")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of data and training")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--only", nargs="*", help="contenders to run; all where left out")
    parser.add_argument("--untuned", action="store_true", help="take the first of the values that are tuned on val")
    parser.add_argument("--skip-ablations", action="store_true", help="run contenders only")
    parser.add_argument("--noise", type=float, default=0.0, help="share of training captions at other people's images")
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
    if options.report and not results.is_dir():
        parser.error(f"--report: {results} is no folder of results.")
    only = options.only or (NOISE_CONTENDERS if options.noise else None)
    if not options.report:
        start = (study if options.noise else results) / "start"  # the same, whatever the noise
        make_start(start, out, regime.start_people, regime.start_steps, regime.batch_size)
        for planned, length in stages(options, results, regime, only):
            execute(planned(), length, start, out, options.workers)
    write_report(results)


def stages(
    options: argparse.Namespace, results: Path, regime: Regime, only: Sequence[str] | None
) -> list[tuple[Callable[[], list[Planned]], Regime]]:
    """What to run, and how long. A stage is planned when the one before is done: tuning decides what the next one
    runs, and contenders what the told one is told."""
    tuned = not options.untuned
    seeds = range(1, 2 if options.quick else 1 + options.seeds)
    shorter = dataclasses.replace(regime, steps=min(regime.steps, SHORT_STEPS))
    found = [(lambda: tuning_runs(results, only), shorter)] if tuned else []
    found += [(partial(main_runs, results, seeds, only, tuned, told), regime) for told in (False, True)]
    if not options.skip_ablations and not options.noise:
        found.append((lambda: ablation_runs(results, tuned), shorter))
    return found


def execute(planned: Sequence[Planned], regime: Regime, start: Path, out: Path, workers: int) -> None:
    """Run what is not done yet, several processes at a time."""
    missing = [what for what in planned if not is_done(what, regime)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = {pool.submit(run, what, regime, start, out): what.file for what in missing}
        for future in tqdm(as_completed(runs), total=len(runs), desc="runs", disable=not runs):
            future.result()


if __name__ == "__main__":
    main()
