"""The ground truth by body region: what each rendered person wears there, and what a caption says of it."""

from tbps.data.toypedes import Person, Region
from tbps.data.toypedes.attributes import NONE
from tbps.data.toypedes.phrases import Stated
from tbps.data.toypedes.regions import BODY

ITEM = {Region.UPPER: "upper", Region.LOWER: "lower", Region.SHOES: "shoes", Region.BAG: "bag"}
REPAINTED = {  # the attribute that a repainted image changes
    Region.HEAD: "hat_colour",
    Region.UPPER: "upper_colour",
    Region.LOWER: "lower_colour",
    Region.SHOES: "shoes_colour",
    Region.BAG: "bag_colour",
}


def attributes(region: Region, person: Person) -> tuple[str, str]:
    """Return the names of the two attributes that make up a person's value there: the item and its colour."""
    if region == Region.HEAD:
        return ("hat", "hat_colour") if person.hat != NONE else ("hair_length", "hair_colour")
    return ITEM[region], f"{ITEM[region]}_colour"


def value(region: Region, person: Person) -> str:
    """Return a person's value there, such as "boots black". Equal values look the same."""
    return " ".join(getattr(person, name) for name in attributes(region, person))


def is_stated(region: Region, person: Person, stated: Stated) -> bool:
    """Whether a caption states both the item and its colour, without alternatives."""
    return all(stated.get(name) == (getattr(person, name),) for name in attributes(region, person))


__all__ = ["BODY", "REPAINTED", "attributes", "is_stated", "value"]
