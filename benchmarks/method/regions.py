"""What the rendered people are known to wear, region by region: the truth that parts are measured against."""

from tbps.data.toypedes import Person, Region
from tbps.data.toypedes.attributes import NONE
from tbps.data.toypedes.phrases import Stated
from tbps.data.toypedes.regions import BODY

ITEM = {Region.UPPER: "upper", Region.LOWER: "lower", Region.SHOES: "shoes", Region.BAG: "bag"}
REPAINTED = {  # the attribute that a counterfactual picture changes
    Region.HEAD: "hat_colour",
    Region.UPPER: "upper_colour",
    Region.LOWER: "lower_colour",
    Region.SHOES: "shoes_colour",
    Region.BAG: "bag_colour",
}


def attributes(region: Region, person: Person) -> tuple[str, str]:
    """Names of the two attributes that make a person's value there: the thing and its colour (bald: the hair)."""
    if region == Region.HEAD:
        return ("hat", "hat_colour") if person.hat != NONE else ("hair_length", "hair_colour")
    return ITEM[region], f"{ITEM[region]}_colour"


def value(region: Region, person: Person) -> str:
    """A person's value there, such as "boots black"; equal strings look the same there."""
    return " ".join(getattr(person, name) for name in attributes(region, person))


def is_stated(region: Region, person: Person, stated: Stated) -> bool:
    """Whether a caption says thing and colour there, each as one value."""
    return all(stated.get(name) == (getattr(person, name),) for name in attributes(region, person))


__all__ = ["BODY", "REPAINTED", "attributes", "is_stated", "value"]
