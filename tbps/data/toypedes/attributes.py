"""People and their attributes, drawn from skewed frequencies: some looks are common, others are rare."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from tbps.data.toypedes.drawing import COLOURS, HAIR, SKIN
from tbps.data.toypedes.random_streams import Stream, pick, stream

NONE = "none"


def zipf(names: str, exponent: float = 1.0) -> dict[str, float]:
    """Give comma-separated names, the most common first, the weights 1 / rank ** exponent."""
    return {name.strip(): (rank + 1) ** -exponent for rank, name in enumerate(names.split(","))}


GENDER = {"man": 0.52, "woman": 0.48}
SKIN_TONE = {"light": 0.5, "tan": 0.3, "dark": 0.2}
HAIR_LENGTH = {"man": {"short": 0.78, "long": 0.1, "bald": 0.12}, "woman": {"short": 0.25, "long": 0.75}}
HAIR_COLOUR = zipf("black, brown, blond, grey, red", 0.9)
HAT = {NONE: 0.68, "cap": 0.16, "beanie": 0.1, "sun hat": 0.06}
HAT_COLOUR = zipf("black, white, blue, red, grey, green, brown, pink, orange, purple, yellow")
UPPER = zipf("t-shirt, jacket, shirt, hoodie, sweater, coat, vest", 0.6)
UPPER_COLOUR = zipf("black, white, grey, blue, red, green, brown, pink, yellow, purple, orange", 0.9)
PATTERN = {"plain": 0.58, "stripes": 0.17, "logo": 0.15, "checks": 0.1}
PATTERN_COLOUR = zipf("white, black, red, yellow, blue, green, pink, orange", 0.8)
LOWER = {
    "man": zipf("trousers, jeans, shorts, track pants", 0.7),
    "woman": zipf("trousers, jeans, skirt, shorts, long skirt, track pants", 0.7),
}
LOWER_COLOUR = zipf("black, blue, grey, brown, white, green, red, purple, pink, orange, yellow", 1.2)
JEANS_COLOUR = {"blue": 0.65, "black": 0.2, "grey": 0.1, "white": 0.05}
SHOES = {"man": zipf("trainers, boots, sandals", 0.9), "woman": zipf("trainers, boots, sandals, heels", 0.7)}
SHOES_COLOUR = zipf("black, white, brown, grey, blue, red, green, pink, yellow, orange, purple", 1.1)
BAG = {NONE: 0.36, "backpack": 0.26, "shoulder bag": 0.17, "handbag": 0.13, "suitcase": 0.08}
BAG_COLOUR = zipf("black, brown, blue, grey, red, white, green, pink, purple, orange, yellow")

PATTERNED = ("t-shirt", "shirt", "hoodie", "sweater")
LAYERED = ("jacket", "vest")  # worn open, or without sleeves, over a shirt of another colour
UNDER_A_COAT = ("trousers", "jeans", "track pants", "long skirt")  # long enough to show below a coat

VALUES: dict[str, tuple[str, ...]] = {
    "gender": tuple(GENDER),
    "skin": tuple(SKIN),
    "hair_length": ("short", "long", "bald"),
    "hair_colour": (NONE, *HAIR),
    "hat": tuple(HAT),
    "hat_colour": (NONE, *COLOURS),
    "upper": tuple(UPPER),
    "upper_colour": tuple(COLOURS),
    "pattern": tuple(PATTERN),
    "pattern_colour": (NONE, *COLOURS),
    "inner_colour": (NONE, *COLOURS),
    "lower": tuple(LOWER["woman"]),
    "lower_colour": tuple(COLOURS),
    "shoes": tuple(SHOES["woman"]),
    "shoes_colour": tuple(COLOURS),
    "bag": tuple(BAG),
    "bag_colour": (NONE, *COLOURS),
}
# (item, its value when absent, its colour): an absent item has no colour, a present one must have one
PAIRED = (("hat", NONE, "hat_colour"), ("bag", NONE, "bag_colour"), ("pattern", "plain", "pattern_colour"))


@dataclass(frozen=True)
class Person:
    """A person's appearance. Every value is one of `VALUES`; "none" marks an absent item and its colour.

    Raises:
        ValueError: A value is not in `VALUES`, or an item and its colour disagree (a hat colour without a hat, or a
            hat without a colour).
    """

    gender: str
    skin: str
    hair_length: str
    hair_colour: str
    hat: str
    hat_colour: str
    upper: str
    upper_colour: str
    pattern: str
    pattern_colour: str
    inner_colour: str
    lower: str
    lower_colour: str
    shoes: str
    shoes_colour: str
    bag: str
    bag_colour: str

    def __post_init__(self) -> None:
        values = asdict(self)
        for name, value in values.items():
            if value not in VALUES[name]:
                raise ValueError(f"{name} must be one of {', '.join(VALUES[name])}, got {value!r}.")
        absent = {colour: values[item] == nothing for item, nothing, colour in PAIRED}
        absent["hair_colour"] = self.hair_length == "bald"
        absent["inner_colour"] = self.upper not in LAYERED
        for colour, is_absent in absent.items():
            if (values[colour] == NONE) != is_absent:
                wanted = "'none'" if is_absent else "a colour"
                raise ValueError(
                    f"{colour} must be {wanted} for this person, got {values[colour]!r}. "
                    "Change it together with its item."
                )


def draw_person(seed: int, person: int) -> Person:
    """Draw person number `person` (>= 0) of the set with this seed."""
    rng = stream(seed, Stream.ATTRIBUTES, person)
    gender = pick(rng, GENDER)
    return Person(gender=gender, skin=pick(rng, SKIN_TONE), **_head(rng, gender), **_clothes(rng, gender), **_bag(rng))


def _head(rng: np.random.Generator, gender: str) -> dict[str, str]:
    length, colour = pick(rng, HAIR_LENGTH[gender]), pick(rng, HAIR_COLOUR)
    hat, hat_colour = pick(rng, HAT), pick(rng, HAT_COLOUR)
    return {
        "hair_length": length,
        "hair_colour": NONE if length == "bald" else colour,
        "hat": hat,
        "hat_colour": NONE if hat == NONE else hat_colour,
    }


def _clothes(rng: np.random.Generator, gender: str) -> dict[str, str]:
    upper, colour = pick(rng, UPPER), pick(rng, UPPER_COLOUR)
    pattern = pick(rng, PATTERN) if upper in PATTERNED else "plain"
    other = pick(rng, {name: weight for name, weight in PATTERN_COLOUR.items() if name != colour})
    lowers = {name: w for name, w in LOWER[gender].items() if upper != "coat" or name in UNDER_A_COAT}
    lower = pick(rng, lowers)
    return {
        "upper": upper,
        "upper_colour": colour,
        "pattern": pattern,
        "pattern_colour": NONE if pattern == "plain" else other,
        "inner_colour": other if upper in LAYERED else NONE,
        "lower": lower,
        "lower_colour": pick(rng, JEANS_COLOUR if lower == "jeans" else LOWER_COLOUR),
        "shoes": pick(rng, SHOES[gender]),
        "shoes_colour": pick(rng, SHOES_COLOUR),
    }


def _bag(rng: np.random.Generator) -> dict[str, str]:
    bag, colour = pick(rng, BAG), pick(rng, BAG_COLOUR)
    return {"bag": bag, "bag_colour": NONE if bag == NONE else colour}
