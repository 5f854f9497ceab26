"""Run the common tests of Transformers on tbps: `python -m conformance [pytest arguments]`, or `make conformance`.

Downloads them if they are missing. Ends with what passed, what was skipped and why, and what failed.
"""

import sys
from collections import Counter
from pathlib import Path

import pytest

from conformance.skips import explanation

HERE = Path(__file__).parent
SETTINGS = ["-q", "-p", "no:cacheprovider", "-W", "ignore", "-o", "addopts=", "--tb=short"]


class Tally:
    """Counts test outcomes (without subtests) and reasons of skips."""

    def __init__(self) -> None:
        self.passed = self.failed = 0
        self.skips: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a phase of a test; pytest calls this."""
        if report.skipped:
            self.skips[reason_of(report)] += 1
        elif report.failed:
            self.failed += 1
        elif report.when == "call" and not hasattr(report, "context"):  # a subtest's report has a context
            self.passed += 1

    def print(self) -> bool:
        """Print the tally; return whether nothing failed and every skip is explained."""
        groups: dict[str, Counter[str]] = {}
        for reason, count in self.skips.items():
            groups.setdefault(explanation(reason) or "UNEXPLAINED", Counter())[reason] = count
        print(f"\npassed {self.passed}, failed {self.failed}, skipped {self.skips.total()}:")
        for why, reasons in sorted(groups.items(), key=lambda item: -item[1].total()):
            print(f"  {reasons.total():3} {why}")
            if why == "UNEXPLAINED":
                print("\n".join(f"      {count} {reason}" for reason, count in reasons.items()))
        return not self.failed and self.passed > 0 and "UNEXPLAINED" not in groups


def reason_of(report: pytest.TestReport) -> str:
    """Return the reason in pytest's (file, line, "Skipped: reason")."""
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)


def main(arguments: list[str]) -> int:
    """Return 0 if every test passed, or was skipped for a reason that `skips.py` explains."""
    tally = Tally()
    code = pytest.main([str(HERE), *SETTINGS, *arguments], plugins=[tally])
    explained = tally.print()
    return int(code) or int(not explained)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
