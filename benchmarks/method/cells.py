"""Numbers over seeds as the cells of Markdown tables."""

from collections.abc import Iterable, Sequence

from benchmarks.method.statistics import Spread, spread


def cell(values: Iterable[float], digits: int) -> str:
    """Mean ± standard deviation, or a dash."""
    values = list(values)
    if not values:
        return "-"
    found = spread(values)
    return f"{found.mean:.{digits}f}" + (f" ± {found.deviation:.{digits}f}" if found.count > 1 else "")


def difference(found: Spread | None) -> str:
    """Mean ± half the interval (standard deviation; number of seeds); of one seed, mean (1); or a dash."""
    if found is None:
        return "-"
    if found.count == 1:
        return f"{found.mean:+.1f} (1)"
    return f"{found.mean:+.1f} ± {found.half_interval:.1f} ({found.deviation:.1f}; {found.count})"


def number(found: Spread | None) -> str:
    """A mean with two digits, or a dash."""
    return "-" if found is None else f"{found.mean:.2f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
