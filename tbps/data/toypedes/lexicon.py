"""The vocabulary of the captions. Each word is consistent with one value of an attribute or with several."""

from __future__ import annotations

from dataclasses import dataclass

from tbps.data.toypedes.attributes import BAG, HAT, NONE, UPPER

LEGS = ("trousers", "jeans", "track pants")
ANY_HAT = tuple(hat for hat in HAT if hat != NONE)
ANY_BAG = tuple(bag for bag in BAG if bag != NONE)


@dataclass(frozen=True)
class Noun:
    """A noun and the attribute values it is consistent with; empty if it is uninformative ("footwear")."""

    word: str
    values: tuple[str, ...]
    plural: bool = False


def _nouns(value: str, words: str, plural: bool = False) -> tuple[Noun, ...]:
    """Synonyms for one value."""
    return tuple(Noun(word.strip(), (value,), plural) for word in words.split(","))


COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "black": ("black", "black", "black", "black", "jet black"),
    "white": ("white", "white", "white", "white", "snow white"),
    "grey": ("grey", "gray"),
    "blue": ("blue", "blue", "dark blue", "navy blue"),
    "red": ("red", "red", "red", "bright red"),
    "green": ("green", "green", "green", "dark green"),
    "brown": ("brown", "brown", "dark brown"),
    "pink": ("pink", "pink", "light pink"),
    "purple": ("purple", "purple", "violet"),
    "yellow": ("yellow", "yellow", "bright yellow"),
    "orange": ("orange", "orange", "bright orange"),
}
HAIR_WORDS: dict[str, tuple[str, ...]] = {
    "black": ("black", "black", "dark"),
    "brown": ("brown", "brown", "chestnut"),
    "blond": ("blond", "blonde", "fair"),
    "grey": ("grey", "gray", "silver"),
    "red": ("red", "ginger", "auburn"),
}
# "dark" hair may be black or brown; every other hair word names one colour
HAIR_VALUES = {"dark": ("black", "brown")}
LENGTH_WORDS = {"short": ("short", "short", "cropped"), "long": ("long", "long", "shoulder-length")}

PEOPLE = {"man": ("man", "man", "guy", "gentleman"), "woman": ("woman", "woman", "lady")}

HATS = {
    "cap": (*_nouns("cap", "cap, baseball cap"), Noun("hat", ANY_HAT)),
    "beanie": (*_nouns("beanie", "beanie, bobble hat, woolly hat"), Noun("hat", ANY_HAT)),
    "sun hat": (*_nouns("sun hat", "sun hat, wide-brimmed hat"), Noun("hat", ANY_HAT)),
}
ANY_TOP = Noun("top", tuple(UPPER))
UPPERS = {
    "t-shirt": _nouns("t-shirt", "t-shirt, tee, short-sleeved top"),
    "shirt": (*_nouns("shirt", "shirt, button-up shirt, collared shirt"), ANY_TOP),
    "sweater": (*_nouns("sweater", "sweater, jumper, pullover"), ANY_TOP),
    "hoodie": (*_nouns("hoodie", "hoodie, hooded sweatshirt"), ANY_TOP),
    "jacket": _nouns("jacket", "jacket"),
    "coat": _nouns("coat", "coat, overcoat, winter coat"),
    "vest": _nouns("vest", "vest, padded vest, sleeveless jacket"),
}
LOWERS = {
    "trousers": (*_nouns("trousers", "trousers", plural=True), Noun("pants", LEGS, plural=True)),
    "jeans": (*_nouns("jeans", "jeans, jeans, denim jeans", plural=True), Noun("pants", LEGS, plural=True)),
    "track pants": (
        *_nouns("track pants", "track pants, tracksuit bottoms, jogging bottoms", plural=True),
        Noun("pants", LEGS, plural=True),
    ),
    "shorts": _nouns("shorts", "shorts, knee-length shorts", plural=True),
    "skirt": (*_nouns("skirt", "skirt, knee-length skirt"), Noun("skirt", ("skirt", "long skirt"))),
    "long skirt": (*_nouns("long skirt", "maxi skirt, ankle-length skirt"), Noun("skirt", ("skirt", "long skirt"))),
}
ANY_SHOES = (Noun("shoes", (), plural=True), Noun("footwear", ()))
SHOES = {
    "trainers": (*_nouns("trainers", "trainers, sneakers, running shoes", plural=True), *ANY_SHOES),
    "boots": (*_nouns("boots", "boots, boots, winter boots", plural=True), *ANY_SHOES),
    "sandals": (*_nouns("sandals", "sandals, strappy sandals", plural=True), *ANY_SHOES),
    "heels": (*_nouns("heels", "high heels, heels, high-heeled shoes", plural=True), *ANY_SHOES),
}
BAGS = {
    "backpack": (*_nouns("backpack", "backpack, rucksack, backpack"), Noun("bag", ANY_BAG)),
    "shoulder bag": (*_nouns("shoulder bag", "shoulder bag, messenger bag, cross-body bag"), Noun("bag", ANY_BAG)),
    "handbag": (*_nouns("handbag", "handbag, handbag, tote bag"), Noun("bag", ANY_BAG)),
    "suitcase": _nouns("suitcase", "suitcase, trolley case, wheeled suitcase"),
}
