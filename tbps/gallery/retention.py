"""Removal of all images that meet a filter, as rules about how long images may be kept need it."""

from itertools import chain

from tbps.encoding import batches
from tbps.gallery.filters import Filter
from tbps.gallery.home import Home

_AT_ONCE = 65536  # ids in one commit


def check_asks(where: Filter) -> None:
    """
    Refuse a filter that asks for nothing: a variable that was empty by mistake would empty the gallery.

    Raises:
        ValueError: every image meets it.
    """
    if where.is_empty:
        raise ValueError("The filter asks for nothing, so that every image would be removed: name what is to go.")


def remove_where(home: Home, where: Filter) -> int:
    """
    Take out all rows of a home, open for writing, that meet a filter; their number.

    Raises:
        ValueError: a filter that asks for nothing.
    """
    check_asks(where)
    found = chain.from_iterable(home.listed(["id"], where))
    ids = [row["id"] for row in found]  # before the first removal: what is being walked over does not change
    return sum(home.remove(some) for some in batches(ids, _AT_ONCE))
