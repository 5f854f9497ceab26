"""Cells of Markdown tables for numbers over seeds."""

from collections.abc import Iterable, Sequence

from benchmarks.method.statistics import Spread, spread


def cell(values: Iterable[float], digits: int) -> str:
    """Format mean ± standard deviation; a dash without values."""
    values = list(values)
    if not values:
        return "-"
    found = spread(values)
    return f"{found.mean:.{digits}f}" + (f" ± {found.deviation:.{digits}f}" if found.count > 1 else "")


def difference(found: Spread | None) -> str:
    """Format mean ± half the interval (standard deviation; seeds), mean (1) for one seed, or a dash."""
    if found is None:
        return "-"
    if found.count == 1:
        return f"{found.mean:+.1f} (1)"
    return f"{found.mean:+.1f} ± {found.half_interval:.1f} ({found.deviation:.1f}; {found.count})"


def number(found: Spread | None) -> str:
    """Format a mean with two digits, or a dash."""
    return "-" if found is None else f"{found.mean:.2f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
