"""Checks of what callers of a gallery give."""

from collections.abc import Collection


def check_ids(name: str, ids: Collection[str]) -> None:
    """Refuse a single text, whose letters would be taken for ids."""
    if isinstance(ids, str):
        raise TypeError(f"{name}={ids!r}: expected a list of ids.")


def check_positive(name: str, value: int) -> None:
    """Refuse what is no whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: expected a whole number.")
    if value < 1:
        raise ValueError(f"{name}={value}: expected 1 or more.")
